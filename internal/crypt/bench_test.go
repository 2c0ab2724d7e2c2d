package crypt

import (
	"fmt"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/policy"
)

// BenchmarkKeySetUp derives and expands the key of a file with a new nonce.
func BenchmarkKeySetUp(b *testing.B) {
	k := randomKey(b)
	for _, m := range policy.Pairs() {
		var f Contents
		var n Names
		nonce := uint64(0)
		b.Run(m.Contents.String(), func(b *testing.B) {
			crypttest.CPU(b, 0, func() {
				nonce++
				if err := f.Init(k, contextFor(k, m.Contents, m.Filenames, nonce), 12, vol4k); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run(m.Filenames.String(), func(b *testing.B) {
			crypttest.CPU(b, 0, func() {
				nonce++
				if err := n.Init(k, contextFor(k, m.Contents, m.Filenames, nonce), 12, vol4k); err != nil {
					b.Fatal(err)
				}
			})
		})
		f.Close()
		n.Close()
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
			nonce := uint64(0)
			crypttest.CPU(b, 0, func() {
				nonce++
				if err := f.Init(k, xtsContext(k, nonce%bc.nonces), 12, vol4k); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// BenchmarkContents is each contents mode over 64 KiB in units of 4 KiB and of
// 512 bytes.
func BenchmarkContents(b *testing.B) {
	k := randomKey(b)
	buf := make([]byte, 64<<10)
	for _, m := range policy.Pairs() {
		if m.Filenames == policy.ModeAES256HCTR2 {
			continue // the contents mode is there already
		}
		for _, log2 := range []uint8{12, 9} {
			c := contextFor(k, m.Contents, m.Filenames, 1)
			c.Log2DataUnitSize = log2
			f, err := k.Contents(c, 12, vol4k)
			if err != nil {
				b.Fatal(err)
			}
			name := fmt.Sprintf("%v/%d", m.Contents, 1<<log2)
			b.Run(name+"/encrypt", func(b *testing.B) {
				crypttest.CPU(b, len(buf), func() { f.EncryptBlocks(buf, buf, 0) })
			})
			b.Run(name+"/decrypt", func(b *testing.B) {
				crypttest.CPU(b, len(buf), func() { f.DecryptBlocks(buf, buf, 0) })
			})
			f.Close()
		}
	}
}

// BenchmarkNames is each filenames mode over names of 20 and 200 bytes.
func BenchmarkNames(b *testing.B) {
	k := randomKey(b)
	room := make([]byte, 0, 256)
	for _, m := range policy.Pairs() {
		n, err := k.Names(contextFor(k, m.Contents, m.Filenames, 1), 12, vol4k)
		if err != nil {
			b.Fatal(err)
		}
		for _, size := range []int{20, 200} {
			name := make([]byte, size)
			for i := range name {
				name[i] = 'a'
			}
			ct, err := n.EncryptName(nil, name)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%v/%d/encrypt", m.Filenames, size), func(b *testing.B) {
				crypttest.CPU(b, size, func() { n.EncryptName(room, name) })
			})
			b.Run(fmt.Sprintf("%v/%d/decrypt", m.Filenames, size), func(b *testing.B) {
				crypttest.CPU(b, size, func() { n.DecryptName(room, ct) })
			})
		}
		n.Close()
	}
}
