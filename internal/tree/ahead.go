package tree

import "io"

// ahead reads a file in order, one chunk before the one in use.
type ahead struct {
	free chan []byte // buffers to read into
	full chan []byte // buffers read, in order; closed at the end
	quit chan struct{}
	err  error // why full was closed; to be read after that
}

const aheadChunks = 3 // one being written out, one ready, one being read

func (f *File) readAhead() *ahead {
	a := &ahead{free: make(chan []byte, aheadChunks), full: make(chan []byte, aheadChunks), quit: make(chan struct{})}
	for range aheadChunks {
		a.free <- make([]byte, chunk)
	}
	go a.run(f)
	return a
}

func (a *ahead) run(f *File) {
	defer close(a.full)
	for off := int64(0); off < f.size; {
		var p []byte
		select {
		case p = <-a.free:
		case <-a.quit:
			return
		}
		n, err := f.ReadAt(p[:chunk], off)
		if err != nil && err != io.EOF {
			a.err = err
			return
		}
		off += int64(n)
		a.full <- p[:n] // has room for every buffer there is
	}
}

// next returns the next chunk, nil at the end.
func (a *ahead) next() ([]byte, error) {
	p, ok := <-a.full
	if !ok {
		return nil, a.err
	}
	return p, nil
}

// release gives a chunk back.
func (a *ahead) release(p []byte) { a.free <- p }

// stop ends the reader and waits for it, so that the cipher may be wiped.
func (a *ahead) stop() {
	close(a.quit)
	for range a.full {
	}
}
