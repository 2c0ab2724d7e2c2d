package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/btrfsjudge"
	"fsenc/test/linux"
)

// Subvolumes get their numbers in turn.
const (
	subID  = 256
	snapID = 257
	latID  = 258
)

// family is a subvolume with a tree, a snapshot of it that went on by itself, a
// snapshot of that, and a file beside the tree that shares extents with it.
func family(t *testing.T) (image string, before map[string][]manifest.Entry) {
	t.Helper()
	r := btrfsRow{name: "family"}
	image, _ = r.build(t, func(dir string) {
		sub, snap := filepath.Join(dir, "sub"), filepath.Join(dir, "snap")
		tool(t, "btrfs", "-q", "subvolume", "create", sub)
		fillBtrfs(t, sub, r)
		own := &btrfsFiller{t: t, root: sub}
		own.do(os.WriteFile(filepath.Join(sub, "secret/copied in pieces"), own.text(3_300_000), 0o600))
		tool(t, "btrfs", "-q", "subvolume", "snapshot", sub, snap)
		base := filepath.Join("secret", linux.MarkName+"-shared", linux.MarkName+"-base")
		f := &btrfsFiller{t: t, root: snap}
		f.do(
			overwrite(filepath.Join(snap, base), 8192, 4096),
			os.Remove(filepath.Join(snap, base+" whole")),
			reflink(filepath.Join(sub, "plain/-of the secret"), filepath.Join(sub, base), 0, 0, 0),
			os.WriteFile(filepath.Join(snap, "secret/only here"), f.text(5000), 0o600),
		)
		tool(t, "btrfs", "-q", "subvolume", "snapshot", "-r", snap, filepath.Join(dir, "later"))
		f.do(overwrite(filepath.Join(sub, base), 300_000, 4096))
	})
	return image, lookBelow(t, image, "sub", "snap", "later")
}

// By default a tree that shares extents with others is refused, with who they
// are; nor can snapshots go along that are read-only. The image stays as it is.
func TestBtrfsSharedRefused(t *testing.T) {
	image, _ := family(t)
	_, keyFile := masterKey(t, "family")
	run(t, "setup", image, "--no-metadata", "--yes")
	plain, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	encrypt := []string{"encrypt-dir", image, "/sub/secret", "--key-file", keyFile, "--yes"}
	out, code := try(t, encrypt...)
	for _, want := range []string{"--shared", "/sub/plain/-of the secret", "/snap/secret/" + linux.MarkName + "-shared/", "/later/secret/" + linux.MarkName + "-splits/"} {
		if code == 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, does not say %q:\n%s", code, want, out)
		}
	}
	out, code = try(t, append(encrypt, "--shared", "whole")...)
	if code == 0 || strings.Count(out, "read-only") != 1 {
		t.Errorf("with a read-only snapshot: exit %d:\n%s", code, out)
	}
	if now, err := os.ReadFile(image); err != nil || string(now) != string(plain) {
		t.Error("a refusal changed the image")
	}
}

// With "unshare" the others stay as they are. With "whole" the snapshots go
// along; the file beside the tree does not.
func TestBtrfsShared(t *testing.T) {
	image, before := family(t)
	onBtrfs(t, image, "", func(dir string) { tool(t, "btrfs", "property", "set", filepath.Join(dir, "later"), "ro", "false") })
	key, keyFile := masterKey(t, "family")
	run(t, "setup", image, "--no-metadata", "--yes")
	plain, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"unshare", "whole"} {
		t.Run(how, func(t *testing.T) {
			if err := os.WriteFile(image, plain, 0o600); err != nil {
				t.Fatal(err)
			}
			whole := how == "whole"
			run(t, "encrypt-dir", image, "/sub/secret", "--shared", how, "--key-file", keyFile, "--yes")
			soundBtrfs(t, image, "after encrypt-dir")
			v := verdict(t, image, key)
			fsckIsContent(t, image, keyFile)
			for id, top := range map[uint64]string{subID: "sub", snapID: "snap", latID: "later"} {
				under := "secret"
				if id != subID && !whole {
					under = "no such directory"
				}
				judged(t, v.Trees[id], before[top], under)
			}
			apart(t, v, whole)

			args := []string{"decrypt-dir", image, "/sub/secret", "--key-file", keyFile, "--yes"}
			if whole {
				args = append(args, "--shared", how)
			}
			run(t, args...)
			run(t, "setup", image, "--remove", "--yes")
			checkBtrfs(t, image, "after decrypt-dir")
			for top, now := range lookBelow(t, image, "sub", "snap", "later") {
				same(t, top+" after decrypt-dir", before[top], now, manifest.Encryption)
			}
			onBtrfs(t, image, "", func(dir string) { // references that are wrong show when they go
				scrub(t, dir)
				tool(t, "btrfs", "-q", "subvolume", "delete", "-c", filepath.Join(dir, "snap"), filepath.Join(dir, "later"))
				tool(t, "btrfs", "subvolume", "sync", dir)
				tool(t, "btrfs", "balance", "start", "--full-balance", dir)
			})
			checkBtrfs(t, image, "after the snapshots are gone")
		})
	}
}

// apart holds who shares extents with whom after encrypt-dir: nobody plain with
// anybody encrypted, and snapshots that went along still with the tree.
func apart(t *testing.T, v *btrfsjudge.Verdict, whole bool) {
	t.Helper()
	where := make(map[uint64]bool) // extents, and whether they are encrypted
	shared := 0
	for id, files := range v.Trees {
		for p, f := range files {
			for _, d := range f.Disk {
				if secret, ok := where[d]; ok && secret != f.Encrypted {
					t.Errorf("extent %d is encrypted in one file and plain in %s of subvolume %d", d, p, id)
				}
				where[d] = f.Encrypted
			}
			if id != snapID || !f.Encrypted {
				continue
			}
			for _, d := range f.Disk {
				if slices.Contains(v.Trees[subID][p].Disk, d) {
					shared++
					break
				}
			}
		}
	}
	if whole && shared < 50 || !whole && shared > 0 {
		t.Errorf("%d encrypted files of the snapshot share extents with the tree", shared)
	}
}

// A subvolume in the tree is a directory of it, with names in three places.
func TestBtrfsSubvolumes(t *testing.T) {
	r := btrfsRow{name: "subvolumes"}
	image, _ := r.build(t, func(dir string) {
		nested := filepath.Join(dir, "top/secret/nested")
		tool(t, "btrfs", "-q", "subvolume", "create", filepath.Join(dir, "top"))
		fillBtrfs(t, filepath.Join(dir, "top"), r)
		tool(t, "btrfs", "-q", "subvolume", "create", nested)
		f := &btrfsFiller{t: t, root: nested, mark: true}
		f.compressed()
		f.splits()
		f.inlineSizes()
	})
	before := lookBelow(t, image, "top", "top/secret/nested")
	whole := lookAtBtrfs(t, image)
	key, keyFile := masterKey(t, r.name)
	run(t, "setup", image, "--no-metadata", "--yes")
	run(t, "encrypt-dir", image, "/top/secret", "--key-file", keyFile, "--yes")
	soundBtrfs(t, image, "after encrypt-dir")
	fsckIsContent(t, image, keyFile)
	noMarks(t, image)
	v := verdict(t, image, key)
	judged(t, v.Trees[snapID], before["top/secret/nested"], ".")
	all := v.All()
	for _, e := range whole {
		if f := all["/"+e.Path]; e.Type == manifest.File && e.SameAs == "" && f.SHA256 != e.SHA256 {
			t.Errorf("%q: the judge reads %s, the kernel read %s", e.Path, f.SHA256, e.SHA256)
		}
	}

	run(t, "decrypt-dir", image, "/top/secret", "--key-file", keyFile, "--yes")
	run(t, "setup", image, "--remove", "--yes")
	checkBtrfs(t, image, "after decrypt-dir")
	for top, now := range lookBelow(t, image, "top", "top/secret/nested") {
		same(t, top+" after decrypt-dir", before[top], now, manifest.Encryption)
	}
}
