package btrfsjudge

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"
)

func rawCRC(seed uint32, p []byte) uint64 {
	return uint64(^crc32.Update(^seed, crc32.MakeTable(crc32.Castagnoli), p))
}

// entry is one name of a directory.
type entry []byte

func (e entry) target() uint64    { return u64(e, 0) }
func (e entry) kind() byte        { return e[29] & 0x7f }
func (e entry) marked() bool      { return e[29]&0x80 != 0 }
func (e entry) name() []byte      { return e[30:][:u16(e, 27)] }
func (e entry) subvolume() bool   { return e[8] == 132 }
func (e entry) size() int         { return 30 + int(u16(e, 25)+u16(e, 27)) }
func (e entry) same(o entry) bool { return bytes.Equal(e, o) }

// readTree follows all paths of a tree.
func (j *judge) readTree(t *tree) {
	t.paths = make(map[string]File)
	j.Trees[t.id] = t.paths
	if _, ok := t.files[firstFree]; !ok {
		j.broken("tree %d has no root directory", t.id)
		return
	}
	t.paths["/"] = t.files[firstFree]
	j.dir(t, "", firstFree, 0)
	for ino := range t.files {
		j.links(t, ino)
	}
}

// dir reads a directory: every entry by index must be there by hash and in the
// references of its inode, with the mark that the directory's form asks for.
func (j *judge) dir(t *tree, path string, ino uint64, depth int) {
	n := j.inode(t, ino)
	hashed := j.hashed(n)
	size := uint64(0)
	for _, i := range t.items[ino] {
		if i.kind != 96 {
			continue
		}
		e := entry(i.data)
		size += 2 * u16(e, 27)
		stored := string(e.name())
		switch {
		case e.size() != len(e) || i.off < 2:
			j.broken("%v: entry %d of %d bytes", n, i.off, len(e))
		case !e.same(hashed[stored]):
			j.broken("%v: entry %d is %x, by hash it is %x", n, i.off, e, hashed[stored])
		case e.marked() != (n.context != nil):
			j.broken("%v: entry %d: type %#x", n, i.off, e[29])
		}
		delete(hashed, stored)
		name, err := j.plain(n, e.name())
		if err != nil {
			j.broken("%v: entry %d: name %x: %v", n, i.off, stored, err)
		}
		j.child(n, e, i.off, path+"/"+name, depth)
	}
	for name := range hashed {
		j.broken("%v: %x has no entry by index", n, name)
	}
	if n.size() != size {
		j.broken("%v: size %d, want %d", n, n.size(), size)
	}
}

// hashed are the entries of a directory that its hashes lead to, by name.
func (j *judge) hashed(n *inode) map[string]entry {
	all := make(map[string]entry)
	for _, i := range n.items[n.ino] {
		for b := i.data; i.kind == 84 && len(b) > 0; {
			e := entry(b[:entry(b).size()])
			b = b[len(e):]
			if hash := rawCRC(0xfffffffe, e.name()); hash != i.off {
				j.broken("%v: %x has hash %#x, want %#x", n, e.name(), i.off, hash)
			}
			all[string(e.name())] = e
		}
	}
	return all
}

// plain decrypts a name of a directory.
func (j *judge) plain(n *inode, stored []byte) (string, error) {
	if n.context == nil {
		return string(stored), nil
	}
	pad := 4 << n.context[3]
	if len(stored) < 16 || len(stored)%pad != 0 && len(stored) != 255 {
		return fmt.Sprintf("%x", stored), fmt.Errorf("%d bytes with padding to %d", len(stored), pad)
	}
	if n.master == nil {
		return fmt.Sprintf("%x", stored), nil
	}
	name, err := decryptName(n.context[2], n.master, n.context[24:], stored)
	if err == nil && (strings.Contains(name, "/") || name == "." || name == "..") {
		err = fmt.Errorf("it is %q", name)
	}
	return name, err
}

// child follows an entry.
func (j *judge) child(dir *inode, e entry, index uint64, path string, depth int) {
	t := dir.tree
	if e.subvolume() {
		j.subvolume(dir, e, index)
		t.paths[path] = File{Subvolume: e.target()}
		return
	}
	n := j.inode(t, e.target())
	if n == nil {
		j.broken("%v: entry %d leads to inode %d, which is none", dir, index, e.target())
		return
	}
	t.names[n.ino]++
	if !refers(n, dir.ino, index, e.name()) {
		j.broken("%v: does not refer to entry %d of inode %d", n, index, dir.ino)
	}
	kinds := map[uint64]byte{8: 1, 4: 2, 2: 3, 6: 4, 1: 5, 12: 6, 10: 7}
	if kinds[n.kind()] != e.kind() {
		j.broken("%v: mode %o, entry %d has type %d", n, n.mode(), index, e[29])
	}
	carries := e.kind() == 1 || e.kind() == 2 || e.kind() == 7
	if dir.context != nil && carries && !samePolicy(dir.context, n.context) {
		j.broken("%v: policy %x in a directory of %x", n, n.context, dir.context)
	}
	if _, ok := t.paths[path]; ok {
		j.broken("%v: %q is there twice", dir, path)
	}
	t.paths[path] = t.files[n.ino]
	if e.kind() == 2 {
		if depth > 100 || t.names[n.ino] > 1 {
			j.broken("%v: is a directory with %d names at depth %d", n, t.names[n.ino], depth)
			return
		}
		j.dir(t, path, n.ino, depth+1)
	}
}

// subvolume holds both references of a subvolume against its entry. The place
// of a snapshot's nested one has none.
func (j *judge) subvolume(dir *inode, e entry, index uint64) {
	key := [2]uint64{dir.id, e.target()}
	ref, back := j.refs[key], j.backs[key]
	if ref == nil && back == nil {
		return
	}
	want := make([]byte, 18, 18+len(e.name()))
	copy(want[16:], e[27:29])
	want = append(want, e.name()...)
	for i := range 8 {
		want[i], want[8+i] = byte(dir.ino>>(8*i)), byte(index>>(8*i))
	}
	if !bytes.Equal(ref, want) || !bytes.Equal(back, want) {
		j.broken("%v: entry %d of subvolume %d: references %x and %x, want %x", dir, index, e.target(), ref, back, want)
	}
}

// refers looks for a name among the references of an inode.
func refers(n *inode, dir, index uint64, name []byte) bool {
	for b := n.find(n.ino, 12, dir); len(b) > 0; b = b[10+u16(b, 8):] {
		if u64(b, 0) == index && bytes.Equal(b[10:10+u16(b, 8)], name) {
			return true
		}
	}
	for b := n.find(n.ino, 13, rawCRC(uint32(dir), name)); len(b) > 0; b = b[18+u16(b, 16):] {
		if u64(b, 0) == dir && u64(b, 8) == index && bytes.Equal(b[18:18+u16(b, 16)], name) {
			return true
		}
	}
	return false
}

// links counts the references of an inode, which lead to as many entries. Those
// that no name has are orphans.
func (j *judge) links(t *tree, ino uint64) {
	refs := 0
	for _, i := range t.items[ino] {
		switch i.kind {
		case 12:
			for b := i.data; len(b) > 0; b = b[10+u16(b, 8):] {
				refs++
			}
		case 13:
			for b := i.data; len(b) > 0; b = b[18+u16(b, 16):] {
				refs++
			}
		}
	}
	if ino == firstFree {
		if ref := t.find(ino, 12, ino); string(ref[8:]) != "\x02\x00.." {
			j.broken("tree %d: its root directory refers to %q", t.id, ref)
		}
		return
	}
	f := t.files[ino]
	if names := t.names[ino]; refs != names || f.Links != uint64(names) {
		j.broken("tree %d, inode %d: %d references, %d links, %d entries", t.id, ino, refs, f.Links, names)
	}
}
