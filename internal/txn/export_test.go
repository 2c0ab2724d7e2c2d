package txn

import "testing"

// SpillAt sets how many fresh pages are kept in memory.
func SpillAt(t *testing.T, pages int) {
	old := maxFresh
	maxFresh = pages
	t.Cleanup(func() { maxFresh = old })
}
