package xts

import (
	"crypto/aes"
	"fmt"
	"testing"

	oracle "golang.org/x/crypto/xts"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/modes/isa"
)

// BenchmarkUnits names its results set/direction/unit size. "one" is a call
// for each unit, as openssl speed measures, "many" one for 64 KiB.
func BenchmarkUnits(b *testing.B) {
	c, err := New(randomBytes(newRand(), 64))
	must(b, err)
	buf, iv := make([]byte, 65536), new([16]byte)
	for _, set := range isa.Available() {
		for _, unit := range []int{512, 4096} {
			for _, n := range []int{unit, len(buf)} {
				calls := map[bool]string{true: "one", false: "many"}[n == unit]
				name := fmt.Sprintf("%v/%s/%d/%s", set, "%s", unit, calls)
				b.Run(fmt.Sprintf(name, "encrypt"), func(b *testing.B) {
					defer isa.Use(set)()
					crypttest.CPU(b, n, func() { c.EncryptUnits(buf[:n], buf[:n], unit, iv) })
				})
				b.Run(fmt.Sprintf(name, "decrypt"), func(b *testing.B) {
					defer isa.Use(set)()
					crypttest.CPU(b, n, func() { c.DecryptUnits(buf[:n], buf[:n], unit, iv) })
				})
			}
		}
	}
}

func BenchmarkPeer(b *testing.B) {
	o, err := oracle.NewCipher(aes.NewCipher, randomBytes(newRand(), 64))
	must(b, err)
	buf := make([]byte, 4096)
	for _, unit := range []int{512, 4096} {
		b.Run(fmt.Sprintf("x-crypto/encrypt/%d", unit), func(b *testing.B) {
			crypttest.CPU(b, unit, func() { o.Encrypt(buf[:unit], buf[:unit], 1) })
		})
	}
}

func BenchmarkInit(b *testing.B) {
	key := randomBytes(newRand(), 64)
	for _, set := range isa.Available() {
		b.Run(set.String(), func(b *testing.B) {
			defer isa.Use(set)()
			var c Cipher
			crypttest.CPU(b, 0, func() { must(b, c.Init(key)) })
		})
	}
}
