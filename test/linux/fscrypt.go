package linux

import (
	"encoding/hex"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const specIdentifier = 2 // FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER

// addKeyArg is struct fscrypt_add_key_arg with the key behind it.
type addKeyArg struct {
	unix.FscryptAddKeyArg
	raw [64]byte
}

// AddKey gives the filesystem mounted at dir a raw master key for v2 policies
// and returns the identifier that the kernel computes for it.
func AddKey(dir string, raw []byte) ([16]byte, error) {
	var id [16]byte
	var arg addKeyArg
	if len(raw) > len(arg.raw) {
		return id, fmt.Errorf("master key of %d bytes", len(raw))
	}
	arg.Key_spec.Type = specIdentifier
	arg.Raw_size = uint32(len(raw))
	copy(arg.raw[:], raw)
	if err := ioctlDir(dir, unix.FS_IOC_ADD_ENCRYPTION_KEY, unsafe.Pointer(&arg)); err != nil {
		return id, fmt.Errorf("add key to %s: %w", dir, err)
	}
	copy(id[:], arg.Key_spec.U[:])
	return id, nil
}

// RemoveKey takes a key away again; the tree is locked afterwards.
func RemoveKey(dir string, id [16]byte) error {
	var arg unix.FscryptRemoveKeyArg
	arg.Key_spec.Type = specIdentifier
	copy(arg.Key_spec.U[:], id[:])
	if err := ioctlDir(dir, unix.FS_IOC_REMOVE_ENCRYPTION_KEY, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("remove key from %s: %w", dir, err)
	}
	if arg.Removal_status_flags != 0 {
		return fmt.Errorf("remove key from %s: status %#x", dir, arg.Removal_status_flags)
	}
	return nil
}

// PolicyV2 is what SetPolicy asks for.
type PolicyV2 struct {
	Contents, Filenames uint8 // modes as the kernel numbers them
	Flags               uint8
	Log2DataUnit        uint8
	Identifier          [16]byte
}

// SetPolicy puts a policy on an empty directory.
func SetPolicy(dir string, p PolicyV2) error {
	arg := unix.FscryptPolicyV2{
		Version: 2, Contents_encryption_mode: p.Contents, Filenames_encryption_mode: p.Filenames,
		Flags: p.Flags, Log2_data_unit_size: p.Log2DataUnit, Master_key_identifier: p.Identifier,
	}
	if err := ioctlDir(dir, unix.FS_IOC_SET_ENCRYPTION_POLICY, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("set policy on %s: %w", dir, err)
	}
	return nil
}

// policyOf returns the policy of an open file or directory in hex.
func policyOf(fd int) (string, error) {
	arg := unix.FscryptGetPolicyExArg{Size: 24}
	if err := ioctl(fd, unix.FS_IOC_GET_ENCRYPTION_POLICY_EX, unsafe.Pointer(&arg)); err != nil {
		return "", err
	}
	return hex.EncodeToString(arg.Policy[:arg.Size]), nil
}

// nonceOf returns the nonce of an open file or directory in hex.
func nonceOf(fd int) (string, error) {
	var nonce [16]byte
	if err := ioctl(fd, unix.FS_IOC_GET_ENCRYPTION_NONCE, unsafe.Pointer(&nonce)); err != nil {
		return "", err
	}
	return hex.EncodeToString(nonce[:]), nil
}

// verityAlgorithms are the names of FS_VERITY_HASH_ALG_*.
var verityAlgorithms = map[uint16]string{1: "sha256", 2: "sha512"}

// EnableVerity builds the Merkle tree of a file, with SHA-256 and blocks of
// blockSize bytes, and makes it read-only for good.
func EnableVerity(file string, blockSize uint32) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	arg := unix.FsverityEnableArg{Version: 1, Hash_algorithm: 1, Block_size: blockSize}
	if err := ioctl(int(f.Fd()), unix.FS_IOC_ENABLE_VERITY, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("enable verity on %s: %w", file, err)
	}
	return nil
}

// verityOf returns "algorithm:digest" of an open file.
func verityOf(fd int) (string, error) {
	var arg struct {
		unix.FsverityDigest
		digest [64]byte
	}
	arg.Size = uint16(len(arg.digest))
	if err := ioctl(fd, unix.FS_IOC_MEASURE_VERITY, unsafe.Pointer(&arg)); err != nil {
		return "", err
	}
	return verityAlgorithms[arg.Algorithm] + ":" + hex.EncodeToString(arg.digest[:arg.Size]), nil
}

// Flags of FS_IOC_GETFLAGS that tests set or look for.
const (
	FlagCompress  = 0x4
	FlagImmutable = 0x10
	FlagAppend    = 0x20
	flagEncrypt   = 0x800
	flagVerity    = 0x100000
	FlagNoCOW     = 0x800000 // of btrfs
	FlagCasefold  = 0x40000000
)

func flagsOf(fd int) (uint32, error) {
	return unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
}

// SetFlags sets and clears FS_IOC_SETFLAGS flags of a file or directory.
func SetFlags(path string, set, clear uint32) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := flagsOf(int(f.Fd()))
	if err != nil {
		return fmt.Errorf("flags of %s: %w", path, err)
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^clear|set)); err != nil {
		return fmt.Errorf("set flags %#x of %s: %w", set, path, err)
	}
	return nil
}

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct {
	xflags, extsize, nextents, projid, cowextsize uint32
	_                                             [8]byte
}

const (
	fsIocFsgetxattr = 0x801c581f // FS_IOC_FSGETXATTR
	fsIocFssetxattr = 0x401c5820 // FS_IOC_FSSETXATTR
)

// SetProject sets the project id of a file or directory.
func SetProject(path string, id uint32) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var arg fsxattr
	if err := ioctl(int(f.Fd()), fsIocFsgetxattr, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("project of %s: %w", path, err)
	}
	arg.projid = id
	if err := ioctl(int(f.Fd()), fsIocFssetxattr, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("set project of %s: %w", path, err)
	}
	return nil
}

// projectOf returns 0 where the filesystem has no projects.
func projectOf(fd int) uint32 {
	var arg fsxattr
	if err := ioctl(fd, fsIocFsgetxattr, unsafe.Pointer(&arg)); err != nil {
		return 0
	}
	return arg.projid
}

func ioctlDir(dir string, req uint, arg unsafe.Pointer) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return ioctl(int(f.Fd()), req, arg)
}

func ioctl(fd int, req uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
