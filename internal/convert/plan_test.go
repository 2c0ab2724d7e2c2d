package convert

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

func samplePlan() *Plan {
	v2 := policy.Policy{Version: 2, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS, Flags: 3}
	v2.Identifier[5] = 7
	v1 := policy.Policy{Version: 1, Contents: policy.ModeAdiantum, Filenames: policy.ModeAdiantum, Flags: policy.FlagDirectKey}
	p := &Plan{
		Op: Decrypt, Wipe: true,
		Tops:     []Top{{"/home/a\n", 12}, {"/x", 1 << 40}},
		Policies: []policy.Policy{v2, v1},
		items: []item{
			{ino: 900, kind: image.TypeRegular}, {ino: 13, kind: image.TypeRegular, policy: 1},
			{ino: 1 << 33, kind: image.TypeSymlink}, {ino: 12, kind: image.TypeDirectory, policy: 1},
		},
		keyIDs:    []policy.Identifier{v2.Identifier, {0: 3, 15: 9}},
		blockSize: 4096,
		Totals:    Totals{Bytes: 12345678901},
	}
	p.Seed[31] = 9
	return p
}

func TestPlanSurvivesTheLog(t *testing.T) {
	want := samplePlan()
	got, err := unmarshalPlan(want.marshal())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(Plan{}, item{})); d != "" {
		t.Errorf("plan differs (-want +got):\n%s", d)
	}
}

func TestRekeyPlanSurvivesTheLog(t *testing.T) {
	want := samplePlan()
	want.keyIDs = append(want.keyIDs, policy.Identifier{7: 1})
	want.Op, want.Target = Rekey, &policy.Policy{Version: 2, Contents: policy.ModeAdiantum, Filenames: policy.ModeAdiantum}
	got, err := unmarshalPlan(want.marshal())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(Plan{}, item{})); d != "" {
		t.Errorf("plan differs (-want +got):\n%s", d)
	}
}

func TestPlanCutShort(t *testing.T) {
	b := samplePlan().marshal()
	for n := range b {
		if p, err := unmarshalPlan(b[:n]); err == nil {
			t.Fatalf("%d of %d bytes decoded to %+v", n, len(b), p)
		}
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(samplePlan().marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := unmarshalPlan(b)
		if err != nil {
			return
		}
		q, err := unmarshalPlan(p.marshal())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(p, q, cmp.AllowUnexported(Plan{}, item{})); d != "" {
			t.Error(d)
		}
	})
}

func TestPosition(t *testing.T) {
	for _, want := range []position{
		{}, {item: 7}, {item: 1 << 40, lblk: ^uint64(0), active: true, isNew: true, down: true}, {active: true, lblk: 5},
	} {
		got, err := decodePosition(want.encode())
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for _, bad := range [][]byte{{1}, make([]byte, 18), append(make([]byte, 16), 8)} {
		if _, err := decodePosition(bad); err == nil {
			t.Errorf("%x decoded", bad)
		}
	}
}

func TestNextPiece(t *testing.T) {
	data := []image.Extent{{Lblk: 0, Pblk: 100, Len: 5}, {Lblk: 8, Pblk: 50, Len: 3}}
	walk := func(d Direction, lblk, limit uint64) []image.Extent {
		var out []image.Extent
		for {
			x, ok := nextPiece(d, data, lblk, limit)
			if !ok {
				return out
			}
			out = append(out, x)
			lblk = uint64(x.Lblk)
			if d == Forward {
				lblk += x.Len
			}
		}
	}
	forward := []image.Extent{{Lblk: 0, Pblk: 100, Len: 2}, {Lblk: 2, Pblk: 102, Len: 2}, {Lblk: 4, Pblk: 104, Len: 1},
		{Lblk: 8, Pblk: 50, Len: 2}, {Lblk: 10, Pblk: 52, Len: 1}}
	if got := walk(Forward, 0, 2); !slices.Equal(got, forward) {
		t.Errorf("forward: %v", got)
	}
	back := []image.Extent{{Lblk: 9, Pblk: 51, Len: 2}, {Lblk: 8, Pblk: 50, Len: 1},
		{Lblk: 3, Pblk: 103, Len: 2}, {Lblk: 1, Pblk: 101, Len: 2}, {Lblk: 0, Pblk: 100, Len: 1}}
	if got := walk(Back, ^uint64(0), 2); !slices.Equal(got, back) {
		t.Errorf("back: %v", got)
	}
	if got := walk(Back, 9, 100); !slices.Equal(got, []image.Extent{{Lblk: 8, Pblk: 50, Len: 1}, {Lblk: 0, Pblk: 100, Len: 5}}) {
		t.Errorf("back from 9: %v", got)
	}
	if got := walk(Forward, 6, 100); !slices.Equal(got, []image.Extent{{Lblk: 8, Pblk: 50, Len: 3}}) {
		t.Errorf("forward from a hole: %v", got)
	}
}

func TestClaims(t *testing.T) {
	c := make(claims)
	for _, step := range []struct {
		p    image.Pblk
		n    uint64
		free bool
	}{
		{10, 5, true}, {15, 1, true}, {9, 1, true}, {14, 1, false},
		{chunkBlocks - 3, 70, true}, {chunkBlocks + 66, 1, false}, {chunkBlocks + 67, 1, true},
		{1 << 40, 3 * chunkBlocks, true}, {1<<40 + 2*chunkBlocks, 1, false},
	} {
		if got := c.has(step.p, step.n); got == step.free {
			t.Errorf("has(%d, %d) = %v", step.p, step.n, got)
		}
		if got := c.add(step.p, step.n); got != step.free {
			t.Errorf("add(%d, %d) = %v", step.p, step.n, got)
		}
	}
}

// gaps leaves out long runs of members only, and nobody else.
func TestGaps(t *testing.T) {
	c := make(claims)
	for _, r := range [][2]uint64{{0, 3}, {5, 20}, {100, 15}, {130, 3 * chunkBlocks}} {
		c.add(image.Pblk(r[0]), r[1])
	}
	behind := uint64(130 + 3*chunkBlocks)
	want := [][2]uint64{{0, 5}, {25, 130}, {behind, behind + 10}}
	var got [][2]uint64
	err := c.gaps(behind+10, func(first, end uint64) error {
		got = append(got, [2]uint64{first, end})
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("gaps %v, %v, want %v", got, err, want)
	}
	r := rand.New(rand.NewPCG(7, 7))
	for range 200 {
		c, end := make(claims), 1+r.Uint64N(300)
		for range r.IntN(12) {
			c.add(image.Pblk(r.Uint64N(300)), 1+r.Uint64N(40))
		}
		seen := uint64(0)
		_ = c.gaps(end, func(first, stop uint64) error {
			for b := seen; b < first; b++ {
				if !c.has(image.Pblk(b), 1) {
					t.Fatalf("%d is left out of %d", b, end)
				}
			}
			if first >= stop || stop > end {
				t.Fatalf("a gap from %d to %d of %d", first, stop, end)
			}
			seen = stop
			return nil
		})
		for b := seen; b < end; b++ {
			if !c.has(image.Pblk(b), 1) {
				t.Fatalf("%d is left out of %d", b, end)
			}
		}
	}
}

func TestNoncesDiffer(t *testing.T) {
	n := newNonces([32]byte{1})
	seen := make(map[policy.Nonce]bool)
	for ino := range image.Ino(1000) {
		if x := n.of(ino, ino%2 == 0); seen[x] {
			t.Fatalf("inode %d: nonce %x again", ino, x)
		} else {
			seen[x] = true
		}
	}
	other := newNonces([32]byte{2})
	if n.of(5, false) == other.of(5, false) || n.of(5, true) == n.of(5, false) {
		t.Error("the seed does not matter")
	}
}
