package ext4

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
