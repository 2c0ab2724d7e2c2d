package crypttest

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// CPU runs f in the benchmark's loop on one thread and reports the CPU time of
// that thread: ns an operation, and MB a second where an operation has bytes.
// Wall time says little on a busy machine, and openssl speed reports CPU time.
func CPU(b *testing.B, bytes int, f func()) {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f()
	start := threadTime(b)
	for b.Loop() {
		f()
	}
	spent := threadTime(b) - start
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
	if bytes > 0 {
		b.ReportMetric(float64(bytes)*float64(b.N)/spent.Seconds()/1e6, "MB/cpu-s")
	}
	b.ReportMetric(0, "ns/op")
	b.ReportAllocs()
}

func threadTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
