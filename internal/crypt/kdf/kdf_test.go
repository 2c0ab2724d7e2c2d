package kdf

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/dchest/siphash"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/modes/aesblk"
)

type derivation struct {
	ID        string
	MasterKey crypttest.Hex `json:"master_key"`
	Nonce     crypttest.Hex
	UUID      crypttest.Hex `json:"fs_uuid"`
	Inode     crypttest.Num
	HKDF      map[string]crypttest.Hex
	InodeHash uint32                   `json:"inode_hash_32"`
	V1        map[string]crypttest.Hex `json:"v1_aes_ecb"`
	HW        *struct {
		Secret     crypttest.Hex `json:"sw_secret"`
		Inline     crypttest.Hex `json:"inline_encryption_key"`
		Identifier crypttest.Hex `json:"key_identifier"`
	}
}

// info is what the name of an output says to follow the context byte, as in
// 4_lblk64_mode1.
func (d derivation) info(t *testing.T, name string) (Purpose, []byte) {
	n, err := strconv.Atoi(name[:1])
	if err != nil {
		t.Fatal(err)
	}
	var mode int
	if _, m, ok := strings.Cut(name, "_mode"); ok {
		if mode, err = strconv.Atoi(m); err != nil {
			t.Fatal(err)
		}
	}
	switch p := Purpose(n); p {
	case PerFileKey, DirhashKey, PerExtentKey:
		return p, d.Nonce
	case DirectKey:
		return p, []byte{byte(mode)}
	case IVInoLblk64Key, IVInoLblk32Key:
		return p, append([]byte{byte(mode)}, d.UUID...)
	default:
		return p, nil
	}
}

func TestDerivations(t *testing.T) {
	hardware := 0
	for _, d := range crypttest.Load[derivation](t, "key_derivation.json") {
		e := NewExpander(make([]byte, ExpanderSize), d.MasterKey)
		for name, want := range d.HKDF {
			p, info := d.info(t, name)
			got := make([]byte, len(want))
			if e.Expand(got, p, info); !bytes.Equal(got, want) {
				t.Errorf("%s: HKDF %s differs", d.ID, name)
			}
		}
		var sip [16]byte
		e.Expand(sip[:], InodeHashKey, nil)
		if got := NewSipKey(&sip).InodeHash(uint64(d.Inode)); got != d.InodeHash {
			t.Errorf("%s: inode hash %d, want %d", d.ID, got, d.InodeHash)
		}
		for size, want := range d.V1 {
			got := make([]byte, len(want))
			if V1(got, d.MasterKey, (*[16]byte)(d.Nonce)); !bytes.Equal(got, want) {
				t.Errorf("%s: v1 key of %s bytes differs", d.ID, size)
			}
		}
		if d.HW == nil {
			continue
		}
		hardware++
		var secret [SoftwareSecretSize]byte
		var inline [InlineKeySize]byte
		SoftwareSecret(&secret, (*[HardwareKeySize]byte)(d.MasterKey))
		InlineKey(&inline, (*[HardwareKeySize]byte)(d.MasterKey))
		id := make([]byte, 16)
		NewExpander(make([]byte, ExpanderSize), secret[:]).Expand(id, HardwareKeyIdentifier, nil)
		if !bytes.Equal(secret[:], d.HW.Secret) || !bytes.Equal(inline[:], d.HW.Inline) || !bytes.Equal(id, d.HW.Identifier) {
			t.Errorf("%s: hardware keys differ", d.ID)
		}
	}
	if hardware == 0 {
		t.Error("no vector with hardware keys")
	}
}

func TestKeyIdentifiers(t *testing.T) {
	type vector struct {
		ID         string
		KeyType    string        `json:"key_type"`
		MasterKey  crypttest.Hex `json:"master_key"`
		Identifier crypttest.Hex `json:"key_identifier"`
	}
	for _, v := range crypttest.Load[vector](t, "key_identifiers.json") {
		key, p := []byte(v.MasterKey), KeyIdentifier
		if v.KeyType == "hw_wrapped" {
			var secret [SoftwareSecretSize]byte
			SoftwareSecret(&secret, (*[HardwareKeySize]byte)(key))
			key, p = secret[:], HardwareKeyIdentifier
		}
		got := make([]byte, 16)
		if NewExpander(make([]byte, ExpanderSize), key).Expand(got, p, nil); !bytes.Equal(got, v.Identifier) {
			t.Errorf("%s: identifier %x, want %x", v.ID, got, v.Identifier)
		}
	}
}

func TestInodeHashes(t *testing.T) {
	type vector struct {
		ID        string
		MasterKey crypttest.Hex `json:"master_key"`
		Inode     crypttest.Num
		Key       crypttest.Hex `json:"inode_hash_key"`
		Hash      uint32        `json:"inode_hash"`
	}
	for _, v := range crypttest.Load[vector](t, "inode_hash.json") {
		var key [16]byte
		NewExpander(make([]byte, ExpanderSize), v.MasterKey).Expand(key[:], InodeHashKey, nil)
		if !bytes.Equal(key[:], v.Key) {
			t.Errorf("%s: key differs", v.ID)
		}
		if got := NewSipKey(&key).InodeHash(uint64(v.Inode)); got != v.Hash {
			t.Errorf("%s: %d, want %d", v.ID, got, v.Hash)
		}
	}
}

func TestSipHashAgainstOracle(t *testing.T) {
	buf := make([]byte, 300)
	for n := range len(buf) {
		var key [16]byte
		rand.Read(key[:])
		rand.Read(buf[:n])
		k := NewSipKey(&key)
		if got, want := k.Sum(buf[:n]), siphash.Hash(k.k0, k.k1, buf[:n]); got != want {
			t.Fatalf("%d bytes: %#x, want %#x", n, got, want)
		}
	}
}

// TestCMAC uses the AES-256 examples of SP 800-38B.
func TestCMAC(t *testing.T) {
	key := mustHex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
	msg := mustHex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	for n, want := range map[int]string{
		0:  "028962f61b7bf89efc6b551f4667d983",
		16: "28a7023f452e8f82bd4bf28d8c37c35c",
		40: "aaf3d8f1de5640c232f5b169b9c911e6",
		64: "e1992190549f6ed5696a2c056c315410",
	} {
		if got := cmacOf(t, key, msg[:n]); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
	}
}

func TestExpanderAgainstStandardLibrary(t *testing.T) {
	for n := 16; n <= 64; n++ {
		key := make([]byte, n)
		rand.Read(key)
		e := NewExpander(make([]byte, ExpanderSize), key)
		for size := range MaxExpand + 1 {
			info := make([]byte, size%(MaxInfo+1))
			rand.Read(info)
			want, err := hkdf.Key(sha512.New, key, nil, "fscrypt\x00\x05"+string(info), size)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, size)
			if e.Expand(got, DirhashKey, info); !bytes.Equal(got, want) {
				t.Fatalf("key of %d bytes, output of %d differs", n, size)
			}
		}
	}
}

func TestExpanderIsShared(t *testing.T) {
	e := NewExpander(make([]byte, ExpanderSize), make([]byte, 32))
	var want [64]byte
	e.Expand(want[:], PerFileKey, make([]byte, 16))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				var got [64]byte
				if e.Expand(got[:], PerFileKey, make([]byte, 16)); got != want {
					t.Error("another goroutine's derivation shows")
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestWipedExpanderPanics(t *testing.T) {
	mem := make([]byte, ExpanderSize)
	e := NewExpander(mem, make([]byte, 32))
	clear(mem)
	defer func() {
		if recover() == nil {
			t.Error("a wiped expander derives keys")
		}
	}()
	e.Expand(make([]byte, 32), PerFileKey, nil)
}

func TestExpandDoesNotAllocate(t *testing.T) {
	e := NewExpander(make([]byte, ExpanderSize), make([]byte, 64))
	var key [64]byte
	var nonce [16]byte
	crypttest.NoAllocs(t, "HKDF", func() { e.Expand(key[:], PerFileKey, nonce[:]) })
	crypttest.NoAllocs(t, "v1", func() { V1(key[:], key[:], &nonce) })
}

func BenchmarkExpand(b *testing.B) {
	e := NewExpander(make([]byte, ExpanderSize), make([]byte, 64))
	var key [64]byte
	var nonce [16]byte
	b.ReportAllocs()
	for b.Loop() {
		e.Expand(key[:], PerFileKey, nonce[:])
	}
}

func BenchmarkExpandStandardLibrary(b *testing.B) {
	prk, err := hkdf.Extract(sha512.New, make([]byte, 64), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := hkdf.Expand(sha512.New, prk, fmt.Sprintf("fscrypt\x00\x02%016d", 1), 64); err != nil {
			b.Fatal(err)
		}
	}
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func cmacOf(t *testing.T, key, msg []byte) string {
	s, err := aesblk.New(key)
	if err != nil {
		t.Fatal(err)
	}
	mac := cmac(s, msg)
	return hex.EncodeToString(mac[:])
}
