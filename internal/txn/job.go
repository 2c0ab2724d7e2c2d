package txn

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// job is one commit: staged metadata, and groups of contents that are read and
// written in one piece.
type job struct {
	guarded bool
	fresh   map[int64][]byte // pages, by number, that go home before the rest
	spilled bool             // others have gone there, and are to be made durable with them
	spans   []span
	groups  []group
}

// group is a run of rewrites that lie one behind the other in the image.
type group struct {
	rewrites []Rewrite
	size     int   // bytes of all of them, at most MaxRewrite
	logOff   int64 // where its entries are in the log
	sums     []uint64
}

func (g *group) off() int64 { return g.rewrites[0].Off }

// newJob collects what is staged, in the order of the image.
func (t *Tx) newJob(guarded bool) *job {
	j := &job{guarded: guarded, fresh: t.over.fresh, spilled: t.spilled, spans: t.over.spans()}
	slices.SortFunc(t.rewrites, func(a, b Rewrite) int { return cmp.Compare(a.Off, b.Off) })
	for i := 0; i < len(t.rewrites); {
		g := group{size: t.rewrites[i].Len}
		k := i + 1
		for ; k < len(t.rewrites); k++ {
			r := t.rewrites[k]
			if r.Off != t.rewrites[i].Off+int64(g.size) || g.size+r.Len > MaxRewrite {
				break
			}
			g.size += r.Len
		}
		g.rewrites = t.rewrites[i:k]
		g.sums = make([]uint64, len(g.rewrites))
		j.groups = append(j.groups, g)
		i = k
	}
	return j
}

// size is how many bytes of home a job writes.
func (j *job) size() (n int64) {
	n = int64(len(j.fresh)) * pageSize
	for _, s := range j.spans {
		n += int64(len(s.data))
	}
	for i := range j.groups {
		n += int64(j.groups[i].size)
	}
	return n
}

// header is the entry of a rewrite, its checksum left out.
func (t *Tx) header(r *Rewrite) entryHeader {
	e := entryHeader{kind: entrySums, size: uint32(r.Len), off: r.Off, tag: r.Tag}
	if t.head.Method == Journal {
		e.kind = entryData
	}
	return e
}

// writeRecord writes the record of a job, which nothing refers to yet.
func (t *Tx) writeRecord(j *job, next *state) error {
	if t.log == nil {
		return nil
	}
	next.epoch, next.epochOff, next.epochLen = t.number, t.state.epochOff, t.state.epochLen
	if t.epoch == nil {
		t.epoch = xxhash.New()
		next.epochOff, next.epochLen = t.place(t.recordLen(j)), 0
	}
	off, err := t.logSpans(j, next.epochOff+next.epochLen)
	if err != nil {
		return err
	}
	if off, err = t.logGroups(j, off); err != nil {
		return err
	}
	next.epochLen, next.epochSum = off-next.epochOff, t.epoch.Sum64()
	return nil
}

// writeState writes the state page and syncs it with the record: the commit point.
func (t *Tx) writeState(next *state) error {
	if t.log == nil {
		return nil
	}
	if _, err := t.log.WriteAt(next.encode(t.head.ID), stateOff+int64(next.seq%2)*pageSize); err != nil {
		return err
	}
	return t.log.Sync()
}

// recordLen is the length of the record of a job.
func (t *Tx) recordLen(j *job) int64 {
	var n int64
	for _, s := range j.spans {
		n += int64(entryHeaderLen) + int64(len(s.data))
		if j.guarded {
			n += int64(len(s.data))
		}
	}
	for _, g := range j.groups {
		n += t.groupLen(&g)
	}
	return n
}

func (t *Tx) groupLen(g *group) int64 {
	var n int64
	for i := range g.rewrites {
		e := t.header(&g.rewrites[i])
		n += int64(entryHeaderLen) + e.bodyLen()
	}
	return n
}

// place returns where an epoch that begins with n bytes can lie without
// touching the epoch before, which must survive until the new one's first
// record is whole. An epoch that grows into it later does so when the state
// pages no longer name it.
func (t *Tx) place(n int64) int64 {
	if t.last.epochLen == 0 || t.recBase+n <= t.last.epochOff {
		return t.recBase
	}
	return roundUp(t.last.epochOff+t.last.epochLen, pageSize)
}

// logSpans writes the entries of metadata from off on.
func (t *Tx) logSpans(j *job, off int64) (int64, error) {
	buf := make([]byte, 0, 64<<10)
	for _, s := range j.spans {
		e := entryHeader{kind: entryData, size: uint32(len(s.data)), off: s.off}
		body := s.data
		if j.guarded {
			e.kind = entryGuarded
			body = make([]byte, len(s.data), 2*len(s.data))
			if _, err := t.home.ReadAt(body, s.off); err != nil {
				return 0, err
			}
			body = append(body, s.data...)
		}
		e.sum = xxhash.Sum64(body)
		start := len(buf)
		buf = e.append(buf)
		t.epoch.Write(buf[start:])
		buf = append(buf, body...)
		if len(buf) >= 60<<10 {
			if _, err := t.log.WriteAt(buf, off); err != nil {
				return 0, err
			}
			off += int64(len(buf))
			buf = buf[:0]
		}
	}
	if len(buf) == 0 {
		return off, nil
	}
	_, err := t.log.WriteAt(buf, off)
	return off + int64(len(buf)), err
}

// logGroups writes the entries of contents from off on, on all cores.
func (t *Tx) logGroups(j *job, off int64) (int64, error) {
	for i := range j.groups {
		j.groups[i].logOff = off
		off += t.groupLen(&j.groups[i])
	}
	if err := t.parallel(j.groups, t.logGroup); err != nil {
		return 0, err
	}
	head := make([]byte, 0, entryHeaderLen)
	for i := range j.groups {
		g := &j.groups[i]
		for k := range g.rewrites {
			e := t.header(&g.rewrites[k])
			e.sum = g.sums[k]
			t.epoch.Write(e.append(head))
		}
	}
	return off, nil
}

// scratch is the memory of one worker.
type scratch struct {
	data []byte // MaxRewrite bytes
	log  []byte
}

// logGroup writes the entries of one group: checksums of its old sectors, or
// its new bytes.
func (t *Tx) logGroup(g *group, s *scratch) error {
	data := s.data[:g.size]
	if _, err := t.home.ReadAt(data, g.off()); err != nil {
		return err
	}
	out := s.log[:0]
	for i := range g.rewrites {
		r := &g.rewrites[i]
		part := data[r.Off-g.off():][:r.Len]
		e := t.header(r)
		start := len(out)
		out = e.append(out)
		if e.kind == entrySums {
			out = Sums(out, part)
		} else {
			if err := t.transform(r.Tag, part); err != nil {
				return err
			}
			out = append(out, part...)
		}
		e.sum = xxhash.Sum64(out[start+entryHeaderLen:])
		g.sums[i] = e.sum
		e.append(out[:start])
	}
	s.log = out
	_, err := t.log.WriteAt(out, g.logOff)
	return err
}

// writeHome writes everything to its place.
func (t *Tx) writeHome(j *job) error {
	if err := t.writeSpans(j.spans); err != nil {
		return err
	}
	write := t.rewriteGroup
	if t.head.Method == Journal {
		write = t.copyGroup
	}
	for _, g := range j.groups {
		t.unsynced.Add(int64(g.size))
	}
	return t.parallel(j.groups, write)
}

// writeSpans writes metadata, what lies one behind the other in one piece.
func (t *Tx) writeSpans(spans []span) error {
	var joined []byte
	for i := 0; i < len(spans); {
		first, data := spans[i], spans[i].data
		k := i + 1
		for ; k < len(spans) && spans[k].off == first.off+int64(len(data)) && len(data) < MaxRewrite; k++ {
			if k == i+1 {
				joined = append(joined[:0], data...)
			}
			joined = append(joined, spans[k].data...)
			data = joined
		}
		if _, err := t.home.WriteAt(data, first.off); err != nil {
			return err
		}
		t.unsynced.Add(int64(len(data)))
		i = k
	}
	return nil
}

// rewriteGroup transforms the contents of a group in place.
func (t *Tx) rewriteGroup(g *group, s *scratch) error {
	data := s.data[:g.size]
	if _, err := t.home.ReadAt(data, g.off()); err != nil {
		return err
	}
	for i := range g.rewrites {
		r := &g.rewrites[i]
		if err := t.transform(r.Tag, data[r.Off-g.off():][:r.Len]); err != nil {
			return err
		}
	}
	return t.writeData(data, g.off())
}

// copyGroup copies the new contents of a group from the log, as recovery would.
func (t *Tx) copyGroup(g *group, s *scratch) error {
	n := t.groupLen(g)
	if int64(cap(s.log)) < n {
		s.log = make([]byte, n)
	}
	b := s.log[:n]
	if _, err := t.log.ReadAt(b, g.logOff); err != nil {
		return err
	}
	data := s.data[:0]
	for _, r := range g.rewrites {
		data = append(data, b[entryHeaderLen:][:r.Len]...)
		b = b[entryHeaderLen+r.Len:]
	}
	return t.writeData(data, g.off())
}

// starter is a store that can begin to write back early what was written, so
// that a later Sync has less to wait for.
type starter interface {
	StartWriteback(off, n int64)
}

func (t *Tx) writeData(b []byte, off int64) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := t.home.WriteAt(b, off); err != nil {
		return err
	}
	t.startWriteback(off, int64(len(b)))
	return nil
}

// startWriteback is for what was written in one piece, if that is worth it.
func (t *Tx) startWriteback(off, n int64) {
	if s, ok := t.home.(starter); ok && n >= MaxRewrite/4 {
		s.StartWriteback(off, n)
	}
}

// parallel calls f for each group, on all cores.
func (t *Tx) parallel(groups []group, f func(*group, *scratch) error) error {
	if len(groups) == 0 {
		return nil
	}
	if t.transform == nil {
		return errors.New("contents to rewrite, and no transform")
	}
	next := make(chan *group, 8)
	errs := make([]error, min(runtime.GOMAXPROCS(0), len(groups)))
	var wg sync.WaitGroup
	for len(t.scratch) < len(errs) {
		t.scratch = append(t.scratch, &scratch{data: make([]byte, MaxRewrite)})
	}
	for w := range errs {
		wg.Go(func() {
			s := t.scratch[w]
			for g := range next {
				if errs[w] == nil {
					errs[w] = f(g, s)
				}
			}
		})
	}
	for i := range groups {
		next <- &groups[i]
	}
	close(next)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("contents: %w", err)
	}
	return nil
}
