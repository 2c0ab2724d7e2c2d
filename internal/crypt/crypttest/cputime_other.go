//go:build !linux

package crypttest

import "testing"

// CPU runs f in the benchmark's loop; where there is no CPU time of a thread it
// reports wall time.
func CPU(b *testing.B, bytes int, f func()) {
	b.Helper()
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
}
