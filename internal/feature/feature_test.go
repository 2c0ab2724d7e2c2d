package feature

import (
	"errors"
	"strings"
	"testing"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

func TestCheckInline(t *testing.T) {
	both := []string{Encrypt, EncryptedInlineData}
	for _, tt := range []struct {
		what  string
		s     image.Super
		names []string
		want  error
	}{
		{"both at once", image.Super{Kind: "ext4", Features: []string{"inline_data"}}, both, nil},
		{"beside encrypt", image.Super{Kind: "ext4", Encrypt: true, Features: []string{"inline_data"}}, both[1:], nil},
		{"without encrypt", image.Super{Kind: "ext4", Features: []string{"inline_data"}}, both[1:], ErrNotSetUp},
		{"without inline_data", image.Super{Kind: "ext4", Encrypt: true}, both, ErrNotSetUp},
		{"f2fs", image.Super{Kind: "f2fs", Encrypt: true}, both[1:], nil},
		{"btrfs", image.Super{Kind: "btrfs"}, both, nil},
		{"f2fs without encrypt", image.Super{Kind: "f2fs"}, both[1:], ErrNotSetUp},
		{"another", image.Super{Kind: "ubifs", Encrypt: true}, both[1:], image.ErrUnsupported},
		{"not f2fs's", image.Super{Kind: "f2fs"}, []string{StableInodes}, image.ErrUnsupported},
	} {
		if err := Check(tt.s, tt.names); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
	}
}

// Which policies a format takes, and how much of a file.
func TestInlineRules(t *testing.T) {
	perFile := policy.Policy{Version: 2, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS}
	lblk64, lblk32, units, v1 := perFile, perFile, perFile, perFile
	lblk64.Flags, lblk32.Flags = policy.FlagIVInoLblk64, policy.FlagIVInoLblk32
	units.Log2DataUnitSize, v1.Version = 9, 1
	for _, tt := range []struct {
		kind, inline string
		p            policy.Policy
		keeps        bool
		limit        int
	}{
		{"ext4", "x", perFile, true, 4096}, {"ext4", "x", v1, true, 4096}, {"ext4", "x", lblk64, true, 4096},
		{"ext4", "x", units, true, 512}, {"ext4", "", perFile, false, 4096},
		{"f2fs", "x", perFile, false, 4096}, {"f2fs", "x", v1, false, 4096}, {"f2fs", "x", lblk64, true, 4096},
		{"f2fs", "x", lblk32, true, 4096}, {"f2fs", "", lblk64, false, 4096}, {"f2fs", "x", units, false, 4096},
		{"btrfs", "x", perFile, true, 4096}, {"btrfs", "", perFile, false, 4096},
	} {
		s := image.Super{Kind: tt.kind, Inline: tt.inline, BlockSize: 4096}
		if got := KeepsInline(s, tt.p); got != tt.keeps {
			t.Errorf("%s %q %+v: kept inline %v", tt.kind, tt.inline, tt.p, got)
		}
		if got := InlineLimit(s, tt.p); got != tt.limit {
			t.Errorf("%s %+v: limit %d, want %d", tt.kind, tt.p, got, tt.limit)
		}
	}
}

// Whoever sets the feature reads the version of its format, and that it is an
// experiment.
func TestInlineWarnings(t *testing.T) {
	for kind, version := range map[string]string{"ext4": "own format 1, an experiment", "btrfs": "own format 1, an experiment", "f2fs": "a proposal (series v3"} {
		text := strings.Join(Warnings(image.Super{Kind: kind, Encrypt: true}, []string{EncryptedInlineData}), "\n")
		if !strings.Contains(text, version) {
			t.Errorf("%s: %q", kind, text)
		}
		if w := Warnings(image.Super{Kind: kind, Encrypt: true, Inline: "x"}, []string{EncryptedInlineData}); len(w) > 0 {
			t.Errorf("%s, set already: %q", kind, w)
		}
	}
}
