package fsck

import (
	"bytes"
	"fmt"

	"fsenc/internal/feature"
	"fsenc/internal/image"
)

// inline checks encrypted contents inside of an inode: that they are whole cipher
// blocks, that mounts of any kind can read them and, with the key, that the
// padding is zero.
func (x *examiner) inline(s *subject) error {
	x.out.res.Inline++
	stored, err := x.fs.Inline(s.attr.Ino)
	if err != nil {
		return x.unreadable(s, "inline-damaged", err)
	}
	if want := image.StoredInline(s.attr.Size); s.attr.Size < 0 || int64(len(stored)) != want {
		x.report(s, "inline-length", restore, "%d bytes inside of the inode (%s), a size of %d has %d",
			len(stored), x.super.Inline, s.attr.Size, want)
		return nil
	}
	if s.context == nil || len(stored) == 0 {
		return nil
	}
	if n := feature.InlineLimit(x.super, s.context.Policy); len(stored) > n {
		x.report(s, "inline-length", restore, "%d bytes inside of the inode, %s has %d at most", len(stored), x.super.Inline, n)
	}
	if !feature.KeepsInline(x.super, s.context.Policy) {
		x.found(image.Finding{ID: "inline-policy", Severity: image.Info, Ino: s.attr.Ino,
			Text:   fmt.Sprintf("encrypted inside of the inode (%s) with a policy that only mounts without inlinecrypt read there", x.super.Inline),
			Advice: "rekey with --iv-ino-lblk-64, or write the file anew"})
	}
	if s.key == nil {
		return nil
	}
	cipher, err := s.key.Inline(*s.context, uint64(s.attr.Ino), x.vol)
	if err != nil {
		return x.unreadable(s, "key-unusable", err)
	}
	defer cipher.Close()
	cipher.DecryptInline(stored)
	defer clear(stored)
	if len(bytes.TrimLeft(stored[s.attr.Size:], "\x00")) > 0 {
		x.report(s, "inline-padding", "write the file anew; the key may be the wrong one",
			"the padding of the contents inside of the inode (%s) is not all zeros", x.super.Inline)
	}
	return nil
}
