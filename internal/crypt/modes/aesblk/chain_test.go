package aesblk

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// lengths are all tails of all kernels, after no, one and two turns.
func lengths() []int {
	var ns []int
	for n := 0; n <= 75; n++ {
		ns = append(ns, n*BlockSize)
	}
	return append(ns, 512+16, 1024-16, 4096, 4096+48)
}

// SP 800-38A, F.2.1 and F.2.5.
func TestCBCVectors(t *testing.T) {
	iv := unhex("000102030405060708090a0b0c0d0e0f")
	plain := unhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51" +
		"30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	for _, v := range []struct{ key, want string }{
		{"2b7e151628aed2a6abf7158809cf4f3c",
			"7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2" +
				"73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"},
		{"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
			"f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d" +
				"39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"},
	} {
		onEachSet(t, func(t *testing.T) {
			s, err := New(unhex(v.key))
			must(t, err)
			got, chain := make([]byte, len(plain)), [16]byte(iv)
			s.CBCEncrypt(got, plain, &chain)
			if !bytes.Equal(got, unhex(v.want)) {
				t.Errorf("encrypted to %x", got)
			}
			s.CBCDecrypt(got, got, (*[16]byte)(iv))
			if !bytes.Equal(got, plain) {
				t.Errorf("decrypted to %x", got)
			}
		})
	}
}

func TestCBCAgainstStandardLibrary(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		r := newRand()
		for _, n := range lengths() {
			for _, size := range []int{16, 32} {
				compareCBC(t, r, size, n)
			}
		}
	})
}

func compareCBC(t *testing.T, r *rand.Rand, keySize, n int) {
	t.Helper()
	key, iv, plain := randomBytes(r, keySize), [16]byte(randomBytes(r, 16)), randomBytes(r, n)
	std, err := aes.NewCipher(key)
	must(t, err)
	s, err := New(key)
	must(t, err)
	want := make([]byte, n)
	cipher.NewCBCEncrypter(std, iv[:]).CryptBlocks(want, plain)
	buf, dst := guarded(r, n)
	chain := iv
	s.CBCEncrypt(dst, plain, &chain)
	if !bytes.Equal(dst, want) {
		t.Fatalf("%d bytes: wrong ciphertext", n)
	}
	last := iv
	copy(last[:], want[max(0, n-BlockSize):])
	if chain != last {
		t.Fatalf("%d bytes: iv became %x, want %x", n, chain, last)
	}
	before := iv
	s.CBCDecrypt(dst, want, &iv)
	if !bytes.Equal(dst, plain) {
		t.Fatalf("%d bytes: wrong plaintext", n)
	}
	copy(dst, want)
	s.CBCDecrypt(dst, dst, &iv)
	if !bytes.Equal(dst, plain) {
		t.Fatalf("%d bytes: wrong plaintext in place", n)
	}
	if iv != before {
		t.Fatalf("%d bytes: decrypting changed the iv", n)
	}
	checkGuard(t, buf, dst)
}

func TestCBCEncrypt8AgainstOne(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		r := newRand()
		for _, size := range []int{0, 16, 32, 48, 112, 128, 512, 4096} {
			for _, keySize := range []int{16, 32} {
				s, err := New(randomBytes(r, keySize))
				must(t, err)
				plain := randomBytes(r, 8*size)
				want := make([]byte, len(plain))
				var ivs [8][BlockSize]byte
				for i := range ivs {
					ivs[i] = [16]byte(randomBytes(r, 16))
					chain := ivs[i]
					cbcEncryptGeneric(s, want[i*size:][:size], plain[i*size:][:size], &chain)
				}
				before := ivs
				buf, dst := guarded(r, 8*size)
				s.CBCEncrypt8(dst, plain, &ivs)
				if !bytes.Equal(dst, want) {
					t.Fatalf("8 messages of %d bytes: wrong ciphertext", size)
				}
				copy(dst, plain)
				s.CBCEncrypt8(dst, dst, &ivs)
				if !bytes.Equal(dst, want) {
					t.Fatalf("8 messages of %d bytes: wrong ciphertext in place", size)
				}
				if ivs != before {
					t.Fatal("the ivs changed")
				}
				checkGuard(t, buf, dst)
			}
		}
	})
}

func TestEncrypt8(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		r := newRand()
		for _, keySize := range []int{16, 32} {
			s, err := New(randomBytes(r, keySize))
			must(t, err)
			var got, want [8][BlockSize]byte
			for i := range got {
				got[i] = [16]byte(randomBytes(r, 16))
				encryptBlockGeneric(s, &want[i], &got[i])
			}
			s.Encrypt8(&got)
			if got != want {
				t.Errorf("key of %d bytes: %x, want %x", keySize, got, want)
			}
		}
	})
}

// The key stream of XCTR is that of counter blocks encrypted one by one.
func TestXCTR(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		r := newRand()
		for n := range 600 {
			s, err := New(randomBytes(r, 16+n%2*16))
			must(t, err)
			start, src := [16]byte(randomBytes(r, 16)), randomBytes(r, n)
			want := make([]byte, n)
			for j := 0; j*BlockSize < n; j++ {
				var count, stream [BlockSize]byte
				binary.LittleEndian.PutUint64(count[:], uint64(j+1))
				for i := range count {
					count[i] ^= start[i]
				}
				encryptBlockGeneric(s, &stream, &count)
				for i := j * BlockSize; i < min(n, (j+1)*BlockSize); i++ {
					want[i] = src[i] ^ stream[i%BlockSize]
				}
			}
			buf, dst := guarded(r, n)
			s.XCTR(dst, src, &start)
			if !bytes.Equal(dst, want) {
				t.Fatalf("%d bytes: %x, want %x", n, dst, want)
			}
			s.XCTR(dst, dst, &start)
			if !bytes.Equal(dst, src) {
				t.Fatalf("%d bytes in place: %x, want %x", n, dst, src)
			}
			checkGuard(t, buf, dst)
		}
	})
}

const guard = 0xa5

// guarded is a destination of n bytes at an odd place within a larger buffer.
func guarded(r *rand.Rand, n int) (buf, dst []byte) {
	buf = bytes.Repeat([]byte{guard}, n+34)
	off := 1 + r.IntN(32)
	return buf, buf[off : off+n : off+n]
}

func checkGuard(t *testing.T, buf, dst []byte) {
	t.Helper()
	off := 1
	for len(dst) > 0 && &buf[off] != &dst[0] {
		off++
	}
	if len(dst) == 0 {
		off = len(buf)
	}
	around := append(bytes.Clone(buf[:off]), buf[min(len(buf), off+len(dst)):]...)
	if len(bytes.Trim(around, string([]byte{guard}))) != 0 {
		t.Fatal("wrote outside the destination")
	}
}

func TestCallersMistakesPanic(t *testing.T) {
	s, err := New(make([]byte, 16))
	must(t, err)
	buf, iv, ivs := make([]byte, 512), new([16]byte), new([8][16]byte)
	for what, f := range map[string]func(){
		"half a block to CBCEncrypt":        func() { s.CBCEncrypt(buf, buf[:24], iv) },
		"half a block to CBCDecrypt":        func() { s.CBCDecrypt(buf, buf[:24], iv) },
		"seven blocks to CBCEncrypt8":       func() { s.CBCEncrypt8(buf, buf[:112], ivs) },
		"short destination of CBCDecrypt":   func() { s.CBCDecrypt(buf[:16], buf[128:160], iv) },
		"short destination of XCTR":         func() { s.XCTR(buf[:16], buf[128:145], iv) },
		"overlapping buffers of XCTR":       func() { s.XCTR(buf[1:17], buf[:16], iv) },
		"schedule without a key":            func() { new(Schedule).XCTR(buf, buf, iv) },
		"short block to Encrypt":            func() { s.Encrypt(buf, buf[:15]) },
		"no key and eight blocks":           func() { new(Schedule).Encrypt8(ivs) },
		"overlapping buffers of CBCDecrypt": func() { s.CBCDecrypt(buf[16:48], buf[:32], iv) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", what)
				}
			}()
			f()
		}()
	}
}

func TestChainsDoNotAllocate(t *testing.T) {
	onEachSet(t, func(t *testing.T) {
		s, err := New(make([]byte, 32))
		must(t, err)
		buf := make([]byte, 1024)
		n := testing.AllocsPerRun(50, func() {
			var iv [16]byte
			var ivs [8][16]byte
			s.CBCEncrypt(buf, buf, &iv)
			s.CBCDecrypt(buf, buf, &iv)
			s.Encrypt8(&ivs)
			s.CBCEncrypt8(buf, buf, &ivs)
			s.XCTR(buf, buf, &iv)
			s.Encrypt(iv[:], iv[:])
		})
		if n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
