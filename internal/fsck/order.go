package fsck

import "sync"

// ahead is how many results may wait for their turn, for each worker.
const ahead = 4

// inOrder calls work for 0 to n-1 on several goroutines, which it tells their
// number, and done with the results in order. The first error of done ends it.
func inOrder[T any](workers, n int, work func(worker, i int) T, done func(T) error) error {
	type job struct {
		i   int
		out chan T
	}
	jobs := make(chan job)
	order := make(chan chan T, ahead*workers)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for j := range jobs {
				j.out <- work(w, j.i)
			}
		})
	}
	wg.Go(func() {
		defer close(order)
		defer close(jobs)
		for i := range n {
			out := make(chan T, 1)
			select {
			case order <- out:
				jobs <- job{i, out}
			case <-stop:
				return
			}
		}
	})
	var err error
	for out := range order {
		r := <-out
		if err != nil {
			continue
		}
		if err = done(r); err != nil {
			close(stop)
		}
	}
	wg.Wait()
	return err
}
