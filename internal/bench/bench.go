// Package bench measures the ciphers of internal/crypt as fsenc uses them: by
// mode, code path, direction and data unit, and what a key costs.
//
// Times are CPU time of the one thread that measures, which is what openssl
// speed reports too: wall time says little on a busy machine. Speeds are bytes,
// or operations, a second of it.
package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"time"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
)

// Operations of a Row.
const (
	Encrypt  = "encrypt"
	Decrypt  = "decrypt"
	KeySetUp = "key-setup" // derive the key of a new nonce, and expand it
	Cached   = "cached"    // look a key up in the cache, set it up if it is not there
)

// Row is one result.
type Row struct {
	Mode           policy.Mode
	Implementation string // the code path, as crypt.ImplementationsOf names it
	Op             string
	UnitSize       int     // Encrypt, Decrypt: bytes of a data unit, or of a name
	BytesPerSecond float64 // Encrypt, Decrypt
	PerSecond      float64 // data units or names, keys set up, look-ups
	Nonces         int     // Cached: among how many nonces the look-ups choose
	CacheSize      int     // Cached: how many ciphers the cache holds
	HitRate        float64 // Cached: 0 to 1
}

// Options say what to measure.
type Options struct {
	Modes    []policy.Mode // all, if there are none
	Duration time.Duration // of CPU time for each row
	// Progress is told before each row how many there are in all.
	Progress func(m policy.Mode, done, total int)
}

// Sizes that are measured, in bytes.
var (
	unitSizes = []int{4096, 512}
	nameSizes = []int{16, 64, 255}
)

const (
	bufferSize = 64 << 10 // of contents in one call, bytes
	blockSize  = 4096
)

// nonceCounts are from what the cache holds easily to what it cannot hold.
var nonceCounts = []int{crypt.DefaultCacheSize / 2, 2 * crypt.DefaultCacheSize, 1 << 20}

// AllModes are the modes in the order of their numbers.
func AllModes() []policy.Mode {
	var out []policy.Mode
	for _, p := range policy.Pairs() {
		out = append(out, p.Contents, p.Filenames)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Run measures and reports row by row; an error of report ends it. Nothing
// else may use a cipher meanwhile: the code paths are switched for all.
func Run(ctx context.Context, o Options, report func(Row) error) error {
	raw := make([]byte, crypt.MaxKeySize)
	rand.Read(raw)
	key, err := crypt.NewMasterKey(raw)
	if err != nil {
		return err
	}
	defer key.Wipe()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	modes := o.Modes
	if len(modes) == 0 {
		modes = AllModes()
	}
	var all []measurement
	for _, m := range modes {
		all = append(all, measurements(m)...)
	}
	for i, m := range all {
		if o.Progress != nil {
			o.Progress(m.row.Mode, i, len(all))
		}
		row, err := m.run(ctx, key, o.Duration)
		if err == nil {
			err = report(row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// measurement is a row that is still without result, and how to get it.
type measurement struct {
	row  Row
	make func(*Row, *crypt.MasterKey) (*work, error)
}

// work is what is measured: step is called over and over.
type work struct {
	step  func()
	bytes int // that a step is about, 0 if none
	units int // operations of a step
	close func()
	after func(*Row) // completes the row, may be nil
}

// measurements lists those of a mode.
func measurements(m policy.Mode) []measurement {
	var out []measurement
	add := func(r Row, f func(*Row, *crypt.MasterKey) (*work, error)) { out = append(out, measurement{r, f}) }
	for _, impl := range crypt.ImplementationsOf(m) {
		r := Row{Mode: m, Implementation: impl}
		for _, op := range []string{Encrypt, Decrypt} {
			r.Op = op
			for _, r.UnitSize = range unitSizes {
				if pairOf(m, contents) != nil {
					add(r, contentsWork)
				}
			}
			for _, r.UnitSize = range nameSizes {
				if pairOf(m, filenames) != nil {
					add(r, namesWork)
				}
			}
		}
		add(Row{Mode: m, Implementation: impl, Op: KeySetUp}, keyWork)
	}
	for _, n := range nonceCounts {
		impl := crypt.ImplementationsOf(m)
		add(Row{Mode: m, Implementation: impl[len(impl)-1], Op: Cached, Nonces: n, CacheSize: crypt.DefaultCacheSize}, cacheWork)
	}
	return out
}

func contents(p policy.Pair) policy.Mode  { return p.Contents }
func filenames(p policy.Pair) policy.Mode { return p.Filenames }

// pairOf is a pair of modes in which m has a role, nil if there is none.
func pairOf(m policy.Mode, role func(policy.Pair) policy.Mode) *policy.Pair {
	for _, p := range policy.Pairs() {
		if role(p) == m {
			return &p
		}
	}
	return nil
}

// run switches to the code path, takes the time and switches back.
func (m *measurement) run(ctx context.Context, key *crypt.MasterKey, d time.Duration) (Row, error) {
	restore, err := crypt.UseImplementation(m.row.Implementation)
	if err != nil {
		return m.row, err
	}
	defer restore()
	w, err := m.make(&m.row, key)
	if err != nil {
		return m.row, fmt.Errorf("%v: %w", m.row.Mode, err)
	}
	defer w.close()
	steps, spent, err := w.clock(ctx, d)
	if err != nil {
		return m.row, err
	}
	m.row.PerSecond = float64(steps*w.units) / spent.Seconds()
	m.row.BytesPerSecond = float64(steps*w.bytes) / spent.Seconds()
	if w.after != nil {
		w.after(&m.row)
	}
	return m.row, nil
}

// batch is the CPU time between two looks at the clock, about.
const batch = time.Millisecond

// clock calls step until d of CPU time is spent.
func (w *work) clock(ctx context.Context, d time.Duration) (steps int, spent time.Duration, err error) {
	w.step() // whatever is done but once
	n := 1
	start, err := threadTime()
	for err == nil && (spent < d || spent <= 0) {
		if err = ctx.Err(); err != nil {
			break
		}
		for range n {
			w.step()
		}
		steps += n
		var now time.Duration
		now, err = threadTime()
		if last := now - start - spent; last < batch {
			n *= 2
		}
		spent = now - start
	}
	return steps, spent, err
}

// contextOf is a v2 context of key in which m has a role.
func contextOf(key *crypt.MasterKey, p *policy.Pair) policy.Context {
	return policy.Context{Policy: policy.Policy{
		Version: 2, Contents: p.Contents, Filenames: p.Filenames, Identifier: key.Identifier(),
	}}
}

// setNonce sets the nonce to a number.
func setNonce(c *policy.Context, n uint64) { binary.LittleEndian.PutUint64(c.Nonce[:], n) }

var volume = crypt.Volume{BlockSize: blockSize}
