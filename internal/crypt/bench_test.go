package crypt

import (
	"fmt"
	"testing"

	"fsenc/internal/crypt/policy"
)

// BenchmarkKeySetUp derives and expands the key of a file with a new nonce.
func BenchmarkKeySetUp(b *testing.B) {
	k := randomKey(b)
	for _, m := range policy.Pairs() {
		b.Run(fmt.Sprintf("%v/%v", m.Contents, m.Filenames), func(b *testing.B) {
			var f Contents
			defer f.Close()
			b.ReportAllocs()
			n := uint64(0)
			for b.Loop() {
				n++
				if err := f.Init(k, contextFor(k, m.Contents, m.Filenames, n), 12, vol4k); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCache(b *testing.B) {
	k := randomKey(b)
	for _, bc := range []struct {
		name   string
		nonces uint64
	}{{"hit", 64}, {"miss", 1 << 40}} {
		b.Run(bc.name, func(b *testing.B) {
			f := Contents{Cache: NewCache(0)}
			defer f.Cache.Close()
			defer f.Close()
			b.ReportAllocs()
			n := uint64(0)
			for b.Loop() {
				n++
				if err := f.Init(k, xtsContext(k, n%bc.nonces), 12, vol4k); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkContents is each contents mode over 64 KiB in units of 4 KiB.
func BenchmarkContents(b *testing.B) {
	k := randomKey(b)
	buf := make([]byte, 64<<10)
	for _, m := range policy.Pairs() {
		if m.Filenames == policy.ModeAES256HCTR2 {
			continue // the contents mode is there already
		}
		f, err := k.Contents(contextFor(k, m.Contents, m.Filenames, 1), 12, vol4k)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		for name, op := range map[string]func(dst, src []byte, lblk uint64){"encrypt": f.EncryptBlocks, "decrypt": f.DecryptBlocks} {
			b.Run(fmt.Sprintf("%v/%s", m.Contents, name), func(b *testing.B) {
				b.SetBytes(int64(len(buf)))
				b.ReportAllocs()
				for b.Loop() {
					op(buf, buf, 0)
				}
			})
		}
	}
}

// BenchmarkNames is each filenames mode over a name of 20 bytes.
func BenchmarkNames(b *testing.B) {
	k := randomKey(b)
	name, room := []byte("a name of 20 bytes.c"), make([]byte, 0, 64)
	for _, m := range policy.Pairs() {
		n, err := k.Names(contextFor(k, m.Contents, m.Filenames, 1), 12, vol4k)
		if err != nil {
			b.Fatal(err)
		}
		defer n.Close()
		b.Run(m.Filenames.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := n.EncryptName(room, name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
