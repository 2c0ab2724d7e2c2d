package acl

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestXattr(t *testing.T) {
	tests := []struct{ disk, want, err string }{
		{"01000000 0100 0600 0200 0700 e8030000 0400 0400 1000 0700 2000 0400",
			"02000000 0100 0600 ffffffff 0200 0700 e8030000 0400 0400 ffffffff 1000 0700 ffffffff 2000 0400 ffffffff", ""},
		{"01000000", "02000000", ""},
		{"02000000", "", "version 2"},
		{"010000", "", "3 bytes"},
		{"01000000 0200 0700 e803", "", "within an entry"},
		{"01000000 0300 0700", "", "tag 0x3"},
	}
	for _, tt := range tests {
		disk, _ := hex.DecodeString(strings.ReplaceAll(tt.disk, " ", ""))
		got, err := Xattr(disk)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want %q", tt.disk, err, tt.err)
			}
		} else if want := strings.ReplaceAll(tt.want, " ", ""); err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s: %x, %v, want %s", tt.disk, got, err, want)
		}
	}
}
