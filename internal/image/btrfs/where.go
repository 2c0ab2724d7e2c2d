package btrfs

import (
	"bytes"
	"errors"
	"fmt"

	"fsenc/internal/image"
)

// maxDepth bounds the way up from a file, which a damaged image may bend to a
// circle.
const maxDepth = 4096

var errFirst = errors.New("the first is enough")

// Where implements image.Sharing. Names are quoted where they hold what a
// terminal takes for more than text.
func (fs *FS) Where(ino image.Ino) (string, error) {
	id, obj := split(ino)
	t, err := fs.treeOf(id)
	if err != nil {
		return "", err
	}
	path := ""
	for range maxDepth {
		if obj == firstFree && t.id == treeFS {
			return quotePath(path), nil
		}
		from := t.id
		parent, name, err := fs.above(&t, obj)
		if err != nil {
			return "", err
		}
		if name == nil {
			where := fmt.Sprintf("inode %d of subvolume %d", obj, from)
			if path != "" {
				where = quotePath("..."+path) + " below " + where
			}
			return where, nil
		}
		obj, path = parent, "/"+string(name)+path
	}
	return "", fs.itemError(t, key{obj, keyInodeRef, 0}, "is deeper than %d directories", maxDepth)
}

// above finds the directory of an object and its name there, nil if it has none
// or is encrypted. From the root of a subvolume it goes on in another tree.
func (fs *FS) above(t **tree, obj uint64) (parent uint64, name []byte, err error) {
	if obj == firstFree {
		err = fs.each(fs.trees[treeRoot], key{(*t).id, keyRootBackref, 0}, func(k key, b []byte) (bool, error) {
			if k.obj != (*t).id || k.kind != keyRootBackref {
				return false, nil
			}
			r, err := fs.parseRootRef(k, b)
			if err == nil {
				parent, name = r.dir, bytes.Clone(r.name)
				*t, err = fs.treeOf(k.off)
			}
			return false, err
		})
	} else {
		err = fs.eachRef(*t, obj, func(_ key, dir, _ uint64, n []byte) error {
			parent, name = dir, bytes.Clone(n)
			return errFirst
		})
		if errors.Is(err, errFirst) {
			err = nil
		}
	}
	if err != nil || name == nil {
		return 0, nil, err
	}
	r, err := fs.inode(*t, parent)
	if err == nil && r.flag(inoEncrypt) {
		name = nil
	}
	return parent, name, err
}

func quotePath(p string) string {
	if p == "" {
		return "/"
	}
	if q := fmt.Sprintf("%q", p); q != `"`+p+`"` {
		return q
	}
	return p
}
