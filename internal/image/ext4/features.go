package ext4

import (
	"fmt"

	"fsenc/internal/image"
)

// settable are the features that SetFeatures changes, by name.
var settable = map[string]struct {
	off int
	bit uint32
}{
	"encrypt":       {offIncompat, incompatEncrypt},
	"stable_inodes": {offCompat, compatStableInodes},
	"ext_attr":      {offCompat, compatExtAttr},

	"encrypted_inline_data": {offIncompat, incompatEncInline},
}

// SetFeatures sets and clears features in the superblock and, so that no
// checker finds them different, in its backups.
func (fs *FS) SetFeatures(set, clear []string) error {
	words := map[int]uint32{}
	for _, off := range []int{offCompat, offIncompat} {
		words[off] = fs.sb.u32(off)
	}
	for _, name := range set {
		f, ok := settable[name]
		if !ok {
			return fmt.Errorf("%w: setting the feature %s", image.ErrUnsupported, name)
		}
		words[f.off] |= f.bit
	}
	for _, name := range clear {
		f, ok := settable[name]
		if !ok {
			return fmt.Errorf("%w: clearing the feature %s", image.ErrUnsupported, name)
		}
		words[f.off] &^= f.bit
	}
	if inline := words[offIncompat]; inline&incompatEncInline != 0 && inline&incompatInlineData == 0 {
		return fmt.Errorf("%w: encrypted_inline_data without inline_data", image.ErrUnsupported)
	}
	if words[offCompat] == fs.sb.u32(offCompat) && words[offIncompat] == fs.sb.u32(offIncompat) {
		return nil
	}
	return fs.setFeatureWords(words[offCompat], words[offIncompat])
}

// setFeatureWords puts the two words into the superblock, with what belongs to
// the encrypt feature, and stages the backups.
func (fs *FS) setFeatureWords(compat, incompat uint32) error {
	if incompat&incompatEncInline != 0 && incompat&incompatEncrypt == 0 {
		return fmt.Errorf("%w: encrypted_inline_data without encrypt", image.ErrUnsupported)
	}
	old := fs.sb.u32(offIncompat)
	fs.sb.set32(offCompat, compat)
	fs.sb.set32(offIncompat, incompat)
	switch {
	case incompat&^old&incompatEncrypt != 0:
		// As tune2fs does: AES-256-XTS and AES-256-CTS. Nothing reads it.
		fs.sb.set32(offEncryptAlgos, 0x0401)
	case old&^incompat&incompatEncrypt != 0:
		fs.sb.set32(offEncryptAlgos, 0)
	}
	fs.sb.setWtime(fs.now())
	for n := uint32(1); n < fs.geo.groups; n++ {
		if !fs.hasSuper(n) {
			continue
		}
		if err := fs.updateBackup(n); err != nil {
			return fmt.Errorf("backup superblock in group %d: %w", n, err)
		}
	}
	return nil
}

// Bits that the primary superblock has for itself.
const primaryOnly = incompatRecover | incompatUnfinished

// updateBackup gives the backup in group n the features of the primary, and
// leaves the rest of it alone. What does not look like a backup of this
// filesystem is not touched.
func (fs *FS) updateBackup(n uint32) error {
	off := int64(fs.geo.firstBlock(n)) * int64(fs.bs)
	b := &super{raw: make([]byte, superSize)}
	if err := fs.cache.Read(b.raw, off); err != nil {
		return err
	}
	if b.u16(offMagic) != superMagic || b.uuid() != fs.sb.uuid() {
		return nil
	}
	b.set32(offCompat, fs.sb.u32(offCompat))
	b.set32(offIncompat, fs.sb.u32(offIncompat)&^primaryOnly)
	b.set32(offEncryptAlgos, fs.sb.u32(offEncryptAlgos))
	b.set32(offWtime, fs.sb.u32(offWtime))
	b.raw[offWtimeHi] = fs.sb.raw[offWtimeHi]
	return fs.writeSuper(b.raw, off)
}

// SetUnfinished marks the image with id, or takes the mark away if id is zero.
// The mark is an incompat bit that nothing but fsenc knows, in the primary
// superblock only, so that a backup can still tell what the filesystem is. It
// is written when Flush is.
func (fs *FS) SetUnfinished(id [16]byte) error {
	incompat := fs.sb.u32(offIncompat) &^ incompatUnfinished
	if id != [16]byte{} {
		incompat |= incompatUnfinished
	}
	fs.sb.set32(offIncompat, incompat)
	fs.sb.setUnfinishedID(id)
	return nil
}

// Unfinished returns the id that the image is marked with, zero if it is not.
func (fs *FS) Unfinished() [16]byte {
	if !fs.sb.hasIncompat(incompatUnfinished) {
		return [16]byte{}
	}
	return fs.sb.unfinishedID()
}

// MarkOffset is where the 16 bytes of the id lie, in bytes from the start of
// the image.
func (fs *FS) MarkOffset() int64 { return superOffset + offUnfinishedID }
