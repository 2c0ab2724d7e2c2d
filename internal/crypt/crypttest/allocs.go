package crypttest

import "testing"

// NoAllocs fails the test if f allocates. Under the race detector it only calls
// f: a sync.Pool forgets on purpose there.
func NoAllocs(t testing.TB, what string, f func()) {
	t.Helper()
	if race {
		f()
		return
	}
	if n := testing.AllocsPerRun(200, f); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}
