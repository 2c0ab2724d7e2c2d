package f2fs

import (
	"fmt"

	"fsenc/internal/image"
)

// clearExtent forgets the cached extent of an inode whose blocks have changed.
func (in *inode) clearExtent() { clear(in.raw[offExtCache:][:12]) }

// place puts a block of an inode, which is being edited, at lblk: where there
// was one before it is freed, and nodes are made where there are none.
func (fs *FS) place(in *inode, lblk uint64, b []byte, log int) error {
	p, ok := fs.shape(in).pathTo(lblk)
	if !ok {
		return fmt.Errorf("%w: lblk %d of inode %d", image.ErrUnsupported, lblk, in.ino)
	}
	block, nid, off := in.raw, uint32(in.ino), in.addrOff(p.slot)
	for step := range p.depth {
		at := block[p.numberOff(step):]
		var err error
		if nid = le.Uint32(at); nid == 0 {
			nid, block, err = fs.addNode(in, &p, step)
			le.PutUint32(at, nid)
		} else if block, err = fs.childNode(in.ino, nid, p.ofs[step]); err == nil {
			fs.edit(nid, block, fs.treeLog(in, &p, step))
		}
		if err != nil {
			return err
		}
		off = 4 * p.slot
	}
	if old := le.Uint32(block[off:]); old != nullAddr {
		fs.dropData(old)
	} else if err := fs.addBlocks(in, 1); err != nil {
		return err
	}
	at, err := fs.newData(b, slot{lblk: lblk, nid: nid, ofs: uint16(p.slot)}, log)
	if err != nil {
		return err
	}
	le.PutUint32(block[off:], uint32(at))
	in.clearExtent()
	return nil
}

// treeLog is where a node on the way to an address goes.
func (fs *FS) treeLog(in *inode, p *path, step int) int {
	if step < p.depth-1 {
		return logColdNode
	}
	return fs.nodeLog(in)
}

func (fs *FS) addNode(in *inode, p *path, step int) (uint32, rawNode, error) {
	nid, raw, err := fs.newNode(uint32(in.ino), p.ofs[step], fs.treeLog(in, p, step), in.fileType() != image.TypeDirectory)
	if err != nil {
		return 0, nil, err
	}
	return nid, raw, fs.addBlocks(in, 1)
}

// unmap frees all blocks of an inode, which is being edited, and all nodes but
// its own and that of the attributes.
func (fs *FS) unmap(in *inode) error {
	freed := int64(0)
	err := fs.slots(in, func(s slot) error {
		if s.addr != newAddr && s.addr != compressAddr {
			if err := fs.checkAddr(in, s); err != nil {
				return err
			}
		}
		if s.addr == compressAddr && in.inline(inReleased) {
			return nil // the head of a released cluster is not counted
		}
		fs.dropData(s.addr)
		freed++
		return nil
	})
	if err != nil {
		return err
	}
	for i := range nidCount {
		depth := 0
		if i >= nidIndirect {
			depth = 1 + i/nidDouble
		}
		n, err := fs.dropTree(in.u32(offNids+4*i), depth)
		if err != nil {
			return err
		}
		freed += n
		in.set32(offNids+4*i, 0)
	}
	clear(in.raw[in.addrOff(0):in.addrOff(addrWords-in.extra-in.words)])
	in.clearExtent()
	return fs.addBlocks(in, -freed)
}

// dropTree frees a node and those below it, which slots has verified.
func (fs *FS) dropTree(nid uint32, depth int) (int64, error) {
	if nid == 0 {
		return 0, nil
	}
	freed := int64(1)
	if depth > 0 {
		r, _, err := fs.node(nid)
		if err != nil {
			return 0, err
		}
		for i := range nodeAddrs {
			n, err := fs.dropTree(r.word(i), depth-1)
			if err != nil {
				return 0, err
			}
			freed += n
		}
	}
	return freed, fs.dropNode(nid)
}
