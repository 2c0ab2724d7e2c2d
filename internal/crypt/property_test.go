package crypt

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/names"
	"fsenc/internal/crypt/policy"
)

// everyPolicy is each pair of modes with each kind of key and IV that goes with
// it, in v2, and in v1 where that exists.
func everyPolicy() (out []policy.Policy) {
	anywhere := policy.Caps{Filesystem: "any", BlockBits: 12, SubBlockUnits: true, StableInodes: true, Ino32: true}
	for version := uint8(1); version <= 2; version++ {
		for _, m := range policy.Pairs() {
			for flags := range uint8(32) {
				for _, unit := range []uint8{0, 9, 11} {
					p := policy.Policy{Version: version, Contents: m.Contents, Filenames: m.Filenames, Flags: flags, Log2DataUnitSize: unit}
					if p.Validate(anywhere) == nil {
						out = append(out, p)
					}
				}
			}
		}
	}
	return out
}

// TestSplitsDoNotMatter encrypts 12 blocks at once and in parts, at indexes
// around the wrap of 32 bits.
func TestSplitsDoNotMatter(t *testing.T) {
	k := randomKey(t)
	plain := make([]byte, 12*4096)
	rand.Read(plain)
	for _, p := range everyPolicy() {
		if p.Flags&policy.PadMask != 0 {
			continue
		}
		c := policy.Context{Policy: p, Nonce: policy.Nonce{1}}
		if p.Version == 2 {
			c.Identifier = k.Identifier()
		}
		f, err := k.Contents(c, 0xfffffff0, vol4k)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		for _, lblk := range []uint64{0, 1<<32 - 5, 1<<32 - 1 - uint64(f.iv.offset)} {
			checkSplits(t, f, plain, lblk, fmt.Sprintf("%+v at %d", p, lblk))
		}
		f.Close()
	}
}

func checkSplits(t *testing.T, f *Contents, plain []byte, lblk uint64, what string) {
	whole, parts := make([]byte, len(plain)), bytes.Clone(plain)
	f.EncryptBlocks(whole, plain, lblk)
	for i := range uint64(len(plain) / 4096) {
		block := parts[i*4096 : (i+1)*4096]
		if i%2 == 0 {
			f.EncryptBlocks(block, block, lblk+i)
			continue
		}
		perBlock := 4096 / f.UnitSize()
		for u := range perBlock {
			unit := block[u*f.UnitSize() : (u+1)*f.UnitSize()]
			f.EncryptUnit(unit, unit, (lblk+i)*uint64(perBlock)+uint64(u))
		}
	}
	if !bytes.Equal(whole, parts) {
		t.Errorf("%s: many blocks in one call differ from one at a time", what)
	}
	if f.DecryptBlocks(whole, whole, lblk); !bytes.Equal(whole, plain) {
		t.Errorf("%s: does not decrypt", what)
	}
}

func TestContentsSharedByWorkers(t *testing.T) {
	k := randomKey(t)
	plain := make([]byte, 4*4096)
	rand.Read(plain)
	for _, m := range policy.Pairs() {
		c := contextFor(k, m.Contents, m.Filenames, 1)
		f, err := k.Contents(c, 12, vol4k)
		if err != nil {
			t.Fatal(err)
		}
		n, err := k.Names(c, 12, vol4k)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for w := range uint64(4) {
			wg.Go(func() {
				for i := range uint64(10) {
					b := bytes.Clone(plain)
					f.EncryptBlocks(b, b, w*i)
					if f.DecryptBlocks(b, b, w*i); !bytes.Equal(b, plain) {
						t.Errorf("%v: another goroutine shows", m.Contents)
					}
					name := plain[:16+w*i] // NUL and slash are cut out below
					name = bytes.Map(func(rune) rune { return 'a' + rune(w) }, name)
					ct, err := n.EncryptName(nil, name)
					if err != nil {
						t.Error(err)
					}
					if got, err := n.CheckName(nil, ct); err != nil || !bytes.Equal(got, name) {
						t.Errorf("%v: another goroutine shows: %v", m.Filenames, err)
					}
				}
			})
		}
		wg.Wait()
		f.Close()
		n.Close()
	}
}

func TestNamesRoundTrip(t *testing.T) {
	k := randomKey(t)
	for _, m := range policy.Pairs() {
		for pad := range uint8(4) {
			c := contextFor(k, m.Contents, m.Filenames, 2)
			c.Flags = pad
			n, err := k.Names(c, 12, vol4k)
			if err != nil {
				t.Fatal(err)
			}
			for size := 1; size <= names.MaxName; size++ {
				name := bytes.Repeat([]byte{0xff}, size)
				ct, err := n.EncryptName(nil, name)
				if err != nil || len(ct) != n.EncryptedLen(size) {
					t.Fatalf("%v, %d bytes: %d bytes, %v", m.Filenames, size, len(ct), err)
				}
				if got, err := n.CheckName(nil, ct); err != nil || !bytes.Equal(got, name) {
					t.Fatalf("%v, %d bytes: reads otherwise, %v", m.Filenames, size, err)
				}
			}
			for _, size := range []int{1, 15, 16, 17, 1020, 1021} {
				target := bytes.Repeat([]byte{'/'}, size)
				stored, err := n.EncryptLink(target, 1024)
				if err != nil || len(stored) > 1023 {
					t.Fatalf("%v, target of %d bytes: %d bytes, %v", m.Filenames, size, len(stored), err)
				}
				for _, s := range [][]byte{stored, append(stored, 0, 0, 0)} {
					if got, err := n.CheckLink(s); err != nil || !bytes.Equal(got, target) {
						t.Fatalf("%v, target of %d bytes: reads otherwise, %v", m.Filenames, size, err)
					}
				}
			}
		}
	}
}

func TestNameErrors(t *testing.T) {
	k := randomKey(t)
	n, err := k.Names(xtsContext(k, 1), 12, vol4k)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"": ErrName, "a/b": ErrName, "a\x00b": ErrName, strings.Repeat("a", 256): ErrNameTooLong,
	} {
		if got, err := n.EncryptName(nil, []byte(name)); !errors.Is(err, want) || got != nil {
			t.Errorf("encrypt name of %d bytes: %v", len(name), err)
		}
	}
	for target, want := range map[string]error{"": ErrName, "a\x00": ErrName, strings.Repeat("a", 1022): ErrNameTooLong} {
		if _, err := n.EncryptLink([]byte(target), 1024); !errors.Is(err, want) {
			t.Errorf("encrypt target of %d bytes: %v", len(target), err)
		}
	}
	for _, room := range []int{-1, 0, 3, 18, 70000} {
		if got, err := n.EncryptLink([]byte(strings.Repeat("a", max(1, room-10))), room); err == nil {
			t.Errorf("room of %d bytes: stored in %d", room, len(got))
		}
	}
	for _, size := range []int{0, 1, 15, 256} {
		if _, err := n.DecryptName(nil, make([]byte, size)); !errors.Is(err, ErrName) {
			t.Errorf("decrypt name of %d bytes: %v", size, err)
		}
	}
	for _, stored := range [][]byte{nil, {1}, {0, 0}, {16, 0, 1}, append([]byte{15, 0}, make([]byte, 15)...), append([]byte{0, 0}, make([]byte, 16)...)} {
		if _, err := n.DecryptLink(stored); !errors.Is(err, ErrName) {
			t.Errorf("decrypt %x: %v", stored, err)
		}
	}
}

// TestCheckNameLooksHarder encrypts plaintexts that no writer leaves.
func TestCheckNameLooksHarder(t *testing.T) {
	k := randomKey(t)
	n, err := k.Names(xtsContext(k, 1), 12, vol4k)
	if err != nil {
		t.Fatal(err)
	}
	for plain, shown := range map[string]string{
		"a\x00junk": "a", "": "", "\x00a": "", "a/b": "a/b", "ok\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00x": "ok",
	} {
		ct := n.seal(nil, []byte(plain), 16)
		if got, err := n.DecryptName(nil, ct); err != nil || string(got) != shown {
			t.Errorf("%q reads as %q, %v", plain, got, err)
		}
		if got, err := n.CheckName(nil, ct); !errors.Is(err, ErrName) || got != nil {
			t.Errorf("%q: %v", plain, err)
		}
		link := append([]byte{16, 0}, ct...)
		if strings.Contains(strings.TrimRight(plain, "\x00"), "\x00") {
			if _, err := n.CheckLink(link); !errors.Is(err, ErrName) {
				t.Errorf("target %q: %v", plain, err)
			}
		}
	}
}

func TestRawRefusals(t *testing.T) {
	for _, tc := range []struct {
		mode      policy.Mode
		key, unit int
		want      error
	}{
		{policy.ModeAES256XTS, 32, 4096, ErrKeySize},
		{policy.ModeAES256XTS, 64, 4090, ErrUnitSize},
		{policy.ModeAES128CBC, 16, 24, ErrUnitSize},
		{policy.ModeAES256CTS, 32, 15, ErrUnitSize},
		{policy.ModeAES256HCTR2, 32, 0, ErrUnitSize},
		{policy.ModeAdiantum, 31, 32, ErrKeySize},
		{policy.Mode(3), 32, 32, policy.ErrInvalid},
		{policy.ModeAdiantum, 32, 17, nil},
	} {
		key := make([]byte, tc.key)
		rand.Read(key)
		r, err := NewRaw(tc.mode, key)
		if err == nil {
			err = r.Check(tc.unit)
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	if _, err := NewRaw(policy.ModeAES256XTS, make([]byte, 64)); !errors.Is(err, ErrWeakKey) {
		t.Errorf("equal halves: %v", err)
	}
	if s := fmt.Sprintf("%v %+v", Raw{}, &Raw{}); s != "[raw cipher] [raw cipher]" {
		t.Errorf("prints as %q", s)
	}
	if _, err := UseImplementation("abacus"); err == nil {
		t.Error("there is an implementation on the abacus")
	}
}

func TestRefusals(t *testing.T) {
	k, other := randomKey(t), randomKey(t)
	short := mustKey(t, NewMasterKey, 31)
	sixteen := mustKey(t, NewMasterKey, 16)
	hw := mustKey(t, NewHardwareKey, 32)
	halves, err := NewMasterKey(bytes.Repeat([]byte{9}, 64))
	if err != nil {
		t.Fatal(err)
	}
	v1 := policy.Context{Policy: policy.Policy{Version: 1, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS}}
	with := func(c policy.Context, f func(*policy.Context)) policy.Context { f(&c); return c }
	for _, tc := range []struct {
		name string
		k    *MasterKey
		c    policy.Context
		want error
	}{
		{"another key", other, xtsContext(k, 1), ErrWrongKey},
		{"invalid modes", k, contextFor(k, policy.ModeAES256CTS, policy.ModeAES256XTS, 1), policy.ErrInvalid},
		{"no version", k, policy.Context{}, policy.ErrInvalid},
		{"reserved flag", k, with(xtsContext(k, 1), func(c *policy.Context) { c.Flags = 0x40 }), policy.ErrInvalid},
		{"unit larger than a block", k, with(xtsContext(k, 1), func(c *policy.Context) { c.Log2DataUnitSize = 13 }), policy.ErrInvalid},
		{"v2 key too short", short, xtsContext(short, 1), ErrKeySize},
		{"v1 key too short", short, v1, ErrKeySize},
		{"v2 key long enough for AES-128 only", sixteen, xtsContext(sixteen, 1), ErrKeySize},
		{"hardware key per file", hw, xtsContext(hw, 1), policy.ErrInvalid},
		{"hardware key v1", hw, v1, policy.ErrInvalid},
		{"equal halves", halves, v1, ErrWeakKey},
	} {
		f, err := tc.k.Contents(tc.c, 12, vol4k)
		if !errors.Is(err, tc.want) || f != nil {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	if _, err := sixteen.Contents(contextFor(sixteen, policy.ModeAES128CBC, policy.ModeAES128CTS, 1), 12, vol4k); err != nil {
		t.Errorf("16 bytes for AES-128: %v", err)
	}
}

func TestExtentRefusals(t *testing.T) {
	k := randomKey(t)
	c := xtsContext(k, 1)
	e := policy.ExtentContext{Version: 1, Mode: policy.ModeAES256XTS, Identifier: k.Identifier()}
	if _, err := k.Extent(c, e, vol4k); err != nil {
		t.Fatal(err)
	}
	bad := e
	bad.Mode = policy.ModeAdiantum
	if _, err := k.Extent(c, bad, vol4k); !errors.Is(err, policy.ErrContext) {
		t.Errorf("another mode: %v", err)
	}
	bad = e
	bad.Identifier[3] ^= 1
	if _, err := k.Extent(c, bad, vol4k); !errors.Is(err, policy.ErrContext) {
		t.Errorf("another key: %v", err)
	}
	c.Flags = policy.FlagIVInoLblk64
	if _, err := k.Extent(c, e, vol4k); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("inode numbers in the IV: %v", err)
	}
	for _, b := range [][]byte{nil, make([]byte, 33), make([]byte, 34), make([]byte, 41)} {
		if _, err := policy.ParseExtentContext(b); !errors.Is(err, policy.ErrContext) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

func TestInitAndBlocksDoNotAllocate(t *testing.T) {
	k := randomKey(t)
	buf := make([]byte, 4*4096)
	var f Contents
	var n Names
	name, room := []byte("some name"), make([]byte, 0, 64)
	for _, m := range policy.Pairs() {
		if m.Contents == policy.ModeSM4XTS {
			continue // the library's cipher is made anew for each key
		}
		c := contextFor(k, m.Contents, m.Filenames, 1)
		crypttest.NoAllocs(t, m.Contents.String(), func() {
			c.Nonce[0]++
			if err := errors.Join(f.Init(k, c, 12, vol4k), n.Init(k, c, 12, vol4k)); err != nil {
				t.Fatal(err)
			}
			f.EncryptBlocks(buf, buf, 5)
			f.DecryptBlocks(buf, buf, 5)
			ct, err := n.EncryptName(room, name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := n.DecryptName(ct[len(ct):], ct); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func mustKey(t *testing.T, make func([]byte) (*MasterKey, error), size int) *MasterKey {
	k, err := make(bytes.Repeat([]byte{1, 2, 3, 5, 7, 11, 13, 17}, 8)[:size])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Wipe)
	return k
}
