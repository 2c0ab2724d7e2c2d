package ext4

import (
	"errors"
	"fmt"
)

// xattrPrefixes are what name indexes stand for. An attribute with another
// index has no name for getxattr(2) and is not listed by the kernel.
var xattrPrefixes = map[uint8]string{
	xattrUser:       "user.",
	xattrACLAccess:  "system.posix_acl_access",
	xattrACLDefault: "system.posix_acl_default",
	xattrTrusted:    "trusted.",
	xattrSecurity:   "security.",
	xattrSystem:     "system.",
	xattrRichACL:    "system.richacl",
	xattrHurd:       "gnu.",
}

// POSIX ACLs. On disk (version 1) entries without an id have just tag and
// permissions; in the form of getxattr(2) (version 2) each entry has an id.
const (
	aclVersionDisk  = 1
	aclVersionXattr = 2

	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20

	aclUndefinedID = 0xffffffff
)

// xattrACL converts an ACL from the form on disk to that of getxattr(2).
func xattrACL(disk []byte) ([]byte, error) {
	if len(disk) < 4 {
		return nil, fmt.Errorf("ACL of %d bytes", len(disk))
	}
	if v := le.Uint32(disk); v != aclVersionDisk {
		return nil, fmt.Errorf("ACL version %d, want %d", v, aclVersionDisk)
	}
	out := le.AppendUint32(nil, aclVersionXattr)
	for rest := disk[4:]; len(rest) > 0; {
		if len(rest) < 4 {
			return nil, errors.New("ACL ends within an entry")
		}
		out = append(out, rest[:4]...)
		tag := le.Uint16(rest)
		rest = rest[4:]
		switch tag {
		case aclUserObj, aclGroupObj, aclMask, aclOther:
			out = le.AppendUint32(out, aclUndefinedID)
		case aclUser, aclGroup:
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
