// Package feature knows which image can carry which policy, and what has to be
// set in a superblock before.
//
// The rules of policies themselves are internal/crypt/policy's; here a
// filesystem's facts are turned into what those rules ask for. Nothing here
// writes.
package feature

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// ErrNotSetUp: the image lacks a feature that has to be set first.
var ErrNotSetUp = errors.New("feature not set")

// Names of the features that fsenc sets, as mke2fs spells them.
const (
	Encrypt             = "encrypt"
	StableInodes        = "stable_inodes"
	EncryptedInlineData = "encrypted_inline_data"
)

// Caps is what the rules of policies ask of the filesystem.
func Caps(s image.Super) policy.Caps {
	return policy.Caps{
		Filesystem:    s.Kind,
		BlockBits:     bits.Len(uint(s.BlockSize)) - 1,
		SubBlockUnits: s.SubBlockUnits,
		StableInodes:  s.StableInodes,
		Ino32:         true,
		MaxFileBits:   s.MaxFileBits,
	}
}

// Require tells why p cannot be used on the filesystem as it is: ErrNotSetUp
// where a feature is missing, policy.ErrInvalid where a rule is broken.
func Require(s image.Super, p policy.Policy) error {
	if !s.Encrypt {
		return fmt.Errorf("%w: %s", ErrNotSetUp, Encrypt)
	}
	needs := p.Flags&(policy.FlagIVInoLblk64|policy.FlagIVInoLblk32) != 0
	if needs && s.Kind == "ext4" && !s.StableInodes {
		return fmt.Errorf("%w: %s, which policies with inode numbers in the IV need", ErrNotSetUp, StableInodes)
	}
	return p.Validate(Caps(s))
}

// Settable lists the features that setup can set on a kind of filesystem.
func Settable(kind string) []string {
	switch kind {
	case "ext4":
		return []string{Encrypt, StableInodes, EncryptedInlineData}
	case "btrfs", "f2fs":
		return []string{Encrypt, EncryptedInlineData}
	}
	return nil
}

// StoredHash turns the hash of a name in a casefolded directory, in the three
// forms that crypt gives, into the two numbers that the filesystem keeps.
func StoredHash(s image.Super, hash, minor uint32, raw uint64) (uint32, uint32) {
	if s.LowHash {
		return uint32(raw), 0
	}
	return hash, minor
}

// Check tells whether the named features can be set on the filesystem.
func Check(s image.Super, names []string) error {
	for _, n := range names {
		if !slices.Contains(Settable(s.Kind), n) {
			return fmt.Errorf("%w: feature %q cannot be set on %s", image.ErrUnsupported, n, s.Kind)
		}
	}
	if !slices.Contains(names, EncryptedInlineData) {
		return nil
	}
	if !s.Encrypt && !slices.Contains(names, Encrypt) {
		return fmt.Errorf("%w: %s, which %s needs", ErrNotSetUp, Encrypt, EncryptedInlineData)
	}
	if s.Kind == "ext4" && !slices.Contains(s.Features, "inline_data") {
		return fmt.Errorf("%w: inline_data, which %s needs: it is chosen when the filesystem is made", ErrNotSetUp, EncryptedInlineData)
	}
	return nil
}

// KeepsInline tells whether contents inside of an inode may be encrypted with p
// where they are. On f2fs a mount option decides who encrypts, and only the
// policies with inode numbers in the IV are read whichever it is.
func KeepsInline(s image.Super, p policy.Policy) bool {
	if s.Inline == "" {
		return false
	}
	return s.Kind != "f2fs" || p.Flags&(policy.FlagIVInoLblk64|policy.FlagIVInoLblk32) != 0
}

// InlineLimit is how many bytes of ciphertext may be inside of an inode by the
// rules of the format, whatever room there is. This project's formats have one
// data unit there; f2fs's has as many as it takes.
func InlineLimit(s image.Super, p policy.Policy) int {
	if s.Kind == "f2fs" {
		return s.BlockSize
	}
	return p.DataUnitSize(s.BlockSize)
}

// inlineWarnings are what setting EncryptedInlineData means, by filesystem.
var inlineWarnings = map[string][]string{
	"ext4":  {"encrypted_inline_data is this project's own format 1, an experiment: every kernel and e2fsprogs refuse the filesystem while it is set"},
	"btrfs": {"encrypted_inline_data is this project's own format 1, an experiment: every kernel and btrfs-progs refuse the filesystem while it is set"},
	"f2fs": {"encrypted_inline_data is a proposal (series v3 of June 2026) that no released kernel has",
		"kernels that do not know it mount the filesystem all the same, fail to read just these files, and note that fsck.f2fs is due"},
}

// Warnings says what will no longer take the image once the features are set.
func Warnings(s image.Super, names []string) []string {
	var w []string
	if slices.Contains(names, Encrypt) && !s.Encrypt && s.Kind == "ext4" {
		w = append(w, "kernels before 4.1 and boot loaders that do not know the encrypt feature will refuse this filesystem")
		if s.BlockSize != 4096 {
			w = append(w, fmt.Sprintf("kernels before 5.5 mount it only where pages have %d bytes", s.BlockSize))
		}
		if s.Casefold {
			w = append(w, "kernels 5.2 to 5.12 refuse casefold together with encrypt")
		}
		if s.BootLoaderHint != "" {
			w = append(w, "it seems to boot a machine ("+s.BootLoaderHint+"): make sure that the boot loader knows the encrypt feature")
		}
	}
	if slices.Contains(names, Encrypt) && !s.Encrypt && s.Kind == "btrfs" {
		w = append(w, "encryption on btrfs is a proposal (series v6 of February 2026): released kernels and btrfs-progs refuse the filesystem once it is set, also for reading",
			"GRUB looks at no features and would hand out ciphertext: keep what it boots elsewhere")
	}
	if slices.Contains(names, EncryptedInlineData) && s.Inline == "" {
		w = append(w, inlineWarnings[s.Kind]...)
		if s.Kind == "f2fs" {
			w = append(w, "contents stay inside of inodes with --iv-ino-lblk-64 or --iv-ino-lblk-32 only: mounts with inlinecrypt do not read what other policies leave there")
		}
	}
	if slices.Contains(names, StableInodes) && !s.StableInodes {
		w = append(w, "with stable_inodes, tune2fs refuses a new UUID and resize2fs refuses to shrink")
	}
	return w
}
