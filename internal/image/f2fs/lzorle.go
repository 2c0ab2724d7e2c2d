package f2fs

import "errors"

// LZO-RLE is LZO1X with one more instruction, for runs of zeros. The format is
// the one that the kernel's Documentation/staging/lzo.rst describes, version 1.
const (
	rleMinRun = 4
	farMatch  = 16384 // smallest distance of a far match; itself the end of the stream
)

var errLZO = errors.New("stream of LZO-RLE is damaged")

// rleDecoder reads in and appends to out, which has its final capacity.
type rleDecoder struct {
	in, out []byte
	state   int // literals that the last instruction copied, 4 for more than 3
}

// unpackRLE decodes what follows mark and version.
func unpackRLE(in, out []byte) ([]byte, error) {
	d := &rleDecoder{in: in, out: out[:0]}
	if first, ok := d.peek(); ok && first > 17 {
		d.in = d.in[1:]
		if err := d.literals(int(first) - 17); err != nil {
			return nil, err
		}
	}
	for {
		done, err := d.step()
		if err != nil || done {
			return d.out, err
		}
	}
}

func (d *rleDecoder) peek() (byte, bool) {
	if len(d.in) == 0 {
		return 0, false
	}
	return d.in[0], true
}

func (d *rleDecoder) byte() (int, error) {
	if len(d.in) == 0 {
		return 0, errLZO
	}
	b := d.in[0]
	d.in = d.in[1:]
	return int(b), nil
}

// length is a length that is too long for its field: zero bytes count 255 each.
func (d *rleDecoder) length(field, all int) (int, error) {
	if field != 0 {
		return field, nil
	}
	n := all
	for {
		b, err := d.byte()
		if err != nil || n > cap(d.out) {
			return 0, errLZO
		}
		if b != 0 {
			return n + b, nil
		}
		n += 255
	}
}

func (d *rleDecoder) literals(n int) error {
	if n > len(d.in) || n > cap(d.out)-len(d.out) {
		return errLZO
	}
	d.out = append(d.out, d.in[:n]...)
	d.in = d.in[n:]
	d.state = min(n, 4)
	return nil
}

// match copies from what was written, byte by byte: it may overlap itself. Up
// to three literals follow.
func (d *rleDecoder) match(distance, n, literals int) error {
	if distance > len(d.out) || n > cap(d.out)-len(d.out) {
		return errLZO
	}
	for range n {
		d.out = append(d.out, d.out[len(d.out)-distance])
	}
	return d.literals(literals)
}

func (d *rleDecoder) zeros(n, literals int) error {
	if n > cap(d.out)-len(d.out) {
		return errLZO
	}
	at := len(d.out)
	d.out = d.out[:at+n]
	clear(d.out[at:])
	return d.literals(literals)
}

// word reads the two bytes that follow far and middle matches.
func (d *rleDecoder) word() (distance, literals int, err error) {
	if len(d.in) < 2 {
		return 0, 0, errLZO
	}
	w := int(le.Uint16(d.in))
	d.in = d.in[2:]
	return w >> 2, w & 3, nil
}

// step carries out one instruction and reports whether it was the last.
func (d *rleDecoder) step() (done bool, err error) {
	t, err := d.byte()
	if err != nil {
		return false, err
	}
	switch {
	case t >= 64:
		return false, d.near(t)
	case t >= 32:
		n, err := d.length(t&31, 31)
		if err != nil {
			return false, err
		}
		distance, literals, err := d.word()
		if err != nil {
			return false, err
		}
		return false, d.match(distance+1, n+2, literals)
	case t >= 16:
		return d.far(t)
	case d.state == 0:
		n, err := d.length(t, 15)
		if err != nil {
			return false, err
		}
		return false, d.literals(n + 3)
	}
	h, err := d.byte()
	if err != nil {
		return false, err
	}
	distance, n := h<<2+t>>2+1, 2
	if d.state == 4 {
		distance, n = distance+2048, 3
	}
	return false, d.match(distance, n, t&3)
}

// near is a match of 3 to 8 bytes within 2 KiB.
func (d *rleDecoder) near(t int) error {
	h, err := d.byte()
	if err != nil {
		return err
	}
	n := 3 + t>>5&1
	if t >= 128 {
		n = 5 + t>>5&3
	}
	return d.match(h<<3+t>>2&7+1, n, t&3)
}

// far is a match from 16 KiB on, a run of zeros, or the end.
func (d *rleDecoder) far(t int) (done bool, err error) {
	if t&8 != 0 && len(d.in) >= 3 && le.Uint16(d.in)&0xfffc == 0xfffc {
		n := t&7 | int(d.in[2])<<3
		literals := int(d.in[0] & 3)
		d.in = d.in[3:]
		return false, d.zeros(n+rleMinRun, literals)
	}
	n, err := d.length(t&7, 7)
	if err != nil {
		return false, err
	}
	distance, literals, err := d.word()
	if err != nil {
		return false, err
	}
	if distance += farMatch + t&8<<11; distance == farMatch {
		if len(d.in) != 0 || literals != 0 {
			return false, errLZO
		}
		return true, nil
	}
	return false, d.match(distance, n+2, literals)
}
