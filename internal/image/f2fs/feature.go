package f2fs

import (
	"fmt"
	"slices"

	"fsenc/internal/image"
)

var settable = []uint32{featEncrypt, featInlineEncrypt}

// SetFeatures sets and clears features in both superblocks.
func (fs *FS) SetFeatures(set, clear []string) error {
	word := fs.sb.u32(offFeature)
	for _, name := range set {
		bit, err := featureBit(name)
		if err != nil {
			return err
		}
		word |= bit
	}
	for _, name := range clear {
		bit, err := featureBit(name)
		if err != nil {
			return err
		}
		word &^= bit
	}
	if word != fs.sb.u32(offFeature) {
		fs.sb.set32(offFeature, word)
		fs.superDirty = true
	}
	return nil
}

func featureBit(name string) (uint32, error) {
	for _, f := range featureNames {
		if f.name == name && slices.Contains(settable, f.bit) {
			return f.bit, nil
		}
	}
	return 0, fmt.Errorf("%w: changing the feature %s", image.ErrUnsupported, name)
}

// SetUnfinished marks both superblocks with id, or takes the mark away if id is
// zero. A checkpoint goes with that, for what tells an image that has been mounted
// since from one that has not is the pack that the kernel writes to. The mark and
// the checksum lie in one sector, so that it can be changed alone.
func (fs *FS) SetUnfinished(id [16]byte) error {
	was := fs.sb.marked()
	fs.sb.set32(offLogSegment, markedLogSegment)
	if id == ([16]byte{}) {
		fs.sb.set32(offLogSegment, logSegment)
	}
	copy(fs.sb.raw[offMarkID:], id[:])
	fs.superDirty = true
	fs.renew = fs.renew || was != fs.sb.marked()
	return nil
}

// Settle implements image.Versioned.
func (fs *FS) Settle() error {
	fs.renew, fs.twin = true, true
	return nil
}

// Unfinished returns the id that the image is marked with, zero if it is not.
func (fs *FS) Unfinished() [16]byte {
	if !fs.sb.marked() {
		return [16]byte{}
	}
	return [16]byte(fs.sb.raw[offMarkID:])
}

// MarkOffset is where the 16 bytes of the id lie in the first superblock.
func (fs *FS) MarkOffset() int64 { return superOffset + offMarkID }
