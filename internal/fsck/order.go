package fsck

import (
	"iter"
	"sync"
)

// ahead is how many results may wait for their turn, for each worker.
const ahead = 4

// inOrder calls work for each job on several goroutines, which it tells their
// number, and done with the results in order. The first error of done ends it.
// Jobs come from a goroutine of their own, with which done's caller shares
// nothing before inOrder returns.
func inOrder[J, T any](workers int, jobs iter.Seq[J], work func(worker int, j J) T, done func(T) error) error {
	type job struct {
		J   J
		out chan T
	}
	todo := make(chan job)
	order := make(chan chan T, ahead*workers)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for j := range todo {
				j.out <- work(w, j.J)
			}
		})
	}
	wg.Go(func() {
		defer close(order)
		defer close(todo)
		for j := range jobs {
			out := make(chan T, 1)
			select {
			case order <- out:
				todo <- job{j, out}
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

// upTo yields 0 to n-1.
func upTo(n uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i := uint64(0); i < n && yield(i); i++ {
		}
	}
}
