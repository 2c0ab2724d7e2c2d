package tree

import (
	"sync"

	"fsenc/internal/image"
)

// window is how many of the directories that come next WalkDirs gives to its
// workers.
const window = 32

// maxBegun is how many directories may be with the workers, or wait for their
// turn, at a time: of deep trees those begun first are wanted last.
const maxBegun = 16 * window

// WalkDirs is Walk directory by directory, on several goroutines. read, called
// by the worker of that number, lists one directory and returns what it found
// and the directories in it. done gets the findings in the order of Walk, from
// the goroutine that called WalkDirs; its first error ends the walk. A
// directory that must not be entered comes to refused with Unread set.
func WalkDirs[R any](workers int, top Node, read func(worker int, dir Node) (R, []Node), done func(R) error, refused func(Node) error) error {
	w := dirWalker[R]{
		enter: walker{f: refused, seen: map[image.Ino]bool{top.Ino: true}},
		jobs:  make(chan *dirJob[R], window),
		stack: []*dirJob[R]{{level: level{top, 1}}},
	}
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for j := range w.jobs {
				found, dirs := read(i, j.dir)
				j.out <- dirFound[R]{found, dirs}
			}
		})
	}
	// What was begun for nothing is still read before the workers are free.
	defer wg.Wait()
	defer close(w.jobs)
	for len(w.stack) > 0 {
		if err := w.next(done); err != nil {
			return err
		}
	}
	return nil
}

// dirJob is a directory on the stack.
type dirJob[R any] struct {
	level
	out chan dirFound[R] // nil until it is given to a worker
}

type dirFound[R any] struct {
	found R
	dirs  []Node
}

type dirWalker[R any] struct {
	enter walker
	jobs  chan *dirJob[R]
	stack []*dirJob[R]
	begun int
}

// next waits for the directory whose turn it is, and puts its directories on
// the stack.
func (w *dirWalker[R]) next(done func(R) error) error {
	top := len(w.stack) - 1
	for i := top; i > max(-1, top-window) && (i == top || w.begun < maxBegun); i-- {
		w.begin(w.stack[i])
	}
	at := w.stack[top]
	w.stack = w.stack[:top]
	r := <-at.out
	w.begun--
	if err := done(r.found); err != nil {
		return err
	}
	var subdirs []level
	for _, n := range r.dirs {
		var err error
		if subdirs, err = w.enter.enter(n, at.depth, subdirs); err != nil {
			return err
		}
	}
	for i := len(subdirs) - 1; i >= 0; i-- {
		w.stack = append(w.stack, &dirJob[R]{level: subdirs[i]})
	}
	return nil
}

// begin gives a job to the workers once.
func (w *dirWalker[R]) begin(j *dirJob[R]) {
	if j.out != nil {
		return
	}
	w.begun++
	j.out = make(chan dirFound[R], 1)
	w.jobs <- j
}
