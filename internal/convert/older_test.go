package convert_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/convert"
	"fsenc/internal/store/storetest"
	"fsenc/internal/txn"
)

// copies of an image and its log from one moment of a conversion.
type copies struct{ img, log []byte }

// A conversion is stopped many times, and copies are kept of image and log. An
// image with the log of another moment is refused and left alone, or the tree
// comes out right; and each with its own is fine.
func TestOlderCopiesAreRefused(t *testing.T) {
	keys, pol := testKey(t)
	plain := layouts[0].makeOf(t, func(dir string) {
		put(t, dir, "secret/file", 9000)
		put(t, dir, "secret/sub/other", 1500)
	})
	r := recovery{keys: keys, want: snapshot(t, storetest.NewMem(plain), nil), judged: make(map[[32]byte]bool)}
	j := job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true, small: true}
	kept := stops(t, j, plain)
	if len(kept) < 6 {
		t.Fatalf("only %d stops", len(kept))
	}
	older := map[error]int{}
	for i, of := range kept {
		for k, other := range kept {
			name := fmt.Sprintf("log of stop %d, image of stop %d", i, k)
			img := bytes.Clone(other.img)
			home := storetest.NewMem(img)
			_, _, err := convert.Open(home, storetest.NewClock(1<<30).Log(of.log))
			if errors.Is(err, txn.ErrLogForeign) && i != k {
				for _, why := range []error{txn.ErrImageOlder, txn.ErrLogOlder} {
					if errors.Is(err, why) {
						older[why]++
					}
				}
				if !bytes.Equal(img, other.img) {
					t.Fatalf("%s: refused, but written to", name)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			r.recover(t, name, convert.Forward, bytes.Clone(other.img), of.log)
			r.recover(t, name, convert.Back, bytes.Clone(other.img), of.log)
		}
	}
	if n := len(kept); older[txn.ErrImageOlder] < n || older[txn.ErrLogOlder] < n {
		t.Errorf("%d stops, refused: %v", n, older)
	}
	t.Logf("%d stops, refused: %v", len(kept), older)
}

// stops runs a conversion that is killed and gone on with every few writes. A
// copy is made after each kill, when everything that was written is there.
func stops(t *testing.T, j job, plain []byte) []copies {
	t.Helper()
	var kept []copies
	img, log := plain, []byte(nil)
	for {
		c := storetest.NewClock(13)
		home, logStore := c.Store(img), c.Log(log)
		var err error
		if log == nil {
			err = j.run(t.Context(), home, logStore)
		} else {
			err = finish(t.Context(), home, logStore, j, convert.Forward)
		}
		if !c.Cut() {
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(snapshot(t, storetest.NewMem(plain), nil), snapshot(t, storetest.NewMem(home.Survivor(1)), j.keys)); d != "" {
				t.Fatalf("tree differs (-before +after):\n%s", d)
			}
			return kept
		}
		img, log = home.Survivor(1), logStore.Survivor(1)
		kept = append(kept, copies{img, log})
	}
}
