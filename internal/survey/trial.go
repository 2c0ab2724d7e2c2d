package survey

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// maxTried bounds how many names and files of a directory a trial looks at.
const maxTried = 256

// proof is how many known bits have to come out right for a key to be proven.
const proof = 32

// Trial is what came of trying a key on a directory. Padding is known
// plaintext: behind a name and behind the end of a file there are zeros. Names
// that are text speak for a key too, a bit for each byte, which is less than
// what random bytes would have to be lucky for.
type Trial struct {
	Names    int // decoded, all padding being zeros
	BadNames int
	Tails    int // last blocks of files decoded, zeros behind the end
	BadTails int
	bits     int // of plaintext that came out as expected
}

// Proven reports whether the key is certainly the right one.
func (t Trial) Proven() bool { return t.bits >= proof && t.BadNames == 0 && t.BadTails == 0 }

// Wrong reports whether the key is certainly not the right one.
func (t Trial) Wrong() bool { return t.BadNames+t.BadTails > 0 && t.bits < proof }

// Empty reports whether there was nothing to try the key on.
func (t Trial) Empty() bool { return t.Names+t.BadNames+t.Tails+t.BadTails == 0 }

// Add adds up two trials of one key.
func (t *Trial) Add(o Trial) {
	t.Names += o.Names
	t.BadNames += o.BadNames
	t.Tails += o.Tails
	t.BadTails += o.BadTails
	t.bits += o.bits
}

// trying is a trial under way.
type trying struct {
	fs   image.FS
	key  *crypt.MasterKey
	vol  crypt.Volume
	left int // names yet to be looked at
	res  Trial
}

// Try decodes names of an encrypted directory, and last blocks of files in it,
// with a key, and goes on with the directories below until the key is proven
// or enough has been seen. A key that cannot be used at all, too short or not
// the one that the policy names, is an error.
func Try(fs image.FS, key *crypt.MasterKey, dir image.Ino) (Trial, error) {
	sb := fs.Super()
	t := &trying{fs: fs, key: key, vol: crypt.Volume{UUID: sb.UUID, BlockSize: sb.BlockSize}, left: maxTried}
	c, err := contextOf(fs, dir)
	if err != nil {
		return Trial{}, err
	}
	below, err := t.dir(c, dir)
	for len(below) > 0 && err == nil && t.left > 0 && !t.res.Proven() && !t.res.Wrong() {
		next := below[0]
		below = below[1:]
		var more []image.Ino
		more, err = t.child(c.Policy, next)
		below = append(below, more...)
	}
	return t.res, err
}

// child tries a directory below. A damaged one says nothing about the key.
func (t *trying) child(p policy.Policy, dir image.Ino) ([]image.Ino, error) {
	c, err := contextOf(t.fs, dir)
	if err != nil || c.Policy != p {
		return nil, ignoreDamage(err)
	}
	below, err := t.dir(c, dir)
	return below, ignoreDamage(err)
}

// dir tries one directory and returns those in it.
func (t *trying) dir(c policy.Context, dir image.Ino) (below []image.Ino, err error) {
	names, err := t.key.Names(c, uint64(dir), t.vol)
	if err != nil {
		return nil, err
	}
	defer names.Close()
	err = t.fs.ReadDir(dir, func(e image.Dirent) error {
		t.name(names, e.Name)
		switch e.Type {
		case image.TypeRegular:
			if err := t.tail(c.Policy, e.Ino); err != nil {
				return err
			}
		case image.TypeDirectory:
			below = append(below, e.Ino)
		}
		if t.left--; t.left <= 0 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return below, err
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// contextOf reads the context of an encrypted inode.
func contextOf(fs image.FS, ino image.Ino) (policy.Context, error) {
	raw, err := fs.Context(ino)
	if err != nil {
		return policy.Context{}, err
	}
	if raw == nil {
		return policy.Context{}, fmt.Errorf("inode %d has no encryption context", ino)
	}
	c, err := policy.ParseContext(raw)
	if err != nil {
		return c, fmt.Errorf("inode %d: %w", ino, err)
	}
	return c, nil
}

func (t *trying) name(names *crypt.Names, stored []byte) {
	plain, err := names.CheckName(nil, stored)
	if err != nil {
		t.res.BadNames++
		return
	}
	t.res.Names++
	t.res.bits += 8 * (len(stored) - len(plain))
	if isText(plain) {
		t.res.bits += len(plain)
	}
}

// isText reports whether a name is printable UTF-8.
func isText(name []byte) bool {
	if !utf8.Valid(name) {
		return false
	}
	for _, r := range string(name) {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// tail decodes the last block of a file if it has bytes behind the end.
// A damaged file says nothing about the key.
func (t *trying) tail(dir policy.Policy, ino image.Ino) error {
	attr, err := t.fs.Stat(ino)
	bs := int64(t.vol.BlockSize)
	if err != nil || !attr.Encrypted || attr.Inline || attr.Size <= 0 || attr.Size%bs == 0 {
		return ignoreDamage(err)
	}
	c, err := contextOf(t.fs, ino)
	if err != nil || c.Policy != dir {
		return ignoreDamage(err)
	}
	last := image.Lblk(attr.Size / bs)
	extents, err := t.fs.DataExtents(ino)
	if err != nil {
		return ignoreDamage(err)
	}
	for _, e := range extents {
		if last >= e.Lblk && uint64(last-e.Lblk) < e.Len && e.Context == "" {
			return t.block(c, ino, last, e.Pblk+image.Pblk(last-e.Lblk), int(attr.Size%bs))
		}
	}
	return nil
}

func ignoreDamage(err error) error {
	if errors.Is(err, image.ErrCorrupt) || errors.Is(err, image.ErrNotExist) || errors.Is(err, policy.ErrContext) {
		return nil
	}
	return err
}

// block decodes one block and looks at the bytes from end on.
func (t *trying) block(c policy.Context, ino image.Ino, lblk image.Lblk, at image.Pblk, end int) error {
	cipher, err := t.key.Contents(c, uint64(ino), t.vol)
	if err != nil {
		return err
	}
	defer cipher.Close()
	b := make([]byte, t.vol.BlockSize)
	defer clear(b)
	if err := t.fs.ReadBlocks(b, at); err != nil {
		return err
	}
	cipher.DecryptBlocks(b, b, uint64(lblk))
	for _, x := range b[end:] {
		if x != 0 {
			t.res.BadTails++
			return nil
		}
	}
	t.res.Tails++
	t.res.bits += 8 * (len(b) - end)
	return nil
}
