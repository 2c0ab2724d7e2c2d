package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
)

// Every mode has its rows, on each code path, and each has a result.
func TestRun(t *testing.T) {
	before := crypt.Implementations()
	rows := map[string]Row{}
	calls := 0
	err := Run(t.Context(), Options{Duration: time.Microsecond, Progress: func(policy.Mode, int, int) { calls++ }},
		func(r Row) error {
			name := fmt.Sprintln(r.Mode, r.Implementation, r.Op, r.UnitSize, r.Nonces)
			if _, twice := rows[name]; twice {
				t.Errorf("two rows of %s", name)
			}
			rows[name] = r
			if r.PerSecond <= 0 || math.IsInf(r.PerSecond, 0) || (r.BytesPerSecond > 0) != (r.UnitSize > 0) {
				t.Errorf("%+v", r)
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, m := range AllModes() {
		paths := crypt.ImplementationsOf(m)
		sizes := 0
		if pairOf(m, contents) != nil {
			sizes += len(unitSizes)
		}
		if pairOf(m, filenames) != nil {
			sizes += len(nameSizes)
		}
		if sizes == 0 {
			t.Errorf("%v is for nothing", m)
		}
		want += len(paths)*(2*sizes+1) + len(nonceCounts)
	}
	if len(rows) != want || calls != want || len(AllModes()) != 8 {
		t.Errorf("%d rows and %d calls for %d modes, want %d", len(rows), calls, len(AllModes()), want)
	}
	if after := crypt.Implementations(); !slices.Equal(before, after) {
		t.Errorf("code paths were %v, are %v", before, after)
	}
}

// What the cache can hold it has; of more it has its share.
func TestHitRate(t *testing.T) {
	got := map[int]float64{}
	o := Options{Modes: []policy.Mode{policy.ModeAES256XTS}, Duration: 5 * time.Millisecond}
	err := Run(t.Context(), o, func(r Row) error {
		if r.Op == Cached {
			got[r.Nonces] = r.HitRate
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nonceCounts {
		want := min(1, float64(crypt.DefaultCacheSize)/float64(n))
		if rate, ok := got[n]; !ok || math.Abs(rate-want) > 0.1 {
			t.Errorf("%d nonces: hit rate %v, want %v", n, rate, want)
		}
	}
}

func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	none := func(Row) error { t.Error("a row"); return nil }
	if err := Run(ctx, Options{Duration: time.Hour}, none); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	full := errors.New("full")
	n := 0
	err := Run(t.Context(), Options{Duration: time.Microsecond}, func(Row) error { n++; return full })
	if err != full || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
}
