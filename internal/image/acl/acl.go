// Package acl converts POSIX access control lists from the form in which ext4
// and f2fs keep them to the one of getxattr(2). Integers are little-endian.
package acl

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var le = binary.LittleEndian

// On disk (version 1) entries without an id have just tag and permissions; in
// the form of getxattr(2) (version 2) each entry has an id.
const (
	versionDisk  = 1
	versionXattr = 2

	tagUserObj  = 0x01
	tagUser     = 0x02
	tagGroupObj = 0x04
	tagGroup    = 0x08
	tagMask     = 0x10
	tagOther    = 0x20

	undefinedID = 0xffffffff
)

// Xattr converts an ACL from the form on disk to that of getxattr(2).
func Xattr(disk []byte) ([]byte, error) {
	if len(disk) < 4 {
		return nil, fmt.Errorf("ACL of %d bytes", len(disk))
	}
	if v := le.Uint32(disk); v != versionDisk {
		return nil, fmt.Errorf("ACL version %d, want %d", v, versionDisk)
	}
	out := le.AppendUint32(nil, versionXattr)
	for rest := disk[4:]; len(rest) > 0; {
		if len(rest) < 4 {
			return nil, errors.New("ACL ends within an entry")
		}
		out = append(out, rest[:4]...)
		tag := le.Uint16(rest)
		rest = rest[4:]
		switch tag {
		case tagUserObj, tagGroupObj, tagMask, tagOther:
			out = le.AppendUint32(out, undefinedID)
		case tagUser, tagGroup:
			if len(rest) < 4 {
				return nil, errors.New("ACL ends within an entry")
			}
			out = append(out, rest[:4]...)
			rest = rest[4:]
		default:
			return nil, fmt.Errorf("ACL entry with tag %#x", tag)
		}
	}
	return out, nil
}
