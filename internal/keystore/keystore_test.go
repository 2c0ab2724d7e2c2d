package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

func TestSetup(t *testing.T) {
	for layout := range layouts {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprint(layout, " all users ", all), func(t *testing.T) {
				img := newImage(t, layout, "")
				if _, err := Load(img.fs); !errors.Is(err, ErrNotSetUp) {
					t.Fatalf("before setup: %v", err)
				}
				o := SetupOptions{AllUsers: all, UID: 70000, GID: 100}
				must(t, Setup(img.fs, o))
				s := img.load()
				if s.AllUsers() != all || len(s.Policies)+len(s.Protectors)+len(s.Links)+len(s.Damaged) > 0 {
					t.Errorf("after setup: %+v", s)
				}
				want := uint32(0o40755)
				if all {
					want = 0o41777
				}
				for name, mode := range map[string]uint32{".": 0o40755, policiesName: want, protectorsName: want} {
					path := []string{baseName, name}
					if name == "." {
						path = path[:1]
					}
					if a := img.stat(path...); a.Mode != mode || a.UID != 70000 || a.GID != 100 || a.Mtime.IsZero() {
						t.Errorf("%s: mode %o of %d:%d, want %o", name, a.Mode, a.UID, a.GID, mode)
					}
				}
				if err := Setup(img.fs, o); !errors.Is(err, ErrSetUp) {
					t.Errorf("a second time: %v", err)
				}
				img.check()
				must(t, s.RemoveAll())
				img.reopen()
				if _, err := Load(img.fs); !errors.Is(err, ErrNotSetUp) {
					t.Errorf("after removing: %v", err)
				}
				img.check()
			})
		}
	}
}

// One policy under a passphrase and a raw key, from setup to removal. No key
// that was wrapped in the past is left in the image.
func TestLifecycle(t *testing.T) {
	for layout := range layouts {
		t.Run(layout, func(t *testing.T) {
			img := newImage(t, layout, "")
			must(t, Setup(img.fs, SetupOptions{UID: 1234, GID: 5678}))
			raw := bytes.Repeat([]byte{7}, RawKeySize)
			id, key := makePolicy(t, img.load(), raw)
			for _, dir := range []string{policiesName, protectorsName} {
				for _, name := range fileNames(t, img, dir) {
					if a := img.stat(baseName, dir, name); a.Mode != 0o100600 || a.UID != 1234 || a.GID != 5678 {
						t.Errorf("%s has mode %o and belongs to %d:%d", name, a.Mode, a.UID, a.GID)
					}
				}
			}
			opens(t, img.load(), id, "work", []byte("first words"), key)
			opens(t, img.load(), id, "stick", raw, key)
			change(t, img)
			opens(t, img.load(), id, "work", []byte("other words"), key)
			opens(t, img.load(), id, "stick", raw, key)
			remove(t, img, id)
			opens(t, img.load(), id, "work", []byte("other words"), key)
			erase(t, img)
			img.check()
		})
	}
}

func makePolicy(t *testing.T, s *Store, raw []byte) (string, []byte) {
	t.Helper()
	words, err := s.AddProtector(NewProtector{SourcePassphrase, "work", cheap}, []byte("first words"))
	must(t, err)
	defer words.Wipe()
	stick, err := s.AddProtector(NewProtector{Source: SourceRawKey, Name: "stick"}, raw)
	must(t, err)
	defer stick.Wipe()
	key, err := NewPolicyKey()
	must(t, err)
	defer key.Wipe()
	p, err := s.CreatePolicy(key, DefaultOptions(), words)
	must(t, err)
	if p.ID != key.Identifier().String() {
		t.Errorf("policy %s for key %s", p.ID, key.Identifier())
	}
	must(t, s.AddProtectorToPolicy(p, key, stick))
	if err := s.AddProtectorToPolicy(p, key, stick); !errors.Is(err, image.ErrExist) {
		t.Errorf("the same protector twice: %v", err)
	}
	if _, err := s.CreatePolicy(key, DefaultOptions(), words); !errors.Is(err, image.ErrExist) {
		t.Errorf("the same policy twice: %v", err)
	}
	other, err := NewPolicyKey()
	must(t, err)
	defer other.Wipe()
	if err := s.AddProtectorToPolicy(p, other, words); !errors.Is(err, crypt.ErrWrongKey) {
		t.Errorf("another key for the policy: %v", err)
	}
	return p.ID, bytes.Clone(key.Raw())
}

func opens(t *testing.T, s *Store, id, protector string, secret, want []byte) {
	t.Helper()
	p, err := s.Policy(id[:5])
	must(t, err)
	r, err := s.Protector(protector)
	must(t, err)
	u, err := s.UnlockProtector(r, secret)
	must(t, err)
	defer u.Wipe()
	key, err := s.UnlockPolicy(p, u)
	must(t, err)
	defer key.Wipe()
	if !bytes.Equal(key.Raw(), want) || !key.Matches(p.Policy()) {
		t.Errorf("key %x, want %x", key.Raw(), want)
	}
}

// change gives "work" other words; the old wrapping is gone from the image.
func change(t *testing.T, img *testImage) {
	t.Helper()
	s := img.load()
	p, err := s.Protector("work")
	must(t, err)
	old := bytes.Clone(p.wrapped.key)
	if !img.holds(old) {
		t.Fatal("the wrapped key is not in the image")
	}
	u, err := s.UnlockProtector(p, []byte("first words"))
	must(t, err)
	defer u.Wipe()
	if err := s.ChangeSecret(u, nil, Costs{}); !errors.Is(err, ErrArgument) {
		t.Errorf("empty passphrase: %v", err)
	}
	must(t, s.ChangeSecret(u, []byte("other words"), Costs{Time: 2, MemoryKiB: 64, Parallelism: 2}))
	if img.holds(old) {
		t.Error("the old wrapping is still in the image")
	}
	s = img.load()
	p, err = s.Protector("work")
	must(t, err)
	if p.Costs != (Costs{Time: 2, MemoryKiB: 64, Parallelism: 2}) {
		t.Errorf("costs %+v", p.Costs)
	}
	if _, err := s.UnlockProtector(p, []byte("first words")); !errors.Is(err, ErrWrongSecret) {
		t.Errorf("the old words: %v", err)
	}
}

// remove takes "stick" away, after which "work" must stay.
func remove(t *testing.T, img *testImage, id string) {
	t.Helper()
	s := img.load()
	pol, err := s.Policy(id)
	must(t, err)
	stick, err := s.Protector("stick")
	must(t, err)
	wrapping := bytes.Clone(pol.keys[pol.find(stick.ID)].wrapped.key)
	own := bytes.Clone(stick.wrapped.key)
	must(t, s.RemoveProtector(stick, false))
	if img.holds(wrapping) || img.holds(own) {
		t.Error("what was wrapped is still in the image")
	}
	s = img.load()
	if len(s.Protectors) != 1 || len(s.Policies[0].Protectors()) != 1 {
		t.Errorf("left are %v, policy with %v", s.Protectors, s.Policies[0].Protectors())
	}
	work := s.Protectors[0]
	if err := s.RemoveProtector(work, false); !errors.Is(err, ErrLastProtector) {
		t.Errorf("removing the last protector: %v", err)
	}
	if err := s.DetachProtector(s.Policies[0], work.ID, false); !errors.Is(err, ErrLastProtector) {
		t.Errorf("detaching the last protector: %v", err)
	}
	if len(img.load().Policies[0].Protectors()) != 1 {
		t.Error("a refused removal changed the policy")
	}
}

// erase removes the last protector, and its policy with it.
func erase(t *testing.T, img *testImage) {
	t.Helper()
	s := img.load()
	keys := [][]byte{bytes.Clone(s.Policies[0].keys[0].wrapped.key), bytes.Clone(s.Protectors[0].wrapped.key)}
	must(t, s.RemoveProtector(s.Protectors[0], true))
	for _, k := range keys {
		if img.holds(k) {
			t.Errorf("the wrapped key %x is still in the image", k)
		}
	}
	s = img.load()
	if len(s.Policies)+len(s.Protectors)+len(s.Damaged) > 0 {
		t.Errorf("left are %v and %v, damaged %v", s.Policies, s.Protectors, s.Damaged)
	}
}

func fileNames(t *testing.T, img *testImage, dir string) (names []string) {
	t.Helper()
	must(t, img.fs.ReadDir(img.stat(baseName, dir).Ino, func(d image.Dirent) error {
		names = append(names, string(d.Name))
		return nil
	}))
	if len(names) == 0 {
		t.Errorf("%s is empty", dir)
	}
	return names
}

func TestRefusals(t *testing.T) {
	img := newImage(t, "1k", "")
	must(t, Setup(img.fs, SetupOptions{}))
	s := img.load()
	for _, c := range []struct {
		n      NewProtector
		secret string
		want   error
	}{
		{NewProtector{SourcePassphrase, "", cheap}, "x", ErrArgument},
		{NewProtector{SourcePassphrase, "a\nb", cheap}, "x", ErrArgument},
		{NewProtector{SourcePassphrase, "a\xff", cheap}, "x", ErrArgument},
		{NewProtector{SourcePassphrase, string(make([]byte, 256)), cheap}, "x", ErrArgument},
		{NewProtector{SourcePassphrase, "a", cheap}, "", ErrArgument},
		{NewProtector{SourceLogin, "a", cheap}, "x", ErrArgument},
		{NewProtector{SourceRawKey, "a", cheap}, "x", ErrArgument},
		{NewProtector{SourcePassphrase, "a", Costs{Time: 1, MemoryKiB: 8, Parallelism: 2}}, "x", ErrCosts},
		{NewProtector{SourcePassphrase, "a", Costs{Time: 1, MemoryKiB: 1 << 31, Parallelism: 2}}, "x", ErrCosts},
	} {
		if _, err := s.AddProtector(c.n, []byte(c.secret)); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.n, err, c.want)
		}
	}
	u, err := s.AddProtector(NewProtector{SourcePassphrase, "a", cheap}, []byte("x"))
	must(t, err)
	defer u.Wipe()
	if _, err := s.AddProtector(NewProtector{SourcePassphrase, "a", cheap}, []byte("x")); !errors.Is(err, image.ErrExist) {
		t.Errorf("a name twice: %v", err)
	}
	key, err := NewPolicyKey()
	must(t, err)
	short, err := crypt.NewMasterKey(bytes.Repeat([]byte{1}, 32))
	must(t, err)
	odd := DefaultOptions()
	odd.Padding = 5
	for _, f := range []func() (*Policy, error){
		func() (*Policy, error) { return s.CreatePolicy(key, DefaultOptions()) },
		func() (*Policy, error) { return s.CreatePolicy(short, DefaultOptions(), u) },
		func() (*Policy, error) { return s.CreatePolicy(key, odd, u) },
	} {
		if _, err := f(); !errors.Is(err, ErrArgument) {
			t.Errorf("impossible policy: %v", err)
		}
	}
	if len(img.load().Policies) != 0 || len(img.load().Protectors) != 1 {
		t.Error("something refused is there")
	}
}

// v1 policies are named by the descriptor, and Adiantum means DIRECT_KEY.
func TestCreatePolicyV1(t *testing.T) {
	img := newImage(t, "1k", "")
	must(t, Setup(img.fs, SetupOptions{}))
	s := img.load()
	u, err := s.AddProtector(NewProtector{SourcePassphrase, "a", cheap}, []byte("x"))
	must(t, err)
	key, err := NewPolicyKey()
	must(t, err)
	_, err = s.CreatePolicy(key, Options{1, policy.ModeAdiantum, policy.ModeAdiantum, 16}, u)
	must(t, err)
	p, err := img.load().Policy(key.Descriptor().String())
	must(t, err)
	want := policy.Policy{Version: 1, Contents: 9, Filenames: 9, Flags: 2 | policy.FlagDirectKey, Descriptor: key.Descriptor()}
	if p.Policy() != want {
		t.Errorf("policy %+v, want %+v", p.Policy(), want)
	}
}

func TestFind(t *testing.T) {
	s := newImage(t, "4k", writeTree(t, vectorTree(t)), "sif /.fscrypt/protectors/2847faea51282691 uid 1000").load()
	if len(s.Policies) != 7 || len(s.Protectors) != 8 || len(s.Damaged) != 0 {
		t.Fatalf("%d policies, %d protectors, damaged %v", len(s.Policies), len(s.Protectors), s.Damaged)
	}
	for asked, want := range map[string]string{
		"94e7509c3b08a8eaccd5e0f5aff9a1a2": "94e7509c3b08a8eaccd5e0f5aff9a1a2", "FF": "ffdb21264705a9a5",
	} {
		if p, err := s.Policy(asked); err != nil || p.ID != want {
			t.Errorf("policy %q: %v, %v", asked, p, err)
		}
	}
	for asked, want := range map[string]error{"": ErrNotFound, "77": ErrNotFound, "a": ErrAmbiguous} {
		if p, err := s.Policy(asked); !errors.Is(err, want) {
			t.Errorf("policy %q: %v, %v, want %v", asked, p, err, want)
		}
	}
	for asked, want := range map[string]string{
		"alpha": "931259957ef3e529", "93": "931259957ef3e529", "zwei": "55b90c80f66d7eba", "55b90c80f66d7eba": "55b90c80f66d7eba",
	} {
		if p, err := s.Protector(asked); err != nil || p.ID != want {
			t.Errorf("protector %q: %v, %v", asked, p, err)
		}
	}
	for asked, want := range map[string]error{"": ErrNotFound, "alph": ErrNotFound, "d": ErrAmbiguous} {
		if p, err := s.Protector(asked); !errors.Is(err, want) {
			t.Errorf("protector %q: %v, %v, want %v", asked, p, err, want)
		}
	}
	p, err := s.Policy("5947")
	must(t, err)
	if usable, missing := s.ProtectorsOf(p); len(usable) != 3 || len(missing) != 0 || len(s.PoliciesOf("d7f6d90af63b724e")) != 1 {
		t.Errorf("protectors of %v: %v, missing %v", p, usable, missing)
	}
}
