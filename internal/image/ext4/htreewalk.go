package ext4

import (
	"bytes"
	"errors"
	"fmt"

	"fsenc/internal/image"
)

// readIndex reads an index block and checks its checksum; check returns its
// table, which lies at off.
func (d *directory) readIndex(l uint32, buf []byte, off int, check func() error) error {
	if err := d.fs.readBlock(d.pblk(l), buf); err != nil {
		return err
	}
	if err := check(); err != nil {
		return d.fs.corrupt("directory index", d.in.ino, d.pblk(l), "%v", err)
	}
	if !d.form.tail {
		return nil
	}
	got, want := le.Uint32(dxStoredChecksum(buf, off)), dxChecksum(d.seed, buf, off)
	if got != want {
		return d.fs.corrupt("directory index", d.in.ino, d.pblk(l), "checksum %#08x, want %#08x", got, want)
	}
	return nil
}

func (d *directory) readRoot(buf []byte) (r dxRoot, err error) {
	err = d.readIndex(0, buf, offDxRootSlots, func() error {
		r, err = d.form.parseDxRoot(buf, d.fs.sb.hasIncompat(incompatLargeDir))
		return err
	})
	return r, err
}

func (d *directory) readNode(l uint32, buf []byte) (t dxTable, err error) {
	err = d.readIndex(l, buf, offDxNodeSlots, func() error {
		t, err = d.form.parseDxNode(buf)
		return err
	})
	return t, err
}

// errVisited: two slots name one block, or one that the directory lacks.
var errVisited = errors.New("block out of range or in the index twice")

// visits marks the blocks that a walk has seen, so that no index, however
// made, is walked in more steps than the directory has blocks.
type visits struct {
	seen []bool
	left int // blocks not seen
}

func (d *directory) newVisits() *visits {
	v := &visits{seen: make([]bool, d.blocks), left: int(d.blocks) - 1}
	v.seen[0] = true
	return v
}

func (v *visits) mark(l uint32) error {
	if int64(l) >= int64(len(v.seen)) || v.seen[l] {
		return fmt.Errorf("lblk %d: %w", l, errVisited)
	}
	v.seen[l] = true
	v.left--
	return nil
}

// index is the whole index of a directory in memory.
type index struct {
	version uint8
	root    *indexNode
	nodes   map[uint32]bool // the blocks that are nodes
}

// indexNode is the table of the root or of a node with what is below it.
type indexNode struct {
	table    dxTable
	children []*indexNode // nil where the slots lead to leaves
}

// readWholeIndex walks the index. Each block of the directory must be in it
// once: the kernel would not find what another holds.
func (d *directory) readWholeIndex() (*index, error) {
	v := d.newVisits()
	r, err := d.readRoot(make([]byte, d.fs.bs))
	if err != nil {
		return nil, err
	}
	x := &index{version: r.version, nodes: make(map[uint32]bool)}
	if x.root, err = d.readBelow(r.table, r.levels, v, x.nodes); err != nil {
		return nil, err
	}
	if v.left > 0 {
		return nil, d.fs.corrupt("directory index", d.in.ino, 0, "%d blocks are not in it", v.left)
	}
	return x, nil
}

// readBelow reads what the slots of a table lead to, unless that are leaves.
func (d *directory) readBelow(t dxTable, levels int, v *visits, nodes map[uint32]bool) (*indexNode, error) {
	n := &indexNode{table: bytes.Clone(t[:t.count()*dxSlotLen])}
	buf := make([]byte, d.fs.bs)
	for i := range t.count() {
		l := t.slot(i).block
		if err := v.mark(l); err != nil {
			return nil, d.fs.corrupt("directory index", d.in.ino, 0, "%v", err)
		}
		if levels == 0 {
			continue
		}
		nodes[l] = true
		table, err := d.readNode(l, buf)
		if err != nil {
			return nil, err
		}
		child, err := d.readBelow(table, levels-1, v, nodes)
		if err != nil {
			return nil, err
		}
		n.children = append(n.children, child)
	}
	return n, nil
}

// leads reports whether a lookup of a name with the hash comes to leaf l. It
// goes the way of descend.
func (n *indexNode) leads(hash, l uint32) bool {
	for i := n.table.find(hash); i < n.table.count(); i++ {
		s := n.table.slot(i)
		if s.hash > hash && s.hash != hash|1 {
			return false
		}
		if n.children == nil && s.block == l || n.children != nil && n.children[i].leads(hash, l) {
			return true
		}
	}
	return false
}

// errStop ends a walk early, without being an error of it.
var errStop = errors.New("stop")

// leavesFor calls f for each leaf that may hold names with the hash: the one
// whose range it falls in and those that continue it.
func (d *directory) leavesFor(r dxRoot, hash uint32, f func(l uint32) error) error {
	return d.descend(r.table, r.levels, hash, d.newVisits(), f)
}

func (d *directory) descend(t dxTable, levels int, hash uint32, v *visits, f func(l uint32) error) error {
	for i := t.find(hash); i < t.count(); i++ {
		s := t.slot(i)
		if s.hash > hash && s.hash != hash|1 {
			return nil
		}
		if err := v.mark(s.block); err != nil {
			return d.fs.corrupt("directory index", d.in.ino, 0, "%v", err)
		}
		if levels == 0 {
			if err := f(s.block); err != nil {
				return err
			}
			continue
		}
		child, err := d.readNode(s.block, make([]byte, d.fs.bs))
		if err != nil {
			return err
		}
		if err := d.descend(child, levels-1, hash, v, f); err != nil {
			return err
		}
	}
	return nil
}

// found is where Lookup met a name.
type found struct {
	image.Dirent
	block uint32 // lblk of the leaf
}

// lookup finds the stored name, through the index where that helps.
func (d *directory) lookup(name []byte) (found, error) {
	hit := found{}
	buf := make([]byte, d.fs.bs)
	var es []dirEntry
	scan := func(l uint32) error {
		var err error
		if es, err = d.readLeaf(es[:0], l, buf); err != nil {
			return err
		}
		for _, e := range es {
			if string(e.Name) == string(name) && !e.isDot() {
				hit = found{e.Dirent, l}
				return errStop
			}
		}
		return nil
	}
	err := d.searchBlocks(name, scan)
	if errors.Is(err, errStop) {
		return hit, nil
	}
	if err == nil {
		err = image.ErrNotExist
	}
	return found{}, err
}

// searchBlocks calls scan for the leaves where name may be. The hash of an
// encrypted name in a casefolded directory needs the key, which this package
// has not: then it may be in all of them.
func (d *directory) searchBlocks(name []byte, scan func(l uint32) error) error {
	if !d.indexed() || d.form.hashed {
		x, err := d.wholeIndex()
		if err != nil {
			return err
		}
		return d.leafBlocks(x, scan)
	}
	r, err := d.readRoot(make([]byte, d.fs.bs))
	if err != nil {
		return err
	}
	return d.leavesFor(r, d.hashOf(r.version, name), scan)
}

// hashOf is the hash of a stored name in an index of the given version. The
// form must not be hashed.
func (d *directory) hashOf(version uint8, name []byte) uint32 {
	folds := d.in.raw.hasFlag(flCasefold)
	hash, _ := indexHash(d.form, d.fs.dirHash(version), folds, image.Dirent{Name: name})
	return hash
}

// Lookup finds one stored name, image.ErrNotExist if there is none.
func (fs *FS) Lookup(dir image.Ino, name []byte) (image.Dirent, error) {
	in, err := fs.dirInode(dir)
	if err != nil {
		return image.Dirent{}, err
	}
	if in.raw.hasFlag(flInlineData) {
		return fs.lookupInline(in, name)
	}
	d, err := fs.openDir(in)
	if err != nil {
		return image.Dirent{}, err
	}
	hit, err := d.lookup(name)
	if err != nil {
		return image.Dirent{}, err
	}
	var x *index
	if d.indexed() {
		r, err := d.readRoot(make([]byte, fs.bs))
		if err != nil {
			return image.Dirent{}, err
		}
		x = &index{version: r.version}
	}
	return fs.withType(d.noKeyHash(x).complete(hit.Dirent)), nil
}
