package image

import "fmt"

// StoredInline is how many bytes of ciphertext stand for size bytes of contents
// inside of an inode: whole cipher blocks.
func StoredInline[T int64 | uint64](size T) T { return (size + 15) &^ 15 }

// InlineCipher reads encrypted contents from an inode: as many bytes as its size
// asks for.
func InlineCipher(fs FS, a Attr) ([]byte, error) {
	b, err := fs.Inline(a.Ino)
	if err != nil {
		return nil, err
	}
	if want := StoredInline(a.Size); a.Size < 0 || int64(len(b)) != want {
		return nil, &CorruptError{What: "inline data", Ino: a.Ino, Why: fmt.Sprintf("%d bytes, a size of %d has %d", len(b), a.Size, want)}
	}
	return b, nil
}
