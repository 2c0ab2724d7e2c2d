package crypt

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"fsenc/internal/crypt/names"
)

// linkHeader is the le16 length before the ciphertext of a target.
const linkHeader = 2

// EncryptLink returns a symlink's target as it is stored: le16 length and
// ciphertext. Its length is the inode's size. room is what the filesystem
// gives, its block size on ext4 and f2fs: the kernel wants a byte of it for a
// NUL, so targets have at most room - 3 bytes. The error wraps ErrNameTooLong or
// ErrName.
func (n *Names) EncryptLink(target []byte, room int) ([]byte, error) {
	limit := room - linkHeader - 1
	if len(target) > limit {
		return nil, fmt.Errorf("%w: target of %d bytes, at most %d", ErrNameTooLong, len(target), limit)
	}
	if err := checkTarget(target); err != nil {
		return nil, err
	}
	size := names.PaddedLen(len(target), n.pad, limit)
	if size < names.MinEncrypted || size > 0xffff {
		return nil, fmt.Errorf("%w: no symlink has a room of %d bytes", ErrName, room)
	}
	out := binary.LittleEndian.AppendUint16(make([]byte, 0, linkHeader+size), uint16(size))
	return n.seal(out, target, size), nil
}

// DecryptLink returns the target behind its stored form, as the kernel reads
// it. Bytes after the ciphertext are ignored. The error wraps ErrName.
func (n *Names) DecryptLink(stored []byte) ([]byte, error) {
	target, _, err := n.openLink(stored)
	return target, err
}

// CheckLink is DecryptLink that looks harder: the padding must be zero.
func (n *Names) CheckLink(stored []byte) ([]byte, error) {
	target, clean, err := n.openLink(stored)
	if err == nil && !clean {
		return nil, fmt.Errorf("%w: bytes after the NUL that ends the target", ErrName)
	}
	return target, err
}

func (n *Names) openLink(stored []byte) (target []byte, clean bool, err error) {
	ct, err := LinkCiphertext(stored)
	if err != nil {
		return nil, false, err
	}
	target, clean, err = n.open(nil, ct, len(ct))
	if err != nil {
		return nil, false, err
	}
	if len(target) == 0 {
		return nil, false, fmt.Errorf("%w: empty target", ErrName)
	}
	return target, clean, nil
}

// LinkCiphertext is the ciphertext in a target's stored form, which without
// the key shows as a no-key name with hashes 0. The error wraps ErrName.
func LinkCiphertext(stored []byte) ([]byte, error) {
	if len(stored) < linkHeader {
		return nil, fmt.Errorf("%w: stored target of %d bytes", ErrName, len(stored))
	}
	size := int(binary.LittleEndian.Uint16(stored))
	if size == 0 || size > len(stored)-linkHeader {
		return nil, fmt.Errorf("%w: target's ciphertext has %d bytes, stored are %d", ErrName, size, len(stored)-linkHeader)
	}
	return stored[linkHeader : linkHeader+size], nil
}

func checkTarget(target []byte) error {
	switch {
	case len(target) == 0:
		return fmt.Errorf("%w: empty target", ErrName)
	case bytes.IndexByte(target, 0) >= 0:
		return fmt.Errorf("%w: target holds a NUL", ErrName)
	}
	return nil
}
