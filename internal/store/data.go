package store

// sparse is a store that knows where it has holes.
type sparse interface {
	nextData(off, end int64) (from, to int64, err error)
}

// NextData returns the first run of bytes in [off, end) that may be something
// else than zeros, since it is no hole of the file below s; from equals to if
// there is none. All is taken for data where holes are not known.
func NextData(s Store, off, end int64) (from, to int64, err error) {
	if sp, ok := s.(sparse); ok && off < end {
		return sp.nextData(off, end)
	}
	return off, end, nil
}

func (c *section) nextData(off, end int64) (from, to int64, err error) {
	from, to, err = NextData(c.s, c.off+off, c.off+end)
	return from - c.off, to - c.off, err
}
