package partition

import (
	"errors"
	"fmt"

	"fsenc/internal/store"
)

// signature is what a layer over, or instead of, a filesystem begins with.
type signature struct {
	off    int64 // negative: from the end
	magic  string
	what   string
	advice string
}

const (
	convert = "convert it first: qemu-img convert -O raw IMAGE disk.img"
	other   = "fsenc does not know this filesystem"
)

// signatures are tried in order: what wraps comes before what is wrapped.
var signatures = []signature{
	{0, "\x3a\xff\x26\xed", "an Android sparse image", "unpack it first: simg2img IMAGE disk.img"},
	{0, "QFI\xfb", "a qcow2 image", convert},
	{0, "KDMV", "a VMDK image", convert},
	{0, "vhdxfile", "a VHDX image", convert},
	{-512, "conectix", "a VHD image", convert},
	{0x40, "\x7f\x10\xda\xbe", "a VDI image", convert},
	{0, "\x1f\x8b", "compressed with gzip", "unpack it first: gzip -dc IMAGE > disk.img"},
	{0, "\xfd7zXZ\x00", "compressed with xz", "unpack it first: xz -dc IMAGE > disk.img"},
	{0, "\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first: zstd -dc IMAGE > disk.img"},
	{0, "BZh", "compressed with bzip2", "unpack it first: bzip2 -dc IMAGE > disk.img"},
	{0, "PK\x03\x04", "a zip archive", "unpack it first"},
	{0, "LUKS\xba\xbe", "a LUKS volume", "open it first: cryptsetup open IMAGE NAME, then use /dev/mapper/NAME"},
	{3, "-FVE-FS-", "a BitLocker volume", "open it first: cryptsetup bitlkOpen IMAGE NAME, then use /dev/mapper/NAME"},
	{512, "LABELONE", "an LVM physical volume", lvmAdvice},
	{0, "LABELONE", "an LVM physical volume", lvmAdvice},
	{1024, "LABELONE", "an LVM physical volume", lvmAdvice},
	{1536, "LABELONE", "an LVM physical volume", lvmAdvice},
	{4096, mdMagic, "a member of an md array (metadata 1.2)", mdAdvice},
	{0, mdMagic, "a member of an md array (metadata 1.1)", mdAdvice},
	{0, "verity\x00\x00", "the hash device of dm-verity", "the filesystem is on the data device beside it, and a change there breaks its verification"},
	{4096 - 10, "SWAPSPACE2", "swap space", "it holds no filesystem"},
	{0, "hsqs", "squashfs", "it is read-only by design and holds no fscrypt"},
	{1024, "\xe2\xe1\xf5\xe0", "EROFS", "it is read-only by design and holds no fscrypt"},
	{0x8001, "CD001", "an ISO 9660 image", other},
	{0, "XFSB", "XFS", other},
	{3, "NTFS    ", "NTFS", other},
	{3, "EXFAT   ", "exFAT", other},
	{82, "FAT32   ", "FAT32", other},
	{54, "FAT1", "FAT", other},
	{257, "ustar", "a tar archive", "unpack it first"},
}

const (
	mdMagic   = "\xfc\x4e\x2b\xa9"
	mdAdvice  = "assemble it first: mdadm --assemble --readonly, then use /dev/mdN"
	lvmAdvice = "activate it first: vgchange -ay, then use /dev/VG/LV"
)

// Explain says what an image is in which no filesystem was found, and what to
// do: "a LUKS volume: open it first: ...". It returns "" when it has no idea.
func Explain(s store.Store) string {
	if s.Size() == 0 {
		return "an empty file"
	}
	for _, sig := range signatures {
		if has(s, sig.off, sig.magic) {
			return sig.what + ": " + sig.advice
		}
	}
	if text := explainMD(s); text != "" {
		return text
	}
	if text := explainTable(s); text != "" {
		return text
	}
	if zero, err := allZero(s); err == nil && zero {
		return "all zeros where a superblock should be"
	}
	return ""
}

// Sealed names what verifies the image as a whole although a filesystem lies
// at its start, so that a write breaks it; "" if nothing was found. size is
// the length in bytes of the filesystem.
func Sealed(s store.Store, size int64) string {
	switch {
	case has(s, -64, "AVBf"):
		return "Android Verified Boot"
	case size > 0 && has(s, size, "verity\x00\x00"), size > 0 && has(s, size, "\x01\xb0\x01\xb0"):
		return "dm-verity"
	}
	return ""
}

func has(s store.Store, off int64, magic string) bool {
	if off < 0 {
		off += s.Size()
	}
	b, err := readAt(s, off, int64(len(magic)))
	return err == nil && string(b) == magic
}

// explainMD looks where md keeps metadata at the end of a member.
func explainMD(s store.Store) string {
	const sector = 512
	v10 := (s.Size()/sector - 16) &^ 7 * sector
	v090 := s.Size()&^(64<<10-1) - 64<<10
	for _, c := range []struct {
		off     int64
		version string
	}{{v10, "1.0"}, {v090, "0.90"}} {
		if c.off > 0 && has(s, c.off, mdMagic) {
			return "a member of an md array (metadata " + c.version + "): " + mdAdvice
		}
	}
	return ""
}

func explainTable(s store.Store) string {
	parts, err := Read(s)
	switch {
	case errors.Is(err, ErrNoTable):
		return ""
	case err != nil:
		return "a disk with a " + err.Error()
	case len(parts) == 0:
		return "a disk without partitions"
	}
	return fmt.Sprintf("a disk with partitions: choose one with --partition: %s", list(parts))
}

// allZero looks at the part in which every filesystem has its superblock.
func allZero(s store.Store) (bool, error) {
	b, err := readAt(s, 0, min(s.Size(), 68<<10))
	return err == nil && store.IsZero(b), err
}
