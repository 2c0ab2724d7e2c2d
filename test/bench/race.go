package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sample is what one run of one side cost.
type sample struct {
	wall     time.Duration
	resident int64 // most memory that the process had, bytes; 0 if nobody looked
}

// side is one of those that are compared. run prepares and then measures.
type side struct {
	label string
	run   func() (sample, error)
	per   int // things that a run is about, where time is given for each
}

// peer is what ours is compared with. A bar of 0 only informs.
type peer struct {
	side
	bar float64 // our time by the peer's, at most
}

// race runs ours and the peers in turn, reports a row for each peer, and
// returns the samples of ours.
func (b *bench) race(name string, ours side, peers ...peer) ([]sample, error) {
	mine := make([]sample, b.rounds)
	theirs := make([][]sample, len(peers))
	for r := range b.rounds {
		var err error
		if mine[r], err = b.one(name, r, ours); err != nil {
			return nil, err
		}
		for i, p := range peers {
			s, err := b.one(name, r, p.side)
			if err != nil {
				return nil, err
			}
			theirs[i] = append(theirs[i], s)
		}
	}
	for i, p := range peers {
		b.report.row(compare(name, ours, mine, p, theirs[i]))
	}
	return mine, nil
}

func (b *bench) one(name string, round int, s side) (sample, error) {
	m, err := s.run()
	if err != nil {
		return m, fmt.Errorf("%s: %w", s.label, err)
	}
	b.report.progress("%s, round %d: %s %.3f s, load %s", name, round+1, s.label, m.wall.Seconds(), load())
	return m, nil
}

// compare makes the row: best by best, and the range of the rounds' ratios.
func compare(name string, ours side, mine []sample, p peer, theirs []sample) row {
	r := row{Name: name, Ours: ours.label, Peer: p.label, Bar: p.bar, Unit: "s"}
	a, c := bestOf(mine).each(ours.per), bestOf(theirs).each(p.per)
	if ours.per > 0 {
		a, c, r.Unit = a*1e6, c*1e6, "µs each"
	}
	r.Value, r.PeerValue, r.Ratio = a, c, a/c
	var ratios []float64
	for i := range mine {
		ratios = append(ratios, mine[i].each(ours.per)/theirs[i].each(p.per))
	}
	r.Low, r.High = slices.Min(ratios), slices.Max(ratios)
	return r
}

func bestOf(s []sample) sample {
	return slices.MinFunc(s, func(a, b sample) int { return cmp.Compare(a.wall, b.wall) })
}

func (s sample) each(n int) float64 { return s.wall.Seconds() / float64(max(n, 1)) }

// resident reports the most memory of several runs beside what is allowed.
func (b *bench) resident(name, label string, runs []sample, allowed int64) {
	most := slices.MaxFunc(runs, func(a, b sample) int { return cmp.Compare(a.resident, b.resident) }).resident
	const mib = 1 << 20
	b.report.row(row{Name: name, Ours: label + ", resident", Value: float64(most) / mib, Unit: "MiB", Peer: "allowed",
		PeerValue: float64(allowed) / mib, Ratio: float64(most) / float64(allowed), Bar: 1})
}

// clock measures f.
func clock(f func() error) (sample, error) {
	start := time.Now()
	err := f()
	return sample{wall: time.Since(start)}, err
}

// command runs a program to its end.
func (b *bench) command(name string, args ...string) (sample, error) {
	s, _, err := b.spoken(name, args...)
	return s, err
}

// spoken is command with what the program prints.
func (b *bench) spoken(name string, args ...string) (sample, []byte, error) {
	cmd := exec.CommandContext(b.ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	s, err := clock(cmd.Run)
	if err != nil {
		const tail = 2000 // some draw progress bars
		return s, nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, out.Bytes()[max(0, out.Len()-tail):])
	}
	s.resident = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	return s, out.Bytes(), nil
}

// sh is command for what is not measured.
func (b *bench) sh(name string, args ...string) error {
	_, err := b.command(name, args...)
	return err
}

// fsenc runs the program with the key.
func (b *bench) fsenc(command string, args ...string) (sample, error) {
	return b.command(b.bin, append([]string{command, "--key-file", b.key, "--yes"}, args...)...)
}

// path is a file in the scratch directory.
func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// settle waits until a file is on the disk, so that writing it is not counted
// in what follows.
func settle(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// evict takes a file out of the page cache.
func evict(path string) error {
	if err := settle(path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
