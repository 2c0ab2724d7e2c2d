// Package tree reads the files of an image by path, with the keys that are at
// hand: names, symlink targets and contents come out in clear where the key
// is there, and in the kernel's no-key form, or not at all, where it is not.
//
// It joins image and crypt and knows neither's formats. Offsets and sizes are
// bytes of a file.
package tree

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// maxCachedDirs is how many directories keep their cipher from one call to
// the next.
const maxCachedDirs = 32

// Tree reads one filesystem. It is for one goroutine; others make a Tree of
// their own on the same FS.
type Tree struct {
	fs   image.FS
	keys *crypt.Keyring
	vol  crypt.Volume
	bs   int // bytes of a block

	ready *crypt.Cache // of the keys of extents, made when needed

	bound  map[policy.Descriptor]*crypt.MasterKey // of v1 policies, see KeyFor
	dirs   map[image.Ino]*dirNames
	oldest []image.Ino // of dirs, in order of making
}

// New returns a reader of fs. keys may be nil: nothing is decrypted then.
func New(fs image.FS, keys *crypt.Keyring) *Tree {
	sb := fs.Super()
	return &Tree{
		fs: fs, keys: keys, bs: sb.BlockSize, dirs: make(map[image.Ino]*dirNames),
		bound: make(map[policy.Descriptor]*crypt.MasterKey),
		vol:   crypt.Volume{UUID: sb.UUID, BlockSize: sb.BlockSize},
	}
}

// Close wipes the derived keys that are cached.
func (t *Tree) Close() {
	for _, d := range t.dirs {
		d.close()
	}
	clear(t.dirs)
	if t.ready != nil {
		t.ready.Close()
	}
	t.oldest = nil
}

// FS returns the filesystem that the tree reads.
func (t *Tree) FS() image.FS { return t.fs }

// Node is an inode under one of its names.
type Node struct {
	Ino  image.Ino
	Type image.FileType

	// Name is the last component of Path: in clear, or in no-key form if Err
	// is not nil. It holds neither '/' nor NUL and is not empty, "." or ".."
	// unless Err says that the name is damaged, or the node is the root.
	Name []byte
	// Stored is the entry as it lies in the directory; its name is nil for
	// the root.
	Stored image.Dirent
	// Parent is the directory, 0 for the root.
	Parent image.Ino
	// Path is absolute in the filesystem.
	Path string
	// Err tells why the name is not in clear: it wraps crypt.ErrNoKey, or the
	// directory's context or the name is damaged.
	Err error
	// Unread is set in a node that Walk passes once more because its
	// directory could not be read, or not to its end: Err tells why.
	Unread bool
}

// Root returns the root directory.
func (t *Tree) Root() Node {
	return Node{Ino: t.fs.Root(), Type: image.TypeDirectory, Name: []byte("/"), Path: "/"}
}

// Attr returns the attributes of the node's inode. The size of an encrypted
// symlink is the length of what Readlink returns, as the kernel shows it: the
// inode tells that of the ciphertext.
func (t *Tree) Attr(n Node) (image.Attr, error) {
	a, err := t.fs.Stat(n.Ino)
	if err != nil || a.Type != image.TypeSymlink || !a.Encrypted {
		return a, n.wrap(err)
	}
	// What is wrong with a target is for Readlink to tell: the attributes are sound.
	if target, err := t.Readlink(n); err == nil || errors.Is(err, crypt.ErrNoKey) && target != nil {
		a.Size = int64(len(target))
	}
	return a, nil
}

// Context returns the stored context of the node's inode, nil if there is
// none. The inode's mark is not asked.
func (t *Tree) Context(n Node) (*policy.Context, error) {
	c, err := t.context(n.Ino)
	return c, n.wrap(err)
}

func (t *Tree) context(ino image.Ino) (*policy.Context, error) {
	raw, err := t.fs.Context(ino)
	if err != nil || raw == nil {
		return nil, err
	}
	c, err := policy.ParseContext(raw)
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// key returns the context of an encrypted inode and the key that opens it.
func (t *Tree) key(ino image.Ino) (policy.Context, *crypt.MasterKey, error) {
	c, err := t.context(ino)
	if err != nil {
		return policy.Context{}, nil, err
	}
	if c == nil {
		return policy.Context{}, nil, &image.CorruptError{What: "encryption context", Ino: ino,
			Why: "missing, though the inode is marked encrypted"}
	}
	k, err := t.KeyFor(c.Policy)
	return *c, k, err
}

// PathError is an error about one file of the image.
type PathError struct {
	Path string
	Ino  image.Ino // 0 if there is none
	Err  error
}

// Error names path and inode, and the inode only once.
func (e *PathError) Error() string {
	var corrupt *image.CorruptError
	if e.Ino == 0 || errors.As(e.Err, &corrupt) && corrupt.Ino == e.Ino {
		return fmt.Sprintf("%s: %v", Printable(e.Path), e.Err)
	}
	return fmt.Sprintf("%s: inode %d: %v", Printable(e.Path), e.Ino, e.Err)
}

func (e *PathError) Unwrap() error { return e.Err }

// wrap adds the node to an error that does not have it.
func (n Node) wrap(err error) error {
	var p *PathError
	if err == nil || errors.As(err, &p) {
		return err
	}
	return &PathError{Path: n.Path, Ino: n.Ino, Err: err}
}

// Printable returns a name or path for a message: control characters and
// bytes that are not UTF-8 as \xNN, since names are a stranger's data.
func Printable(name string) string {
	clean := true
	for _, r := range name {
		clean = clean && r != utf8.RuneError && !isControl(r)
	}
	if clean {
		return name
	}
	var b strings.Builder
	for len(name) > 0 {
		r, n := utf8.DecodeRuneInString(name)
		if r == utf8.RuneError && n == 1 || isControl(r) {
			for i := range n {
				fmt.Fprintf(&b, `\x%02x`, name[i])
			}
		} else {
			b.WriteString(name[:n])
		}
		name = name[n:]
	}
	return b.String()
}

// isControl covers C0, DEL and C1, and what reorders text in a terminal.
func isControl(r rune) bool {
	return r < 0x20 || 0x7f <= r && r < 0xa0 || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
}
