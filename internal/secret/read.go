package secret

import (
	"errors"
	"fmt"
	"io"
)

// ReadKey reads r to its end. The bytes go straight from r to secret memory,
// so r must not be one that buffers. It returns ErrTooLong, wrapped, if there
// are more than limit bytes, and io.ErrUnexpectedEOF if there are none.
func ReadKey(r io.Reader, limit int) (*Buffer, error) {
	b, err := Alloc(limit + 1) // one more shows that the limit is exceeded
	if err != nil {
		return nil, err
	}
	n, err := io.ReadFull(r, b.mem)
	switch {
	case err == nil:
		err = fmt.Errorf("%w: more than %d bytes", ErrTooLong, limit)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		b.Truncate(n)
		return b, nil
	}
	b.Wipe()
	return nil, err
}

// ReadLine reads r up to the first newline, which is taken from r but is not
// part of the result, or to its end. It reads single bytes, so that what
// follows the line stays in r. It returns ErrTooLong, wrapped, for a line of
// more than limit bytes, and io.ErrUnexpectedEOF if r ends before its first
// byte. A line may be empty.
func ReadLine(r io.Reader, limit int) (*Buffer, error) {
	b, err := Alloc(limit + 1)
	if err != nil {
		return nil, err
	}
	for n := 0; n <= limit; n++ {
		_, err := io.ReadFull(r, b.mem[n:n+1])
		if errors.Is(err, io.EOF) && n > 0 || err == nil && b.mem[n] == '\n' {
			b.Truncate(n)
			return b, nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			b.Wipe()
			return nil, err
		}
	}
	b.Wipe()
	return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrTooLong, limit)
}
