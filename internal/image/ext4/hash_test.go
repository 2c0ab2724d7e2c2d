package ext4

import (
	"encoding/hex"
	"testing"
)

// The vectors agree with debugfs dx_hash where it knows the version, and
// directories that were indexed with the code that printed them are in order
// for the kernel.
func TestDirHash(t *testing.T) {
	seed := [4]uint32{0xaaaaaaaa, 0xccccbbbb, 0xeeeedddd, 0xeeeeeeee}
	high := make([]byte, 0, 55)
	for c := 0xc8; c <= 0xfe; c++ {
		high = append(high, byte(c))
	}
	ct, err := hex.DecodeString("cb71524c87037618f1a65fa17a203c8b")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  []byte
		seed  [4]uint32
		first uint8 // version of the first pair
		want  [3][2]uint32
	}{
		{[]byte("a"), seed, 0, [3][2]uint32{{0xe74b53e2, 0}, {0x5cbb4bb6, 0xdeaa41a2}, {0x65a21a36, 0x40bd73fe}}},
		{[]byte("file"), seed, 0, [3][2]uint32{{0x10c30fca, 0}, {0xdf3ef784, 0x6c0620aa}, {0x56718eea, 0xe8a1c77a}}},
		{[]byte("file"), [4]uint32{}, 0, [3][2]uint32{{0x10c30fca, 0}, {0x019ccbc2, 0xb9c649b1}, {0x53fcf74e, 0x15e4b547}}},
		{ct, seed, 0, [3][2]uint32{{0xeb7e152e, 0}, {0xd1e376c0, 0x3bfccc73}, {0x74d23e42, 0xf3fb449c}}},
		{ct, seed, 3, [3][2]uint32{{0x86db5a1c, 0}, {0xea5e9f40, 0x2484cbe8}, {0x4a1ed980, 0x77c31530}}},
		{high, seed, 0, [3][2]uint32{{0xab6f3e60, 0}, {0xd7ba3c16, 0x9a2065c0}, {0xe13472b6, 0xaba0532c}}},
		{high, seed, 3, [3][2]uint32{{0x293106fa, 0}, {0xe083cd8e, 0x2a3dd00e}, {0x33ce7034, 0x46b1df65}}},
	}
	for _, tt := range tests {
		for i, want := range tt.want {
			h := dirHash{version: tt.first + uint8(i), seed: tt.seed}
			hash, minor := h.sum(tt.name)
			if hash != want[0] || minor != want[1] {
				t.Errorf("version %d of %x: %08x, %08x, want %08x, %08x",
					h.version, tt.name, hash, minor, want[0], want[1])
			}
		}
	}
}

func TestClampHash(t *testing.T) {
	for _, tt := range [][2]uint32{{0, 0}, {1, 0}, {0xfffffffb, 0xfffffffa}, {0xfffffffd, 0xfffffffc},
		{0xfffffffe, 0xfffffffc}, {0xffffffff, 0xfffffffc}} {
		if got := clampHash(tt[0]); got != tt[1] {
			t.Errorf("clampHash(%#x) = %#x, want %#x", tt[0], got, tt[1])
		}
	}
}
