package policy

import "fmt"

// Rule names a check that the kernel makes of a policy.
type Rule string

// The rules, in the order in which the kernel checks them.
const (
	RuleVersion       Rule = "version"
	RuleModes         Rule = "modes"
	RuleFlags         Rule = "flags"
	RuleOneIVFlag     Rule = "one IV flag"
	RuleSubBlock      Rule = "sub-block data units"
	RuleDataUnitSize  Rule = "data unit size"
	RuleDataUnitLblk  Rule = "data unit size with IV_INO_LBLK_32"
	RuleDirectKey     Rule = "DIRECT_KEY modes"
	RuleInoLblkMode   Rule = "IV_INO_LBLK contents mode"
	RuleStableInodes  Rule = "stable inode numbers"
	RuleIno32         Rule = "32-bit inode numbers"
	RuleDataUnitIndex Rule = "32-bit data unit indexes"
	RuleReserved      Rule = "reserved bits"
	RuleCasefold      Rule = "casefold needs v2"
	RuleBtrfs         Rule = "btrfs policies"
)

// RuleError says which rule a policy breaks. It wraps ErrInvalid.
type RuleError struct {
	Rule Rule
	Why  string
}

func (e *RuleError) Error() string { return fmt.Sprintf("%v: %s: %s", ErrInvalid, e.Rule, e.Why) }

// Unwrap returns ErrInvalid.
func (e *RuleError) Unwrap() error { return ErrInvalid }

func broken(r Rule, why string) error { return &RuleError{r, why} }

// Caps is what the rules ask of a filesystem.
type Caps struct {
	Filesystem    string // "ext4", "f2fs", "ubifs", "btrfs"
	BlockBits     int    // log2 of the block size
	SubBlockUnits bool   // data units may be smaller than a block
	StableInodes  bool   // inode numbers never change
	Ino32         bool   // inode numbers fit in 32 bits
	MaxFileBits   int    // bits of the greatest file size less one
	Casefold      bool   // the directory at hand is casefolded
}

// Validate tells whether a kernel takes the policy on such a filesystem. The
// error is the first *RuleError in the kernel's order and wraps ErrInvalid.
func (p Policy) Validate(c Caps) error {
	checks := []func(Caps) error{
		p.checkVersion, p.checkModes, p.checkFlags, p.checkDataUnit, p.checkDirectKey,
		p.checkInoLblk, p.checkReserved, p.checkCasefold, p.checkBtrfs,
	}
	for _, check := range checks {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

func (p Policy) checkVersion(Caps) error {
	if p.Version != 1 && p.Version != 2 {
		return broken(RuleVersion, fmt.Sprintf("version %d", p.Version))
	}
	return nil
}

func (p Policy) checkModes(Caps) error {
	if !validPair(p.Version, p.Contents, p.Filenames) {
		return broken(RuleModes, fmt.Sprintf("v%d takes no contents mode %v with filenames mode %v", p.Version, p.Contents, p.Filenames))
	}
	return nil
}

func (p Policy) checkFlags(Caps) error {
	allowed := uint8(flagsV2)
	if p.Version == 1 {
		allowed = flagsV1
	}
	if extra := p.Flags &^ allowed; extra != 0 {
		return broken(RuleFlags, fmt.Sprintf("flags %#x are not for v%d", extra, p.Version))
	}
	if iv := p.Flags & ivFlags; iv&(iv-1) != 0 {
		return broken(RuleOneIVFlag, fmt.Sprintf("flags %#x exclude one another", iv))
	}
	return nil
}

func (p Policy) checkDataUnit(c Caps) error {
	du := int(p.Log2DataUnitSize)
	switch {
	case du == 0:
		return nil
	case p.Version == 1:
		return broken(RuleDataUnitSize, "v1 knows no data unit size")
	case !c.SubBlockUnits:
		return broken(RuleSubBlock, c.Filesystem+" has no data units smaller than a block")
	case du < 9 || du > c.BlockBits:
		return broken(RuleDataUnitSize, fmt.Sprintf("log2 is %d, want 9 to %d", du, c.BlockBits))
	case du != c.BlockBits && p.Flags&FlagIVInoLblk32 != 0:
		return broken(RuleDataUnitLblk, fmt.Sprintf("log2 is %d, blocks have %d", du, c.BlockBits))
	}
	return nil
}

func (p Policy) checkDirectKey(Caps) error {
	if p.Flags&FlagDirectKey == 0 {
		return nil
	}
	// The IV holds 8 bytes of index and 16 of nonce.
	if p.Contents != p.Filenames || p.Contents.IVSize() < 24 {
		return broken(RuleDirectKey, fmt.Sprintf("%v and %v, want one mode with a long IV", p.Contents, p.Filenames))
	}
	return nil
}

func (p Policy) checkInoLblk(c Caps) error {
	if p.Flags&(FlagIVInoLblk64|FlagIVInoLblk32) == 0 {
		return nil
	}
	du := c.BlockBits
	if p.Log2DataUnitSize != 0 {
		du = int(p.Log2DataUnitSize)
	}
	switch {
	case p.Contents != ModeAES256XTS:
		return broken(RuleInoLblkMode, fmt.Sprintf("%v, want %v", p.Contents, ModeAES256XTS))
	case !c.StableInodes:
		return broken(RuleStableInodes, "inode numbers of this "+c.Filesystem+" may change")
	case !c.Ino32:
		return broken(RuleIno32, "inode numbers of "+c.Filesystem+" have more than 32 bits")
	case c.MaxFileBits-du > 32:
		return broken(RuleDataUnitIndex, fmt.Sprintf("files of 2^%d bytes have more than 2^32 units of 2^%d bytes", c.MaxFileBits, du))
	}
	return nil
}

func (p Policy) checkReserved(Caps) error {
	if p.Reserved != [3]byte{} {
		return broken(RuleReserved, fmt.Sprintf("bytes are %x, want zero", p.Reserved))
	}
	return nil
}

func (p Policy) checkCasefold(c Caps) error {
	if p.Version == 1 && c.Casefold {
		return broken(RuleCasefold, "v1 derives no key for the hash of a casefolded directory")
	}
	return nil
}

// checkBtrfs follows the proposed series for btrfs (v7 of May 2026).
func (p Policy) checkBtrfs(c Caps) error {
	if c.Filesystem != "btrfs" {
		return nil
	}
	switch {
	case p.Version != 2:
		return broken(RuleBtrfs, "v1 is refused")
	case p.Flags&^PadMask != 0:
		return broken(RuleBtrfs, fmt.Sprintf("flags %#x are refused, only padding is allowed", p.Flags&^PadMask))
	}
	return nil
}
