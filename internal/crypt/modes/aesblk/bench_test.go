package aesblk

import (
	"fmt"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/modes/isa"
)

// BenchmarkCBC is over 4 KiB messages; encrypt8 does eight of them a call.
func BenchmarkCBC(b *testing.B) {
	s, err := New(make([]byte, 16))
	must(b, err)
	buf, iv, ivs := make([]byte, 8*4096), new([16]byte), new([8][16]byte)
	for _, set := range isa.Available() {
		for _, d := range []struct {
			name string
			n    int
			f    func()
		}{
			{"decrypt", 4096, func() { s.CBCDecrypt(buf[:4096], buf[:4096], iv) }},
			{"encrypt", 4096, func() { s.CBCEncrypt(buf[:4096], buf[:4096], iv) }},
			{"encrypt8", len(buf), func() { s.CBCEncrypt8(buf, buf, ivs) }},
		} {
			b.Run(fmt.Sprintf("%v/%s", set, d.name), func(b *testing.B) {
				defer isa.Use(set)()
				crypttest.CPU(b, d.n, d.f)
			})
		}
	}
}

func BenchmarkInit(b *testing.B) {
	key := make([]byte, 32)
	for _, set := range isa.Available() {
		b.Run(set.String(), func(b *testing.B) {
			defer isa.Use(set)()
			var s Schedule
			crypttest.CPU(b, 0, func() { must(b, s.Init(key)) })
		})
	}
}
