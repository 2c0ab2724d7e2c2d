package policy

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/bits"
	"os"
	"testing"
)

type verdicts struct {
	Filesystems map[string]struct {
		Fs            string `json:"fs"`
		BlockSize     uint   `json:"block_size"`
		StableInodes  bool   `json:"stable_inodes"`
		Inodes32      bool   `json:"inodes_32bit"`
		SubBlockUnits bool   `json:"sub_block_units"`
		MaxFileBits   int    `json:"max_file_bits"`
	} `json:"filesystems"`
	Vectors []struct {
		ID, Policy string
		Results    map[string]string
	} `json:"vectors"`
}

func loadVerdicts(t testing.TB) verdicts {
	raw, err := os.ReadFile("../testdata/vectors/policies.json")
	if err != nil {
		t.Fatal(err)
	}
	var v verdicts
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestKernelVerdicts holds Validate against what a kernel answered.
func TestKernelVerdicts(t *testing.T) {
	v := loadVerdicts(t)
	answers := 0
	for _, vec := range v.Vectors {
		p, parseErr := ParsePolicy(unhex(t, vec.Policy))
		for fs, want := range vec.Results {
			f := v.Filesystems[fs]
			err := parseErr
			if err == nil {
				err = p.Validate(Caps{
					Filesystem: f.Fs, BlockBits: bits.Len(f.BlockSize) - 1, SubBlockUnits: f.SubBlockUnits,
					StableInodes: f.StableInodes, Ino32: f.Inodes32, MaxFileBits: f.MaxFileBits,
				})
			}
			if (err == nil) != (want == "ok") {
				t.Errorf("%s on %s: %v, kernel says %s", vec.ID, fs, err, want)
			}
			var rule *RuleError
			if err != nil && (!errors.Is(err, ErrInvalid) || !errors.As(err, &rule)) {
				t.Errorf("%s on %s: %v does not name a rule", vec.ID, fs, err)
			}
			answers++
		}
		if parseErr == nil && !bytes.Equal(p.Bytes(), unhex(t, vec.Policy)) {
			t.Errorf("%s: serialises as %x", vec.ID, p.Bytes())
		}
	}
	if answers < 300 {
		t.Fatalf("only %d answers", answers)
	}
}

func TestRuleNames(t *testing.T) {
	ext4 := Caps{Filesystem: "ext4", BlockBits: 12, SubBlockUnits: true, StableInodes: true, Ino32: true, MaxFileBits: 44}
	with := func(f func(*Caps)) Caps { c := ext4; f(&c); return c }
	xts := func(f func(*Policy)) Policy {
		p := Policy{Version: 2, Contents: ModeAES256XTS, Filenames: ModeAES256CTS}
		f(&p)
		return p
	}
	for _, tc := range []struct {
		p    Policy
		c    Caps
		want Rule
	}{
		{xts(func(p *Policy) { p.Version = 3 }), ext4, RuleVersion},
		{xts(func(p *Policy) { p.Filenames = ModeAES256XTS }), ext4, RuleModes},
		{xts(func(p *Policy) { p.Version = 1; p.Filenames = ModeAES256HCTR2 }), ext4, RuleModes},
		{xts(func(p *Policy) { p.Version = 1; p.Flags = FlagIVInoLblk64 }), ext4, RuleFlags},
		{xts(func(p *Policy) { p.Flags = 0x20 }), ext4, RuleFlags},
		{xts(func(p *Policy) { p.Flags = FlagIVInoLblk64 | FlagIVInoLblk32 }), ext4, RuleOneIVFlag},
		{xts(func(p *Policy) { p.Log2DataUnitSize = 9 }), with(func(c *Caps) { c.SubBlockUnits = false }), RuleSubBlock},
		{xts(func(p *Policy) { p.Log2DataUnitSize = 8 }), ext4, RuleDataUnitSize},
		{xts(func(p *Policy) { p.Log2DataUnitSize = 13 }), ext4, RuleDataUnitSize},
		{xts(func(p *Policy) { p.Log2DataUnitSize = 9; p.Flags = FlagIVInoLblk32 }), ext4, RuleDataUnitLblk},
		{xts(func(p *Policy) { p.Flags = FlagDirectKey }), ext4, RuleDirectKey},
		{Policy{Version: 2, Contents: ModeAdiantum, Filenames: ModeAdiantum, Flags: FlagIVInoLblk64}, ext4, RuleInoLblkMode},
		{xts(func(p *Policy) { p.Flags = FlagIVInoLblk64 }), with(func(c *Caps) { c.StableInodes = false }), RuleStableInodes},
		{xts(func(p *Policy) { p.Flags = FlagIVInoLblk64 }), with(func(c *Caps) { c.Ino32 = false }), RuleIno32},
		{xts(func(p *Policy) { p.Flags = FlagIVInoLblk64; p.Log2DataUnitSize = 11 }), ext4, RuleDataUnitIndex},
		{xts(func(p *Policy) { p.Reserved[1] = 1 }), ext4, RuleReserved},
		{xts(func(p *Policy) { p.Version = 1 }), with(func(c *Caps) { c.Casefold = true }), RuleCasefold},
		{xts(func(p *Policy) { p.Version = 1 }), with(func(c *Caps) { c.Filesystem = "btrfs" }), RuleBtrfs},
		// The first rule in the kernel's order is named.
		{xts(func(p *Policy) { p.Reserved[0] = 1; p.Flags = 0x80; p.Log2DataUnitSize = 3 }), ext4, RuleFlags},
	} {
		var rule *RuleError
		if err := tc.p.Validate(tc.c); !errors.As(err, &rule) || rule.Rule != tc.want {
			t.Errorf("%+v: %v, want rule %q", tc.p, err, tc.want)
		}
	}
}

func TestContextErrors(t *testing.T) {
	for _, b := range [][]byte{
		nil, {}, {0}, {1}, {2}, make([]byte, 28), make([]byte, 40),
		append([]byte{1}, make([]byte, 26)...), append([]byte{1}, make([]byte, 39)...),
		append([]byte{2}, make([]byte, 27)...), append([]byte{2}, make([]byte, 40)...),
		append([]byte{3}, make([]byte, 39)...),
	} {
		if _, err := ParseContext(b); !errors.Is(err, ErrContext) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

func TestModeNames(t *testing.T) {
	known := 0
	for n := range 256 {
		m := Mode(n)
		if !m.Known() {
			continue
		}
		known++
		if got, err := ParseMode(m.String()); got != m || err != nil {
			t.Errorf("ParseMode(%q) = %d, %v", m, got, err)
		}
		if m.KeySize() > MaxKeySize || m.IVSize() > MaxIVSize || m.Strength() == 0 {
			t.Errorf("%v: key %d, IV %d, strength %d", m, m.KeySize(), m.IVSize(), m.Strength())
		}
	}
	if known != 8 {
		t.Errorf("%d modes", known)
	}
	if m, err := ParseMode("aes-256-hctr2"); m != ModeAES256HCTR2 || err != nil {
		t.Errorf("case matters: %v, %v", m, err)
	}
	if _, err := ParseMode(""); !errors.Is(err, ErrInvalid) {
		t.Errorf("empty mode name: %v", err)
	}
}

func FuzzContext(f *testing.F) {
	v1 := append([]byte{1, 1, 4, 3}, make([]byte, 24)...)
	v2 := append([]byte{2, 1, 4, 3}, make([]byte, 36)...)
	f.Add(v1)
	f.Add(v2)
	f.Add(v2[:39])
	for _, vec := range loadVerdicts(f).Vectors {
		b := unhex(f, vec.Policy)
		if b[0] == 0 {
			b[0] = 1
		}
		f.Add(append(b, make([]byte, 16)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseContext(b)
		if err != nil {
			if !errors.Is(err, ErrContext) {
				t.Fatalf("unnamed error: %v", err)
			}
			return
		}
		if !bytes.Equal(c.Bytes(), b) {
			t.Fatalf("%x comes back as %x", b, c.Bytes())
		}
		p, err := ParsePolicy(c.Policy.Bytes())
		if err != nil || p != c.Policy {
			t.Fatalf("%x: policy comes back as %+v, %v", b, p, err)
		}
		if err := c.Validate(Caps{Filesystem: "ext4", BlockBits: 12}); err == nil && c.DataUnitSize(4096) > 4096 {
			t.Fatalf("%x: valid with units of %d bytes", b, c.DataUnitSize(4096))
		}
		_, _, _ = c.KeySpec(), c.Padding(), c.Method().String()
	})
}
