package linux

import (
	"crypto/sha512"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const specDescriptor = 1 // FSCRYPT_KEY_SPEC_TYPE_DESCRIPTOR

// Descriptor returns the name that tools give a master key of v1 policies by
// convention: the first 8 bytes of its SHA-512 taken twice.
func Descriptor(raw []byte) [8]byte {
	once := sha512.Sum512(raw)
	twice := sha512.Sum512(once[:])
	return [8]byte(twice[:8])
}

// AddKeyV1 gives the filesystem mounted at dir a raw master key for v1
// policies, under its Descriptor.
func AddKeyV1(dir string, raw []byte) error {
	var arg addKeyArg
	if len(raw) > len(arg.raw) {
		return fmt.Errorf("master key of %d bytes", len(raw))
	}
	arg.Key_spec.Type = specDescriptor
	descriptor := Descriptor(raw)
	copy(arg.Key_spec.U[:], descriptor[:])
	arg.Raw_size = uint32(len(raw))
	copy(arg.raw[:], raw)
	if err := ioctlDir(dir, unix.FS_IOC_ADD_ENCRYPTION_KEY, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("add key of v1 to %s: %w", dir, err)
	}
	return nil
}

// SetPolicyBytes puts a policy on an empty directory: 12 bytes of struct
// fscrypt_policy_v1 or 24 of v2.
func SetPolicyBytes(dir string, raw []byte) error {
	arg := make([]byte, 24)
	copy(arg, raw)
	if err := ioctlDir(dir, unix.FS_IOC_SET_ENCRYPTION_POLICY, unsafe.Pointer(&arg[0])); err != nil {
		return fmt.Errorf("set policy on %s: %w", dir, err)
	}
	return nil
}
