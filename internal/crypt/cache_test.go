package crypt

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/modes/xts"
	"fsenc/internal/crypt/policy"
)

var vol4k = Volume{UUID: [16]byte{1, 2, 3}, BlockSize: 4096}

// randomKey is a master key, wiped at the end of the test.
func randomKey(t testing.TB) *MasterKey {
	raw := make([]byte, MaxKeySize)
	rand.Read(raw)
	k, err := NewMasterKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Wipe)
	return k
}

// contextFor is a v2 context of k with the nonce n.
func contextFor(k *MasterKey, contents, filenames policy.Mode, n uint64) policy.Context {
	c := policy.Context{Policy: policy.Policy{
		Version: 2, Contents: contents, Filenames: filenames, Identifier: k.Identifier(),
	}}
	binary.LittleEndian.PutUint64(c.Nonce[:], n)
	return c
}

func xtsContext(k *MasterKey, n uint64) policy.Context {
	return contextFor(k, policy.ModeAES256XTS, policy.ModeAES256CTS, n)
}

func encrypted(t testing.TB, cache *Cache, k *MasterKey, c policy.Context) []byte {
	f := Contents{Cache: cache}
	if err := f.Init(k, c, 12, vol4k); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	f.EncryptBlocks(buf, buf, 7)
	return buf
}

func TestCacheGivesTheSameCiphers(t *testing.T) {
	k, other := randomKey(t), randomKey(t)
	cache := NewCache(4)
	defer cache.Close()
	for round := range 3 {
		for n := range uint64(10) {
			for _, c := range []policy.Context{
				xtsContext(k, n), contextFor(k, policy.ModeAdiantum, policy.ModeAdiantum, n),
				contextFor(k, policy.ModeAES128CBC, policy.ModeAES128CTS, n),
			} {
				if !bytes.Equal(encrypted(t, cache, k, c), encrypted(t, nil, k, c)) {
					t.Fatalf("round %d, nonce %d, %v: another cipher", round, n, c.Contents)
				}
			}
			c := xtsContext(other, n)
			if !bytes.Equal(encrypted(t, cache, other, c), encrypted(t, nil, other, c)) {
				t.Fatalf("round %d, nonce %d: another master key's cipher", round, n)
			}
		}
	}
	if cache.Len() != 4 {
		t.Errorf("%d ciphers", cache.Len())
	}
}

// TestCacheKeepsNamesApart has one derived key for contents and names.
func TestCacheKeepsNamesApart(t *testing.T) {
	k := randomKey(t)
	c := contextFor(k, policy.ModeAdiantum, policy.ModeAdiantum, 1)
	c.Flags = policy.FlagDirectKey
	cache := NewCache(0)
	defer cache.Close()
	f, n := Contents{Cache: cache}, Names{Cache: cache}
	if err := errors.Join(f.Init(k, c, 1, vol4k), n.Init(k, c, 1, vol4k)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	n.Close()
}

func TestCacheReuse(t *testing.T) {
	k := randomKey(t)
	cache := NewCache(2)
	defer cache.Close()
	open := func(n uint64) *Contents {
		f := &Contents{Cache: cache}
		if err := f.Init(k, xtsContext(k, n), 12, vol4k); err != nil {
			t.Fatal(err)
		}
		return f
	}
	a, b := open(1), open(1)
	if a.cipher != b.cipher {
		t.Error("two users of one nonce do not share")
	}
	c, d := open(2), open(3) // all in use: d gets a cipher of its own
	if d.cipher == c.cipher || d.cipher == a.cipher || cache.Len() != 2 {
		t.Errorf("a cipher in use was taken away, %d in the cache", cache.Len())
	}
	stray := d.cipher.(*aesXTS)
	if d.Close(); stray.c != (xts.Cipher{}) {
		t.Error("the cipher past the limit was not wiped")
	}
	first := a.cipher.(*aesXTS)
	if a.Close(); first.c == (xts.Cipher{}) {
		t.Error("a cipher was wiped while another uses it")
	}
	b.Close()
	e := open(4) // takes the place of nonce 1
	if e.cipher.(*aesXTS) != first {
		t.Error("the cipher used longest ago was not the one to go")
	}
	if cache.Forget(k); cache.Len() != 0 || first.c == (xts.Cipher{}) {
		t.Error("forgetting takes a cipher from its user, or leaves one")
	}
	if e.Close(); first.c != (xts.Cipher{}) {
		t.Error("a forgotten cipher is not wiped at the end of its use")
	}
	c.Close()
}

func TestCacheWipesOnEvictionAndClose(t *testing.T) {
	k := randomKey(t)
	cache := NewCache(1)
	encrypted(t, cache, k, xtsContext(k, 1))
	held := cache.used.next.cipher.(*aesXTS)
	encrypted(t, cache, k, contextFor(k, policy.ModeAdiantum, policy.ModeAdiantum, 1))
	if held.c != (xts.Cipher{}) {
		t.Error("an evicted cipher is left")
	}
	encrypted(t, cache, k, xtsContext(k, 1))
	held = cache.used.next.cipher.(*aesXTS)
	if cache.Close(); held.c != (xts.Cipher{}) || cache.Len() != 0 {
		t.Error("a cipher outlives the cache")
	}
}

func TestCacheKeepsNoFailure(t *testing.T) {
	raw := bytes.Repeat([]byte{7}, 64) // v1: both halves of the XTS key are equal
	k, err := NewMasterKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	c := policy.Context{Policy: policy.Policy{Version: 1, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS}}
	cache := NewCache(0)
	f := Contents{Cache: cache}
	for range 2 {
		if err := f.Init(k, c, 12, vol4k); !errors.Is(err, ErrWeakKey) {
			t.Errorf("%v", err)
		}
	}
	if cache.Len() != 0 {
		t.Error("a cipher without a key is in the cache")
	}
}

func TestCacheSharedByWorkers(t *testing.T) {
	k := randomKey(t)
	const nonces = 24
	var want [nonces][]byte
	for n := range want {
		want[n] = encrypted(t, nil, k, xtsContext(k, uint64(n)))
	}
	cache := NewCache(4)
	defer cache.Close()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 300 {
				n := (i*7 + w*i) % nonces
				if !bytes.Equal(encrypted(t, cache, k, xtsContext(k, uint64(n))), want[n]) {
					t.Errorf("nonce %d: another cipher", n)
					return
				}
			}
		})
	}
	wg.Wait()
	if cache.Len() > 4 {
		t.Errorf("%d ciphers", cache.Len())
	}
}

// TestCacheMemoryIsFlat puts distinct nonces through and looks at live memory.
func TestCacheMemoryIsFlat(t *testing.T) {
	const nonces = uint64(1_000_000)
	k := randomKey(t)
	cache := NewCache(0)
	defer cache.Close()
	f := Contents{Cache: cache}
	run := func(from, to uint64) {
		for n := from; n < to; n++ {
			if err := f.Init(k, xtsContext(k, n), 12, vol4k); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(0, 5000)
	before := live()
	run(5000, nonces)
	if after := live(); after > before+64<<10 {
		t.Errorf("%d nonces took memory from %d to %d bytes", nonces, before, after)
	}
	f.Close()
	if cache.Len() != DefaultCacheSize {
		t.Errorf("%d ciphers", cache.Len())
	}
}

func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestCacheMissDoesNotAllocate(t *testing.T) {
	k := randomKey(t)
	cache := NewCache(8)
	defer cache.Close()
	f := Contents{Cache: cache}
	defer f.Close()
	n := uint64(0)
	next := func() {
		n++
		if err := f.Init(k, xtsContext(k, n), 12, vol4k); err != nil {
			t.Error(err)
		}
	}
	for range 100 {
		next()
	}
	crypttest.NoAllocs(t, "a new nonce", next)
}

func TestCacheStats(t *testing.T) {
	k := randomKey(t)
	cache := NewCache(2)
	defer cache.Close()
	for _, n := range []uint64{1, 1, 2, 1, 3, 3, 2} { // 3 takes the place of 2
		encrypted(t, cache, k, xtsContext(k, n))
	}
	if hits, misses := cache.Stats(); hits != 3 || misses != 4 {
		t.Errorf("%d hits, %d misses", hits, misses)
	}
}
