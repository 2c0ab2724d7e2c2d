package cmd

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fsenc/internal/bench"
	"fsenc/internal/crypt/policy"
)

// benchOptions are the flags of bench.
type benchOptions struct {
	modes    []string
	duration time.Duration
}

func newBench(a *app) *cobra.Command {
	var o benchOptions
	c := &cobra.Command{
		Use:     "bench",
		GroupID: groupOther,
		Short:   "Measure each cipher and code path",
		Long: "Measure how fast this machine encrypts and decrypts with each mode, on each code\n" +
			"path that it has, and sets keys up. Times are CPU time on one core. For filenames\n" +
			"modes the unit is a name.",
		Args:              operands(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return a.bench(&o) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.modes, "mode", nil, "measure the `MODE`, as AES-256-XTS; may be repeated (all modes if not given)")
	f.DurationVar(&o.duration, "duration", 100*time.Millisecond, "CPU `TIME` to spend on each row")
	return c
}

func (a *app) bench(o *benchOptions) error {
	if o.duration <= 0 || o.duration > time.Hour {
		return usagef("--duration: %v is not between 0 and an hour", o.duration)
	}
	m := a.newMeter()
	run := bench.Options{Duration: o.duration, Progress: func(mode policy.Mode, done, total int) {
		m.update(tick{Phase: mode.String(), Items: uint64(done), TotalItems: uint64(total)})
	}}
	for _, name := range o.modes {
		mode, err := policy.ParseMode(name)
		if err != nil {
			return usagef("--mode: %v", err)
		}
		run.Modes = append(run.Modes, mode)
	}
	report, end := a.emitRow, func() error { return nil }
	if !a.json() {
		t := newTable(a.out, "MODE", "IMPLEMENTATION", "OPERATION", "UNIT", "SPEED", "PER SECOND")
		report, end = func(r bench.Row) error { t.row(benchCells(r)...); return nil }, t.flush
	}
	err := bench.Run(a.ctx, run, report)
	m.finish()
	return errors.Join(err, end())
}

// jsonBench is a row in JSON. Of encrypt and decrypt it has the data unit and
// the bytes, of look-ups in the cache how many were served.
type jsonBench struct {
	header
	Mode           string   `json:"mode"`
	Implementation string   `json:"implementation"`
	Op             string   `json:"op"`
	UnitSize       int      `json:"data_unit_size,omitempty"`
	BytesPerSecond int64    `json:"bytes_per_second,omitempty"`
	PerSecond      int64    `json:"operations_per_second"`
	Nonces         int      `json:"nonces,omitempty"`
	CacheSize      int      `json:"cache_size,omitempty"`
	HitRate        *float64 `json:"hit_rate,omitempty"`
}

// emitRow prints a row at once: a stream is read while it goes on.
func (a *app) emitRow(r bench.Row) error {
	j := jsonBench{header: headerOf("bench"), Mode: r.Mode.String(), Implementation: r.Implementation, Op: r.Op,
		UnitSize: r.UnitSize, BytesPerSecond: int64(r.BytesPerSecond), PerSecond: int64(r.PerSecond),
		Nonces: r.Nonces, CacheSize: r.CacheSize}
	if r.Op == bench.Cached {
		rate := math.Round(r.HitRate*1e4) / 1e4
		j.HitRate = &rate
	}
	if err := a.emit(j); err != nil {
		return err
	}
	return a.out.Flush()
}

// benchCells is a row of the table.
func benchCells(r bench.Row) []string {
	op, unit, speed := r.Op, "-", "-"
	if r.UnitSize > 0 {
		unit, speed = fmt.Sprint(r.UnitSize), iec(int64(r.BytesPerSecond))+"/s"
	}
	if r.Op == bench.Cached {
		op = fmt.Sprintf("cached, %d keys for %d: %.1f%% hits", r.Nonces, r.CacheSize, 100*r.HitRate)
	}
	return []string{r.Mode.String(), r.Implementation, op, unit, speed, grouped(int64(r.PerSecond))}
}

// grouped is a number with a space between thousands.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	var parts []string
	for len(s) > 3 {
		parts = append([]string{s[len(s)-3:]}, parts...)
		s = s[:len(s)-3]
	}
	return strings.Join(append([]string{s}, parts...), " ")
}
