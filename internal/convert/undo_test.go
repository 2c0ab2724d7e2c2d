package convert_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
)

// A decryption that is undone leaves the encrypted tree, and nothing of what it
// had written in clear by then.
func TestUndoneDecryptionLeavesNoPlaintext(t *testing.T) {
	fills := func(dir string) { fill(t, dir) }
	for _, c := range []struct {
		name  string
		plain []byte
		check func(testing.TB, []byte)
	}{
		{"ext4", layouts[0].make(t), e2fsck},
		{"ext4 inline", layouts[2].make(t), e2fsck},
		{"f2fs", f2fsLayouts[0].makeF2FS(t, fills), fsckF2FS},
		{"btrfs", btrfsLayouts[0].makeBtrfs(t, fills), checkBtrfs},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, pol := testKey(t)
			want := snapshot(t, storetest.NewMem(c.plain), nil)
			encrypted := storetest.NewMem(bytes.Clone(c.plain))
			if err := (job{op: convert.Encrypt, keys: keys, pol: pol, wipe: true}).run(t.Context(), encrypted, newLog()); err != nil {
				t.Fatal(err)
			}
			decrypt := job{op: convert.Decrypt, keys: keys, pol: pol, begun: func() error { return context.Canceled }}
			begin := func() (home, log store.Store) {
				home, log = storetest.NewMem(bytes.Clone(encrypted.Bytes())), newLog()
				if err := decrypt.run(t.Context(), home, log); !errors.Is(err, context.Canceled) {
					t.Fatalf("got %v, want the interruption", err)
				}
				return home, log
			}
			home, log := begin()
			total := goOn(t, keys, home, log, convert.Forward, -1)
			// One commit is on its way while the one before is told.
			for _, commits := range []int{total / 2, total * 9 / 10, total - 2} {
				home, log := begin()
				goOn(t, keys, home, log, convert.Forward, commits)
				goOn(t, keys, home, log, convert.Back, -1)
				if d := cmp.Diff(want, snapshot(t, home, keys)); d != "" {
					t.Errorf("after %d commits: tree differs (-want +got):\n%s", commits, d)
				}
				img := home.(*storetest.Mem).Bytes()
				c.check(t, img)
				noPlaintext(t, img)
			}
		})
	}
}

// goOn runs an interrupted conversion until so many commits are done, to its end
// if that is never reached, and returns how many were done.
func goOn(t *testing.T, keys *crypt.Keyring, home, log store.Store, d convert.Direction, commits int) (done int) {
	t.Helper()
	c := resumed(t, keys, home, log)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c.OnProgress(func(p convert.Progress) {
		if p.Phase != "wipe" {
			done++
		}
		if done == commits {
			stop()
		}
	})
	if err := c.Run(ctx, d); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return done
}
