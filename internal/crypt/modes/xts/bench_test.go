//go:build linux

package xts

import (
	"crypto/aes"
	"fmt"
	"runtime"
	"testing"
	"time"

	oracle "golang.org/x/crypto/xts"
	"golang.org/x/sys/unix"

	"fsenc/internal/crypt/modes/isa"
)

// perCPUSecond runs the loop on one thread and reports MB a second of that
// thread's CPU time, as openssl speed does; wall time says little on a busy
// machine. The clock is exact where getrusage may count ticks.
func perCPUSecond(b *testing.B, bytes int, f func()) {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f()
	start := cpuTime(b)
	for b.Loop() {
		f()
	}
	spent := cpuTime(b) - start
	b.ReportMetric(float64(bytes)*float64(b.N)/spent.Seconds()/1e6, "MB/cpu-s")
	b.ReportMetric(0, "ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	var t unix.Timespec
	must(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}

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
					perCPUSecond(b, n, func() { c.EncryptUnits(buf[:n], buf[:n], unit, iv) })
				})
				b.Run(fmt.Sprintf(name, "decrypt"), func(b *testing.B) {
					defer isa.Use(set)()
					perCPUSecond(b, n, func() { c.DecryptUnits(buf[:n], buf[:n], unit, iv) })
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
			perCPUSecond(b, unit, func() { o.Encrypt(buf[:unit], buf[:unit], 1) })
		})
	}
}

func BenchmarkInit(b *testing.B) {
	key := randomBytes(newRand(), 64)
	for _, set := range isa.Available() {
		b.Run(set.String(), func(b *testing.B) {
			defer isa.Use(set)()
			var c Cipher
			b.ReportAllocs()
			for b.Loop() {
				must(b, c.Init(key))
			}
		})
	}
}
