package names

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"testing"

	"fsenc/internal/crypt/crypttest"
)

func TestPaddedLen(t *testing.T) {
	for _, tc := range []struct{ n, pad, want int }{
		{1, 4, 16}, {1, 8, 16}, {1, 16, 16}, {1, 32, 32},
		{15, 4, 16}, {16, 4, 16}, {16, 16, 16}, {16, 32, 32},
		{17, 4, 20}, {17, 8, 24}, {17, 16, 32}, {17, 32, 32}, {33, 32, 64},
		{252, 4, 252}, {253, 4, 255}, {248, 8, 248}, {249, 8, 255},
		{240, 16, 240}, {241, 16, 255}, {224, 32, 224}, {225, 32, 255}, {255, 4, 255}, {255, 32, 255},
	} {
		if got := PaddedLen(tc.n, tc.pad, MaxName); got != tc.want {
			t.Errorf("%d bytes by %d: %d, want %d", tc.n, tc.pad, got, tc.want)
		}
	}
}

func TestUnpad(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		clean    bool
	}{
		{"", "", true}, {"a", "a", true}, {"a\x00\x00", "a", true}, {"\x00", "", true},
		{"a\x00b", "a", false}, {"\x00\x00a", "", false},
	} {
		if got, clean := Unpad([]byte(tc.in)); string(got) != tc.want || clean != tc.clean {
			t.Errorf("%q: %q, %v", tc.in, got, clean)
		}
	}
}

type kernelDir struct {
	ID    string
	Names []struct {
		Disk  crypttest.Hex
		Hash  string
		Minor string `json:"minor_hash"`
		NoKey string `json:"no_key_name"`
	}
	Symlinks []struct {
		OnDisk crypttest.Hex `json:"on_disk"`
		NoKey  string        `json:"no_key_target"`
	}
}

func u32(t testing.TB, s string) uint32 {
	v, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(v)
}

// TestKernelNoKeyNames has what kernels listed without the key.
func TestKernelNoKeyNames(t *testing.T) {
	short, long := 0, 0
	check := func(id, text string, hash, minor uint32, ct []byte) {
		if got := NoKeyName(hash, minor, ct); got != text {
			t.Errorf("%s: %s, want %s", id, got, text)
		}
		n, err := ParseNoKeyName(text)
		if err != nil || n.Hash != hash || n.Minor != minor || !n.Matches(ct) || n.String() != text {
			t.Errorf("%s: %s parses as %+v, %v", id, text, n, err)
		}
		other := bytes.Clone(ct)
		other[len(ct)-1] ^= 1
		if n.Matches(other) || n.Matches(ct[:len(ct)-1]) || n.Matches(nil) {
			t.Errorf("%s: %s matches other ciphertexts", id, text)
		}
		if n.Abbreviated {
			long++
		} else {
			short++
		}
	}
	for _, d := range crypttest.Load[kernelDir](t, "kernel.json") {
		for _, n := range d.Names {
			check(d.ID, n.NoKey, u32(t, n.Hash), u32(t, n.Minor), n.Disk)
		}
		for _, l := range d.Symlinks {
			check(d.ID, l.NoKey, 0, 0, l.OnDisk[2:])
		}
	}
	if short == 0 || long == 0 {
		t.Errorf("%d short names, %d abbreviated", short, long)
	}
}

func TestNoKeyNameRefusals(t *testing.T) {
	for _, s := range []string{
		"", "A", "AAAAAAAAAAA", // 8 bytes: no ciphertext
		strings.Repeat("A", 213), // a lone character more than whole bytes
		strings.Repeat("A", 211), // 158 bytes
		strings.Repeat("A", 250), // 187 bytes
		strings.Repeat("A", 253), strings.Repeat("A", 256),
		"AAAAAAAAAAAA=", "AAAAAAAAAAA+", "AAAAAAAAAAA/", "AAAAAAAAAAA.", "AAAAAAAAAAAA\n", "AAAA\nAAAAAAAA", "AAAAAAAAAAA\r",
		"AAAAAAAAAAAAAB", // unused bits set
	} {
		if n, err := ParseNoKeyName(s); !errors.Is(err, ErrNoKeyName) {
			t.Errorf("%q: %+v, %v", s, n, err)
		}
	}
	if len(NoKeyName(0, 0, make([]byte, MaxName))) != shownLimit {
		t.Error("the longest no-key name has another length")
	}
}

func FuzzNoKeyName(f *testing.F) {
	for _, d := range crypttest.Load[kernelDir](f, "kernel.json") {
		for _, n := range d.Names {
			f.Add(n.NoKey)
		}
	}
	f.Add("AAAAAAAAAAAAAB")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseNoKeyName(s)
		if err != nil {
			return
		}
		if got := n.String(); got != s {
			t.Fatalf("%q comes back as %q", s, got)
		}
		if !n.Abbreviated && NoKeyName(n.Hash, n.Minor, n.Ciphertext) != s {
			t.Fatalf("%q: %s encodes otherwise", s, hex.EncodeToString(n.Ciphertext))
		}
		if n.Matches(n.Ciphertext) == n.Abbreviated {
			t.Fatalf("%q: matches its own bytes: %v", s, !n.Abbreviated)
		}
	})
}
