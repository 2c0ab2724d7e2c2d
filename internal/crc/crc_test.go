package crc

import "testing"

// The check values are those of the catalogue of parametrised CRCs, before
// the final inversion.
func TestCheckValues(t *testing.T) {
	msg := []byte("123456789")
	if got := CRC32C(0xFFFFFFFF, msg); got != 0x1CF96D7C {
		t.Errorf("CRC32C: %#x, want 0x1cf96d7c", got)
	}
	if got := CRC16(0xFFFF, msg); got != 0x4B37 {
		t.Errorf("CRC16: %#x, want 0x4b37", got)
	}
}

func TestContinues(t *testing.T) {
	msg := []byte("the two halves of one message")
	for i := range msg {
		if got, want := CRC32C(CRC32C(7, msg[:i]), msg[i:]), CRC32C(7, msg); got != want {
			t.Errorf("CRC32C split at %d: %#x, want %#x", i, got, want)
		}
		if got, want := CRC16(CRC16(7, msg[:i]), msg[i:]), CRC16(7, msg); got != want {
			t.Errorf("CRC16 split at %d: %#x, want %#x", i, got, want)
		}
	}
}
