package store

import "testing"

func TestIsZero(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 4095, 4096, 4097, 3 * 4096, len(zeros) - 1, len(zeros), len(zeros) + 1, 3 * len(zeros)} {
		b := make([]byte, n)
		if !IsZero(b) {
			t.Errorf("%d zeros: no", n)
		}
		for _, at := range []int{0, n / 2, n - 1} {
			if n == 0 {
				continue
			}
			b[at] = 1
			if IsZero(b) {
				t.Errorf("%d bytes, a one at %d: yes", n, at)
			}
			b[at] = 0
		}
	}
}
