package btrfsjudge

import "errors"

var errLZO = errors.New("LZO stream is cut off")

// unpackLZO decompresses the frames of btrfs: le32 of all, then le32 and a
// segment for each sector; no le32 crosses the end of a sector of the stream.
func unpackLZO(b []byte, size, sector uint64) (out []byte, err error) {
	defer func() {
		if recover() != nil {
			err = errLZO
		}
	}()
	total := u32(b, 0)
	for at := uint64(4); at < total && uint64(len(out)) < size; {
		if left := sector - at%sector; left < 4 {
			at += left
			continue
		}
		n := u32(b, int(at))
		out = lzo1x(out, b[at+4:][:n])
		at += 4 + n
	}
	return out, nil
}

// reader takes bytes off a stream; past its end it panics.
type reader struct{ b []byte }

func (r *reader) byte() int {
	c := r.b[0]
	r.b = r.b[1:]
	return int(c)
}

// length is a length whose bits were zero: 255 for each zero byte, and the rest.
func (r *reader) length(base int) int {
	n := base
	for r.b[0] == 0 {
		n += 255
		r.byte()
	}
	return n + r.byte()
}

// lzo1x appends what a stream of LZO1X holds: runs of literals, and matches that
// say how far back and how long, with up to 3 literals behind them.
func lzo1x(out, stream []byte) []byte {
	r := &reader{stream}
	start := len(out)
	literals := func(n int) {
		out = append(out, r.b[:n]...)
		r.b = r.b[n:]
	}
	match := func(back, n int) {
		if back > len(out)-start {
			panic(errLZO)
		}
		for range n {
			out = append(out, out[len(out)-back])
		}
	}
	state := 0 // literals before this instruction, 4 for a run
	if r.b[0] > 17 {
		n := r.byte() - 17
		literals(n)
		state = min(n, 4)
	}
	for {
		op := r.byte()
		low := op
		switch {
		case op >= 64:
			match(op>>2&7+r.byte()<<3+1, op>>5+1)
		case op >= 32:
			n := op & 31
			if n == 0 {
				n = r.length(31)
			}
			low = r.byte()
			match(low>>2+r.byte()<<6+1, n+2)
		case op >= 16:
			n := op & 7
			if n == 0 {
				n = r.length(7)
			}
			low = r.byte()
			back := op&8<<11 + low>>2 + r.byte()<<6
			if back == 0 {
				return out
			}
			match(back+16384, n+2)
		case state == 0:
			n := op
			if n == 0 {
				n = r.length(15)
			}
			literals(n + 3)
			state = 4
			continue
		case state == 4:
			match(op>>2+r.byte()<<2+2049, 3)
		default:
			match(op>>2+r.byte()<<2+1, 2)
		}
		state = low & 3
		literals(state)
	}
}
