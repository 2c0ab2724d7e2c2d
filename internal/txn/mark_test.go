package txn_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"fsenc/internal/store/storetest"
	"fsenc/internal/txn"
)

// moment is what a cut left.
type moment struct {
	name     string
	torn     bool // some sectors got lost
	img, log []byte
}

// moments are those of a script that is cut at every write and sync, some with
// all that was written until then.
func moments(t *testing.T, m txn.Method) []moment {
	t.Helper()
	var all []moment
	for i, clock := range []func(int) *storetest.Clock{storetest.NewClock, storetest.NewSyncClock} {
		for k := 0; ; k++ {
			c := clock(k)
			home, log := c.Store(startImage()), c.Log(nil)
			if err := script(home, log, m, nil); !c.Cut() {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			seed := uint64(k % 3)
			all = append(all, moment{fmt.Sprintf("clock %d, cut %d", i, k), seed != 1, home.Survivor(seed), log.Survivor(seed)})
		}
	}
	return all
}

// recovered returns the image that recovery makes of img with log.
func recovered(img, log []byte) (*txn.Tx, []byte, error) {
	home := storetest.NewMem(bytes.Clone(img))
	tx, err := txn.Open(home, storetest.NewMem(log))
	if err != nil {
		return nil, nil, err
	}
	tx.SetTransform(invert)
	return tx, home.Bytes(), tx.Recover()
}

// newer reports whether a log has come further than another.
func newer(a, b moment) bool {
	x, _, err := recovered(a.img, a.log)
	y, _, err2 := recovered(b.img, b.log)
	return err == nil && err2 == nil && bytes.Compare(x.Position(), y.Position()) > 0
}

// An image with the log of another moment is refused, or becomes what the log
// says. Nothing in between, but where two things go wrong at a time: an older
// copy of the log, and a power cut that lost the mark of the newer image, which
// is written with the rest of its commit.
func TestOlderCopies(t *testing.T) {
	for _, m := range []txn.Method{txn.Checksum, txn.Journal} {
		all := moments(t, m)
		refused := map[error]int{}
		for _, of := range all {
			_, want, err := recovered(of.img, of.log)
			if err != nil {
				continue // cut off before the log had anything, or after
			}
			for _, other := range all {
				name := fmt.Sprintf("%v, log of %s, image of %s", m, of.name, other.name)
				tx, got, err := recovered(other.img, of.log)
				switch {
				case errors.Is(err, txn.ErrLogForeign):
					for _, why := range []error{txn.ErrImageOlder, txn.ErrLogOlder} {
						if errors.Is(err, why) {
							refused[why]++
						}
					}
					if !bytes.Equal(got, other.img) {
						t.Fatalf("%s: refused, but written to", name)
					}
				case err != nil:
					t.Fatalf("%s: %v", name, err)
				case bytes.Equal(got, want):
				case other.torn && newer(other, of):
				case !tx.Begun() || tx.Finished():
					// The log is void; the image must be one without a mark.
					if !bytes.Equal(got, other.img) || !bytes.Equal(got[markOff:markOff+16], make([]byte, 16)) {
						t.Fatalf("%s: a marked image and a void log were not refused", name)
					}
				default:
					t.Fatalf("%s: neither refused nor recovered", name)
				}
			}
		}
		if refused[txn.ErrImageOlder] < 100 || refused[txn.ErrLogOlder] < 100 {
			t.Errorf("%v: refused %v", m, refused)
		}
		t.Logf("%v: %d moments, %v", m, len(all), refused)
	}
}
