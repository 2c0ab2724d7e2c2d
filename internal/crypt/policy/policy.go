// Package policy reads, writes and judges fscrypt policies and contexts.
//
// A policy is what a directory demands: modes, flags and the key's name. A
// context is a policy and the nonce of one inode, as stored with it: 28 bytes
// in version 1, 40 in version 2, all fields single bytes or byte strings. The
// policy without nonce, 12 or 24 bytes, is what the ioctls take. The format is
// that of the kernel's include/uapi/linux/fscrypt.h and fs/crypto (6.12), and
// so are the rules of Validate; the tests hold them against a kernel's answers.
package policy

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by errors about policies that the kernel refuses.
var ErrInvalid = errors.New("invalid policy")

// Bits of the flags byte. At most one of the three that choose the IV is set.
const (
	PadMask         = 0x03 // names are padded to multiples of 4 << value bytes
	FlagDirectKey   = 0x04 // one key per mode, nonce in the IV
	FlagIVInoLblk64 = 0x08 // one key per mode and filesystem, inode number in the IV
	FlagIVInoLblk32 = 0x10 // the same, hash of the inode number in the IV

	ivFlags = FlagDirectKey | FlagIVInoLblk64 | FlagIVInoLblk32
	flagsV1 = PadMask | FlagDirectKey
	flagsV2 = PadMask | ivFlags
)

// Sizes of the ioctl form in bytes.
const (
	policySizeV1 = 12
	policySizeV2 = 24
)

// Nonce is the random part of a context.
type Nonce [16]byte

// Descriptor names the master key of a v1 policy; any value is legal.
type Descriptor [8]byte

// Identifier names the master key of a v2 policy; it is derived from the key.
type Identifier [16]byte

func (d Descriptor) String() string { return hex.EncodeToString(d[:]) }
func (i Identifier) String() string { return hex.EncodeToString(i[:]) }

// Policy is what a directory tree has in common. Two policies are the same to
// the kernel exactly if they are equal with ==.
type Policy struct {
	Version          uint8 // 1 or 2, as in the context
	Contents         Mode
	Filenames        Mode
	Flags            uint8
	Log2DataUnitSize uint8      // v2; 0 means the filesystem's block size
	Reserved         [3]byte    // v2; must be zero
	Descriptor       Descriptor // v1
	Identifier       Identifier // v2
}

// Method is how the keys and IVs of a policy come about.
type Method uint8

// The methods, named as in the kernel's documentation.
const (
	PerFile     Method = iota // a key of its own for each inode
	DirectKey                 // one key per mode, nonce in the IV
	IVInoLblk64               // one key per mode and filesystem, inode number in the IV
	IVInoLblk32               // the same, hashed inode number added to the index
)

func (m Method) String() string {
	return [...]string{"per-file", "direct-key", "iv-ino-lblk-64", "iv-ino-lblk-32"}[m&3]
}

// Method tells which of the flags decides. For a policy that is not valid and
// has several, it is the lowest.
func (p Policy) Method() Method {
	switch {
	case p.Flags&FlagDirectKey != 0:
		return DirectKey
	case p.Flags&FlagIVInoLblk64 != 0:
		return IVInoLblk64
	case p.Flags&FlagIVInoLblk32 != 0:
		return IVInoLblk32
	}
	return PerFile
}

// Padding is the multiple, in bytes, to which names are padded: 4 to 32.
func (p Policy) Padding() int { return 4 << (p.Flags & PadMask) }

// KeySpec is the lower-case hex of what names the master key.
func (p Policy) KeySpec() string {
	if p.Version == 1 {
		return p.Descriptor.String()
	}
	return p.Identifier.String()
}

// DataUnitSize is the size in bytes of what gets one IV in regular files, on a
// filesystem with blocks of blockSize bytes.
func (p Policy) DataUnitSize(blockSize int) int {
	if p.Log2DataUnitSize == 0 || p.Log2DataUnitSize > 30 {
		return blockSize
	}
	return 1 << p.Log2DataUnitSize
}

// MinKeySize is how many bytes the master key must have for an inode that
// uses mode m: the whole cipher key in v1, the mode's strength in v2.
func (p Policy) MinKeySize(m Mode) int {
	if p.Version == 1 {
		return m.KeySize()
	}
	return m.Strength()
}

// head is the part common to policies and contexts, without nonce.
func (p Policy) head() []byte {
	b := []byte{p.Version, byte(p.Contents), byte(p.Filenames), p.Flags}
	if p.Version == 1 {
		return append(b, p.Descriptor[:]...)
	}
	b = append(b, p.Log2DataUnitSize)
	b = append(b, p.Reserved[:]...)
	return append(b, p.Identifier[:]...)
}

func parseHead(b []byte) Policy {
	p := Policy{Version: b[0], Contents: Mode(b[1]), Filenames: Mode(b[2]), Flags: b[3]}
	if p.Version == 1 {
		p.Descriptor = Descriptor(b[4:12])
		return p
	}
	p.Log2DataUnitSize = b[4]
	p.Reserved = [3]byte(b[5:8])
	p.Identifier = Identifier(b[8:24])
	return p
}

// Bytes is the form that the ioctls take: 12 bytes for v1, whose version byte
// is 0 there, 24 for v2.
func (p Policy) Bytes() []byte {
	b := p.head()
	if p.Version == 1 {
		b[0] = 0
	}
	return b
}

// ParsePolicy reads the form that the ioctls take. It looks at version and
// length only; the error wraps ErrInvalid and is a RuleError.
func ParsePolicy(b []byte) (Policy, error) {
	switch {
	case len(b) == policySizeV1 && b[0] == 0:
		b = bytes.Clone(b)
		b[0] = 1
		return parseHead(b), nil
	case len(b) == policySizeV2 && b[0] == 2:
		return parseHead(b), nil
	case len(b) == 0:
		return Policy{}, broken(RuleVersion, "empty")
	}
	return Policy{}, broken(RuleVersion, fmt.Sprintf("version byte %d with %d bytes", b[0], len(b)))
}
