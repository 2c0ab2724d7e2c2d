package crash

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/convert"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/keystore"
	"fsenc/internal/store/storetest"
)

// cheap are costs that cost nothing.
var cheap = keystore.Costs{Time: 1, MemoryKiB: 8, Parallelism: 1, TruncationFixed: true}

// keyStep is one change of .fscrypt, and how the image reads before and after.
type keyStep struct {
	name          string
	change        func(t *testing.T, fs image.FS) error
	before, after string
}

// keySteps are what setup and the key commands do, one after another.
var keySteps = []keyStep{
	{"setup", func(_ *testing.T, fs image.FS) error {
		if err := fs.SetFeatures([]string{"encrypt"}, nil); err != nil {
			return err
		}
		return keystore.Setup(fs, keystore.SetupOptions{})
	}, "not set up", ""},
	{"key add", func(t *testing.T, fs image.FS) error {
		s := load(t, fs)
		u, err := s.AddProtector(keystore.NewProtector{Source: keystore.SourcePassphrase, Name: "work", Costs: cheap}, []byte("first words"))
		if err != nil {
			return err
		}
		defer u.Wipe()
		key, err := keystore.NewPolicyKey()
		if err != nil {
			return err
		}
		defer key.Wipe()
		_, err = s.CreatePolicy(key, keystore.DefaultOptions(), u)
		return err
	}, "", "work(first words) policy[work]"},
	{"key add, another protector", func(t *testing.T, fs image.FS) error {
		s := load(t, fs)
		u, err := s.AddProtector(keystore.NewProtector{Source: keystore.SourcePassphrase, Name: "home", Costs: cheap}, []byte("other words"))
		if err != nil {
			return err
		}
		defer u.Wipe()
		by, err := s.UnlockProtector(protector(t, s, "work"), []byte("first words"))
		if err != nil {
			return err
		}
		defer by.Wipe()
		key, err := s.UnlockPolicy(s.Policies[0], by)
		if err != nil {
			return err
		}
		defer key.Wipe()
		return s.AddProtectorToPolicy(s.Policies[0], key, u)
	}, "work(first words) policy[work]", "home(other words) work(first words) policy[home work]"},
	{"key change", func(t *testing.T, fs image.FS) error {
		s := load(t, fs)
		u, err := s.UnlockProtector(protector(t, s, "work"), []byte("first words"))
		if err != nil {
			return err
		}
		defer u.Wipe()
		return s.ChangeSecret(u, []byte("other words"), keystore.Costs{})
	}, "home(other words) work(first words) policy[home work]", "home(other words) work(other words) policy[home work]"},
	{"key remove", func(t *testing.T, fs image.FS) error {
		s := load(t, fs)
		return s.RemoveProtector(protector(t, s, "home"), false)
	}, "home(other words) work(other words) policy[home work]", "work(other words) policy[work]"},
	{"key remove, the last one", func(t *testing.T, fs image.FS) error {
		s := load(t, fs)
		return s.RemoveProtector(protector(t, s, "work"), true)
	}, "work(other words) policy[work]", ""},
	{"setup --remove", func(t *testing.T, fs image.FS) error { return load(t, fs).RemoveAll() }, "", "not set up"},
}

func load(t *testing.T, fs image.FS) *keystore.Store {
	t.Helper()
	s, err := keystore.Load(fs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func protector(t *testing.T, s *keystore.Store, name string) *keystore.Protector {
	t.Helper()
	p, err := s.Protector(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// describe tells which protectors there are, which of the two passphrases opens
// each, and that each of them opens the policy that has it.
func describe(t *testing.T, img []byte) string {
	t.Helper()
	fs, err := probe.Open(storetest.NewMem(img), probe.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := keystore.Load(fs)
	if err != nil {
		return "not set up"
	}
	if len(s.Damaged) > 0 {
		t.Fatalf("damaged: %v", s.Damaged)
	}
	open := map[string]*keystore.Unlocked{}
	var words, policies []string
	for _, name := range []string{"home", "work"} {
		p, err := s.Protector(name)
		if err != nil {
			continue
		}
		for _, secret := range []string{"first words", "other words"} {
			if u, err := s.UnlockProtector(p, []byte(secret)); err == nil {
				defer u.Wipe()
				words = append(words, name+"("+secret+")")
				open[p.ID] = u
				policies = append(policies, opens(t, s, name, u)...)
			}
		}
	}
	if len(open) != len(s.Protectors) {
		t.Fatalf("%d protectors, %d can be unlocked", len(s.Protectors), len(open))
	}
	if len(policies) > 0 {
		words = append(words, fmt.Sprintf("policy%v", policies))
	}
	return strings.Join(words, " ")
}

// opens unlocks the policies that a protector has.
func opens(t *testing.T, s *keystore.Store, name string, u *keystore.Unlocked) (list []string) {
	t.Helper()
	for _, p := range s.Policies {
		if p.ProtectedBy(u.Protector.ID) {
			key, err := s.UnlockPolicy(p, u)
			if err != nil {
				t.Fatal(err)
			}
			key.Wipe()
			list = append(list, name)
		}
	}
	return list
}

// TestPowerLossOfKeyChanges loses power at every write and sync of each change
// of .fscrypt: what survives, after recovery, is the old state or the new, with
// every protector and policy of it.
func TestPowerLossOfKeyChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "img")
	if out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^has_journal", path, "2M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	img, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cuts, states := 0, 0
	for _, s := range keySteps {
		outcomes := map[string]int{}
		change := func(fs image.FS) error { return s.change(t, fs) }
		for _, clock := range []func(int) *storetest.Clock{storetest.NewClock, storetest.NewSyncClock} {
			for k := 0; ; k++ {
				c := clock(k)
				home, log := c.Store(img), c.Log(nil)
				if err := convert.Edit(home, log, change); !c.Cut() {
					if err != nil {
						t.Fatalf("%s: %v", s.name, err)
					}
					break
				}
				cuts++
				for seed := range uint64(4) {
					outcomes[recoverEdit(t, path, home.Survivor(seed), log.Survivor(seed))]++
					states++
				}
			}
		}
		done := storetest.NewMem(bytes.Clone(img))
		if err := convert.Edit(done, storetest.NewClock(1<<30).Log(nil), change); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		img = done.Bytes()
		if outcomes[s.before] == 0 || outcomes[s.after] == 0 || len(outcomes) != 2 || describe(t, img) != s.after {
			t.Fatalf("%s: %v, want %q or %q", s.name, outcomes, s.before, s.after)
		}
	}
	t.Logf("%d cuts, %d states recovered from", cuts, states)
}

// recoverEdit recovers an image and tells what it has then.
func recoverEdit(t *testing.T, path string, img, log []byte) string {
	t.Helper()
	if _, _, err := convert.Open(storetest.NewMem(img), storetest.NewClock(1<<30).Log(log)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, img, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	return describe(t, img)
}
