package btrfsjudge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// File is what the judge sees of an inode by one of its paths.
type File struct {
	Ino         uint64
	Mode, Links uint64
	UID, GID    uint64
	Size        uint64 // of a symlink, that of its target
	SHA256      string // of regular files; empty if they cannot be read
	Target      string // of symlinks
	Encrypted   bool
	Flags       uint64
	Disk        []uint64 // where its extents start
	Subvolume   uint64   // that the entry leads to
}

// Verdict is what the judge says of an image.
type Verdict struct {
	// Trees are the files of each subvolume by its id, by their paths from its
	// root, which is "/".
	Trees map[uint64]map[string]File
	// Broken are the rules of the format that do not hold.
	Broken []string
	// Tails are encrypted files with something behind their end, in the last
	// sector. The kernel leaves that in snapshots of files that it cuts short.
	Tails []string
	// Unread counts inodes whose names or contents are in other modes than the
	// judge has, or whose key is not given.
	Unread int
}

// All are the files of the image by the paths that they have where all is
// mounted.
func (v *Verdict) All() map[string]File {
	all := make(map[string]File)
	v.under(all, "", topLevel, 0)
	return all
}

func (v *Verdict) under(all map[string]File, path string, id uint64, depth int) {
	for p, f := range v.Trees[id] {
		if f.Subvolume != 0 && depth < 16 {
			v.under(all, path+p, f.Subvolume, depth+1)
			continue
		}
		if p == "/" && path != "" {
			p = ""
		}
		all[path+p] = f
	}
}

// judge reads an image.
type judge struct {
	*image
	*Verdict
	masters map[string][]byte // by identifier
	trees   map[uint64]*tree
	refs    map[[2]uint64][]byte // ROOT_REF by parent and child
	backs   map[[2]uint64][]byte // ROOT_BACKREF
	sums    map[uint64][]byte    // by sector
	extents map[uint64]*shared   // by logical address
	nonces  map[string]uint64    // of extents: where the first lies
	marked  bool                 // something is encrypted
}

// tree is a file tree.
type tree struct {
	id    uint64
	items map[uint64][]item // by object
	files map[uint64]File   // by inode
	names map[uint64]int    // entries that lead to an inode
	paths map[string]File
}

func (j *judge) broken(format string, args ...any) {
	if len(j.Broken) < 200 {
		j.Broken = append(j.Broken, fmt.Sprintf(format, args...))
	}
}

// Judge reads all files of an image with some master keys. An image that cannot
// be walked is an error.
func Judge(masters [][]byte, devices ...[]byte) (v *Verdict, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("items do not hold what they should: %v", e)
		}
	}()
	m, err := open(devices...)
	if err != nil {
		return nil, err
	}
	j := &judge{
		image: m, Verdict: &Verdict{Trees: make(map[uint64]map[string]File)},
		masters: make(map[string][]byte), trees: make(map[uint64]*tree),
		refs: make(map[[2]uint64][]byte), backs: make(map[[2]uint64][]byte),
		sums: make(map[uint64][]byte), extents: make(map[uint64]*shared), nonces: make(map[string]uint64),
	}
	for _, k := range masters {
		j.masters[string(derive(k, forIdentifier, nil, 16))] = k
	}
	if err := j.load(); err != nil {
		return nil, err
	}
	ids := slices.Sorted(maps.Keys(j.trees))
	for _, id := range ids {
		j.readInodes(j.trees[id])
	}
	for _, id := range ids {
		j.readTree(j.trees[id])
	}
	switch {
	case j.marked && m.features&encrypts == 0:
		j.broken("superblock: something is encrypted, incompat features are %#x", m.features)
	case m.features&unfinished != 0:
		j.broken("superblock: a conversion is not finished")
	}
	return j.Verdict, nil
}

// load reads all trees that matter into memory.
func (j *judge) load() error {
	sb := j.first
	roots := make(map[uint64]block)
	err := j.walk(block{u64(sb, 80), int(sb[198]), u64(sb, 72)}, rootTree, nil, func(i item) error {
		switch {
		case i.kind == 132:
			roots[i.obj] = root(i.data)
		case i.kind == 156:
			j.refs[[2]uint64{i.obj, i.off}] = i.data
		case i.kind == 144:
			j.backs[[2]uint64{i.off, i.obj}] = i.data
		}
		return nil
	})
	for id, at := range roots {
		switch {
		case err != nil:
			return err
		case id == sumTree:
			err = j.walk(at, id, nil, j.addSums)
		case isFileTree(id):
			t := &tree{id: id, items: make(map[uint64][]item), files: make(map[uint64]File), names: make(map[uint64]int)}
			j.trees[id] = t
			err = j.walk(at, id, nil, func(i item) error {
				t.items[i.obj] = append(t.items[i.obj], i)
				return nil
			})
		default:
			err = j.walk(at, id, nil, func(item) error { return nil })
		}
	}
	return err
}

func (j *judge) addSums(i item) error {
	size := len(j.sum(nil))
	if len(i.data)%size != 0 || i.off%j.ss != 0 {
		return fmt.Errorf("checksums at %d: %d bytes", i.off, len(i.data))
	}
	for n := 0; n < len(i.data); n += size {
		at := i.off + uint64(n/size)*j.ss
		if j.sums[at] != nil {
			return fmt.Errorf("sector %d has two checksums", at)
		}
		j.sums[at] = i.data[n : n+size]
	}
	return nil
}

// Files reads the files of one subvolume of an image that breaks no rule.
func Files(b []byte, subvolume uint64, master []byte) (map[string]File, error) {
	v, err := Judge([][]byte{master}, b)
	if err != nil {
		return nil, err
	}
	if len(v.Broken) > 0 {
		return nil, errors.New(strings.Join(v.Broken, "\n"))
	}
	if v.Trees[subvolume] == nil {
		return nil, fmt.Errorf("no subvolume %d", subvolume)
	}
	return v.Trees[subvolume], nil
}
