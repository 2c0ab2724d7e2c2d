package btrfsjudge

import (
	"bytes"
	"fmt"
	"slices"
)

// find returns the data of an item of an object, nil if there is none.
func (t *tree) find(obj uint64, kind byte, off uint64) []byte {
	i, ok := slices.BinarySearchFunc(t.items[obj], item{obj: obj, kind: kind, off: off}, compareKeys)
	if !ok {
		return nil
	}
	return t.items[obj][i].data
}

// inode is one inode with what its items say about encryption.
type inode struct {
	*tree
	ino     uint64
	head    []byte // INODE_ITEM
	context []byte // item 41
	master  []byte // nil if it is not given, or the mode is not one of ours
}

func (n *inode) mode() uint64   { return u32(n.head, 52) }
func (n *inode) size() uint64   { return u64(n.head, 16) }
func (n *inode) bytes() uint64  { return u64(n.head, 24) }
func (n *inode) flags() uint64  { return u64(n.head, 64) }
func (n *inode) String() string { return fmt.Sprintf("tree %d, inode %d", n.id, n.ino) }

// Types of inodes, as modes have them.
const (
	typeDir     = 4
	typeRegular = 8
	typeLink    = 10
)

func (n *inode) kind() uint64 { return n.mode() >> 12 }

const flagEncrypt = 0x1000

var modePairs = [][2]byte{{aes256XTS, aes256CTS}, {aes128CBC, aes128CTS}, {9, 9}, {aes256XTS, 10}, {7, 8}}

// readInodes reads each inode of a tree, whether a path leads there or not.
func (j *judge) readInodes(t *tree) {
	nonces := make(map[string]uint64)
	for obj, items := range t.items {
		if obj < firstFree || obj > 1<<63 {
			continue // orphans and their like
		}
		n := j.inode(t, obj)
		if n == nil {
			j.broken("tree %d, object %d: items but no inode", t.id, obj)
			continue
		}
		for _, i := range items {
			if i.kind == 41 && i.off != 0 || (i.kind == 36 || i.kind == 37) && n.context != nil {
				j.broken("%v: item %d at %d", n, i.kind, i.off)
			}
		}
		if n.context != nil {
			j.marked = true
			if other, ok := nonces[string(n.context[24:])]; ok {
				j.broken("%v: has the nonce of inode %d", n, other)
			}
			nonces[string(n.context[24:])] = obj
		}
		t.files[obj] = j.file(n)
	}
}

// inode reads an inode's own items and holds its context against the rules.
func (j *judge) inode(t *tree, ino uint64) *inode {
	n := &inode{tree: t, ino: ino, head: t.find(ino, 1, 0)}
	if len(n.head) != 160 {
		return nil
	}
	c := t.find(ino, 41, 0)
	if (n.flags()&flagEncrypt != 0) != (c != nil) {
		j.broken("%v: flags %#x, context %x", n, n.flags(), c)
	}
	if c == nil {
		return n
	}
	if len(c) != 40 || c[0] != 2 || c[3]&^3 != 0 || c[4]|c[5]|c[6]|c[7] != 0 || !slices.Contains(modePairs, [2]byte{c[1], c[2]}) {
		j.broken("%v: context %x", n, c)
		return n
	}
	if k := n.kind(); k != typeDir && k != typeRegular && k != typeLink {
		j.broken("%v: mode %o with a context", n, n.mode())
	}
	n.context = c
	n.master = j.masters[string(c[8:24])]
	if c[1] != aes256XTS && c[1] != aes128CBC || c[2] != aes256CTS && c[2] != aes128CTS {
		n.master = nil
	}
	if n.master == nil {
		j.Unread++
	}
	return n
}

// file reads what an inode holds.
func (j *judge) file(n *inode) File {
	f := File{
		Ino: n.ino, Mode: n.mode(), Links: u32(n.head, 40), UID: u32(n.head, 44), GID: u32(n.head, 48), Size: n.size(),
		Encrypted: n.context != nil, Flags: n.flags(),
	}
	switch n.kind() {
	case typeRegular:
		j.contents(n, &f)
	case typeLink:
		if err := j.link(n, &f); err != nil {
			j.broken("%v: symlink: %v", n, err)
		}
	}
	return f
}

// link reads a target: le16 of its length and ciphertext with the key of the
// symlink, and no mark of encryption at its extent.
func (j *judge) link(n *inode, f *File) error {
	e := n.find(n.ino, 108, 0)
	if len(e) < 22 || e[20] != 0 || e[17] != 0 || e[16] != 0 {
		return fmt.Errorf("item %x", e)
	}
	data := e[21:]
	if size := uint64(len(data)); u64(e, 8) != size || n.size() != size || n.bytes() != size {
		return fmt.Errorf("%d bytes: size %d, bytes %d, unpacked %d", size, n.size(), n.bytes(), u64(e, 8))
	}
	f.Target = string(data)
	if n.context == nil {
		return nil
	}
	length := u16(data, 0)
	longest := min(j.ns-101-25-21, j.ss) - 2 // with the length before it
	if pad := uint64(4) << n.context[3]; length+2 != uint64(len(data)) || length < 16 || length > longest || length%pad != 0 && length != longest {
		return fmt.Errorf("%d bytes hold %d", len(data), length)
	}
	f.Target = ""
	if n.master == nil {
		return nil
	}
	target, err := decryptName(n.context[2], n.master, n.context[24:], data[2:])
	f.Target, f.Size = target, uint64(len(target))
	return err
}

// samePolicy compares two contexts but for their nonces.
func samePolicy(a, b []byte) bool { return len(a) == 40 && len(b) == 40 && bytes.Equal(a[:24], b[:24]) }
