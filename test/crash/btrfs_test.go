package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
	"fsenc/internal/tree"
	"fsenc/test/btrfsjudge"
	"fsenc/test/linux"
	"fsenc/test/mkimage"
)

// snapshotted makes a small btrfs with a tree in a subvolume, files in it that
// share extents, and a snapshot of it all.
func snapshotted(t *testing.T) []byte {
	t.Helper()
	mkimage.NeedRoot(t)
	image := filepath.Join(t.TempDir(), "img")
	tool := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
	}
	tool("truncate", "-s", "64M", image)
	tool("mkfs.btrfs", "-q", "-M", image)
	m, err := linux.MountImage(image, filepath.Join(t.TempDir(), "mnt"), "btrfs", false, "")
	if err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(m.Dir, "sub")
	tool("btrfs", "-q", "subvolume", "create", sub)
	secret := filepath.Join(sub, "secret")
	body := bytes.Repeat([]byte("to be kept from all eyes\n"), 800)
	err = errors.Join(
		os.Mkdir(secret, 0o755),
		os.WriteFile(filepath.Join(secret, "large"), body, 0o600),
		os.WriteFile(filepath.Join(secret, "inline"), body[:100], 0o600),
		os.WriteFile(filepath.Join(secret, "other"), body[:5000], 0o600),
		os.Symlink("large", filepath.Join(secret, "link")),
		unix.Mkfifo(filepath.Join(secret, "fifo"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	tool("sync", "-f", sub)
	tool("cp", "--reflink=always", filepath.Join(secret, "large"), filepath.Join(secret, "reflink"))
	tool("cp", "--reflink=always", filepath.Join(secret, "other"), filepath.Join(sub, "beside the tree"))
	tool("btrfs", "-q", "subvolume", "snapshot", sub, filepath.Join(m.Dir, "snap"))
	if err := m.Unmount(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	home := storetest.NewMem(b)
	fs, err := probe.Open(home, probe.Options{Write: true})
	if err == nil {
		err = errors.Join(fs.SetFeatures([]string{"encrypt"}, nil), fs.Flush())
	}
	if err != nil {
		t.Fatal(err)
	}
	return home.Bytes()
}

// unsharing encrypts /sub/secret after giving it copies of what it shares. log
// is the log that lies beside the image when it ends.
type unsharing struct {
	keys *crypt.Keyring
	pol  policy.Policy
	log  *storetest.Cutter
}

func (u *unsharing) run(ctx context.Context, c *storetest.Clock, home store.Store) error {
	newLog := func() (store.Store, error) {
		u.log = c.Log(nil)
		return u.log, nil
	}
	plan := func() (*convert.Plan, error) {
		fs, err := probe.Open(home, probe.Options{Write: true})
		if err != nil {
			return nil, err
		}
		t := tree.New(fs, u.keys)
		defer t.Close()
		n, err := t.Lookup("/sub/secret")
		if err != nil {
			return nil, err
		}
		return convert.PlanEncrypt(ctx, fs, []convert.Top{{Path: "/sub/secret", Ino: n.Ino}}, u.pol,
			convert.Options{Keys: u.keys, Wipe: true, Shared: convert.UnshareShared})
	}
	p, err := plan()
	if err != nil {
		return err
	}
	if len(p.Shared) < 2 {
		return fmt.Errorf("only %d extents are shared", len(p.Shared))
	}
	err = convert.Unshare(ctx, home, p, newLog, func(_ store.Store, err error) error {
		if err == nil {
			u.log = nil // removed
		}
		return err
	})
	if err != nil {
		return err
	}
	if p, err = plan(); err != nil {
		return err
	}
	log, err := newLog()
	if err != nil {
		return err
	}
	run, err := convert.Begin(home, log, p, u.keys)
	if err != nil {
		return err
	}
	return run.Run(ctx, convert.Forward)
}

// A power cut while extents are copied for a tree, or later, ends with the same
// files in the tree and in the snapshot, and both pass btrfs check.
func TestPowerLossOfUnshare(t *testing.T) {
	base := snapshotted(t)
	raw := bytes.Repeat([]byte{7, 1, 9, 4}, 16)
	key, err := crypt.NewMasterKey(bytes.Clone(raw))
	if err != nil {
		t.Fatal(err)
	}
	u := &unsharing{keys: new(crypt.Keyring)}
	u.keys.Add(key)
	u.pol = policy.Policy{Version: 2, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS, Flags: 3, Identifier: key.Identifier()}
	want := filesOf(t, "before", base, raw)
	judged := make(map[[32]byte]bool)
	cuts := 0
	for k := 0; ; k++ {
		c := storetest.NewClock(k)
		home := c.Store(base)
		u.log = nil
		err := u.run(t.Context(), c, home)
		if !c.Cut() {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		cuts++
		for seed := range uint64(3) {
			for _, d := range []convert.Direction{convert.Forward, convert.Back} {
				when := fmt.Sprintf("cut %d, seed %d, direction %d", k, seed, d)
				var log []byte
				if u.log != nil {
					log = u.log.Survivor(seed)
				}
				img := recovered(t, when, home.Survivor(seed), log, u, d)
				sum := sha256.Sum256(img)
				if judged[sum] {
					continue
				}
				judged[sum] = true
				if diff := cmp.Diff(want, filesOf(t, when, img, raw)); diff != "" {
					t.Fatalf("%s (-before +after):\n%s", when, diff)
				}
				if err := btrfsjudge.CheckShadow(t.TempDir(), img); err != nil {
					t.Fatalf("%s: %v", when, err)
				}
			}
		}
	}
	t.Logf("%d cuts, %d different results", cuts, len(judged))
	if cuts < 20 {
		t.Errorf("only %d cuts", cuts)
	}
}

// recovered brings an image to an end after a cut. Where there was no log yet it
// is as it was.
func recovered(t *testing.T, when string, img, log []byte, u *unsharing, d convert.Direction) []byte {
	t.Helper()
	home := storetest.NewMem(img)
	if log == nil {
		return home.Bytes()
	}
	i, _, err := convert.Open(home, storetest.NewClock(1<<30).Log(log))
	if err == nil && i != nil {
		var c *convert.Conversion
		if c, err = i.Resume(u.keys); err == nil {
			err = c.Run(t.Context(), d)
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	return home.Bytes()
}

// filesOf reads all files of all subvolumes by code that shares nothing with
// ours.
func filesOf(t *testing.T, when string, img, key []byte) map[string]string {
	t.Helper()
	v, err := btrfsjudge.Judge([][]byte{key}, img)
	if err != nil {
		t.Fatalf("%s: the judge: %v", when, err)
	}
	if len(v.Broken) > 0 {
		t.Fatalf("%s: the judge: %q", when, v.Broken)
	}
	out := make(map[string]string)
	for p, f := range v.All() {
		if f.Target != "" || f.Mode>>12 == 4 {
			f.Size = 0 // of the names
		}
		out[p] = fmt.Sprintf("%o %d %d %s %s", f.Mode, f.Links, f.Size, f.SHA256, f.Target)
	}
	return out
}
