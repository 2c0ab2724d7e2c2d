package btrfsjudge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

// File is what the judge sees of a file of one subvolume.
type File struct {
	Mode, Links uint64
	Size        uint64
	SHA256      string // of regular files
	Target      string // of symlinks
	Encrypted   bool
	Disk        []uint64 // where its extents start
}

// judge reads one subvolume.
type judge struct {
	*image
	master []byte
	items  map[uint64]map[tuple][]byte // by object
	order  map[uint64][]tuple
	sums   map[uint64][]byte // by sector
	out    map[string]File
}

// Files reads the files of a subvolume by their paths, with a master key of 64
// bytes. It fails at the first rule of the format that is broken.
func Files(b []byte, subvolume uint64, master []byte) (map[string]File, error) {
	m, err := open(b)
	if err != nil {
		return nil, err
	}
	j := &judge{image: m, master: master, items: make(map[uint64]map[tuple][]byte), order: make(map[uint64][]tuple),
		sums: make(map[uint64][]byte), out: make(map[string]File)}
	var root, sums uint64
	err = m.walk(u64(b[superAt:], 80), 1, func(k tuple, d []byte) error {
		if k.kind == 132 && k.obj == subvolume {
			root = u64(d, 176)
		}
		if k.kind == 132 && k.obj == 7 {
			sums = u64(d, 176)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	size := len(m.sum(nil))
	if sums != 0 {
		err = m.walk(sums, 7, func(k tuple, d []byte) error {
			for i := 0; i < len(d); i += size {
				j.sums[k.off+uint64(i/size)*m.ss] = d[i : i+size]
			}
			return nil
		})
	}
	if err == nil {
		err = m.walk(root, subvolume, func(k tuple, d []byte) error {
			if j.items[k.obj] == nil {
				j.items[k.obj] = make(map[tuple][]byte)
			}
			j.items[k.obj][k] = d
			j.order[k.obj] = append(j.order[k.obj], k)
			return nil
		})
	}
	if err == nil {
		err = j.dir("", 256)
	}
	return j.out, err
}

// context is the inode's, nil if the inode is not encrypted. Flag and item go
// together.
func (j *judge) context(ino uint64) ([]byte, error) {
	inode := j.items[ino][tuple{ino, 1, 0}]
	if len(inode) != 160 {
		return nil, fmt.Errorf("inode %d: no item", ino)
	}
	c := j.items[ino][tuple{ino, 41, 0}]
	if flag := u64(inode, 64)&0x1000 != 0; flag != (c != nil) {
		return nil, fmt.Errorf("inode %d: flag %v, context %x", ino, flag, c)
	}
	if c == nil {
		return nil, nil
	}
	if len(c) != 40 || c[0] != 2 || c[1] != 1 || c[2] != 4 || c[3]&^3 != 0 || c[4] != 0 || c[5]|c[6]|c[7] != 0 {
		return nil, fmt.Errorf("inode %d: context %x", ino, c)
	}
	if id := derive(j.master, forIdentifier, nil, 16); !bytes.Equal(c[8:24], id) {
		return nil, fmt.Errorf("inode %d: key %x, want %x", ino, c[8:24], id)
	}
	return c, nil
}

// plainName decrypts a name of a directory, which is padded with zeros.
func (j *judge) plainName(dir uint64, c, stored []byte) (string, error) {
	if c == nil {
		return string(stored), nil
	}
	pad := 4 << (c[3] & 3)
	if len(stored) < 16 || len(stored)%pad != 0 && len(stored) != 255 {
		return "", fmt.Errorf("directory %d: name of %d bytes", dir, len(stored))
	}
	p, err := name(derive(j.master, forFile, c[24:40], 32), stored)
	if err != nil {
		return "", err
	}
	p, rest, _ := bytes.Cut(p, []byte{0})
	if len(bytes.Trim(rest, "\x00")) > 0 || len(p) == 0 || bytes.ContainsRune(p, '/') {
		return "", fmt.Errorf("directory %d: name %q, then %x", dir, p, rest)
	}
	return string(p), nil
}

func rawCRC(seed uint32, p []byte) uint32 {
	return ^crc32.Update(^seed, crc32.MakeTable(crc32.Castagnoli), p)
}

// dir reads a directory: every entry by index must be there by hash and in the
// references of its inode, with the mark that the directory's form asks for.
func (j *judge) dir(path string, ino uint64) error {
	c, err := j.context(ino)
	if err != nil {
		return err
	}
	size := uint64(0)
	for _, k := range j.order[ino] {
		if k.kind != 96 {
			continue
		}
		e := j.items[ino][k]
		stored := e[30:]
		size += 2 * uint64(len(stored))
		if mark := e[29]&0x80 != 0; mark != (c != nil) || len(stored) != int(u16(e, 27)) {
			return fmt.Errorf("directory %d: entry %d: type %#x", ino, k.off, e[29])
		}
		byHash := j.items[ino][tuple{ino, 84, uint64(rawCRC(0xfffffffe, stored))}]
		if !bytes.Contains(byHash, e) {
			return fmt.Errorf("directory %d: entry %d is not found by its hash", ino, k.off)
		}
		n, err := j.plainName(ino, c, stored)
		if err != nil {
			return err
		}
		if e[8] != 1 {
			continue // a subvolume
		}
		child := u64(e, 0)
		if !j.refers(child, ino, k.off, stored) {
			return fmt.Errorf("inode %d does not refer to entry %d of directory %d", child, k.off, ino)
		}
		if err := j.file(path+"/"+n, child, c, e[29]&0x7f); err != nil {
			return fmt.Errorf("%s/%s: %w", path, n, err)
		}
	}
	if got := u64(j.items[ino][tuple{ino, 1, 0}], 16); got != size {
		return fmt.Errorf("directory %d: size %d, want %d", ino, got, size)
	}
	return nil
}

// refers looks for a name among the references of an inode.
func (j *judge) refers(ino, dir, index uint64, stored []byte) bool {
	for b := j.items[ino][tuple{ino, 12, dir}]; len(b) > 0; b = b[10+u16(b, 8):] {
		if u64(b, 0) == index && bytes.Equal(b[10:10+u16(b, 8)], stored) {
			return true
		}
	}
	b := j.items[ino][tuple{ino, 13, uint64(rawCRC(uint32(dir), stored))}]
	for ; len(b) > 0; b = b[18+u16(b, 16):] {
		if u64(b, 0) == dir && u64(b, 8) == index && bytes.Equal(b[18:18+u16(b, 16)], stored) {
			return true
		}
	}
	return false
}

// file reads what an entry names. parent is the context of its directory.
func (j *judge) file(path string, ino uint64, parent []byte, kind byte) error {
	c, err := j.context(ino)
	if err != nil {
		return err
	}
	inode := j.items[ino][tuple{ino, 1, 0}]
	f := File{Mode: u32(inode, 52), Links: u32(inode, 40), Size: u64(inode, 16), Encrypted: c != nil}
	special := f.Mode>>12 != 8 && f.Mode>>12 != 4 && f.Mode>>12 != 10
	switch {
	case special && c != nil:
		return fmt.Errorf("a special file with a context")
	case !special && parent != nil && (c == nil || !bytes.Equal(c[:24], parent[:24])):
		return fmt.Errorf("policy %x in a directory of %x", c, parent[:24])
	}
	switch kind {
	case 1:
		err = j.contents(ino, c, &f)
	case 2:
		f.Size = 0
		err = j.dir(path, ino)
	case 7:
		err = j.link(ino, c, &f)
	}
	j.out[path] = f
	return err
}

func (j *judge) link(ino uint64, c []byte, f *File) error {
	e := j.items[ino][tuple{ino, 108, 0}]
	data := e[21:]
	if e[17] != 0 || e[20] != 0 || u64(e, 8) != uint64(len(data)) || f.Size != uint64(len(data)) {
		return fmt.Errorf("symlink item %x", e[:21])
	}
	f.Target = string(data)
	if c == nil {
		return nil
	}
	if n := u16(data, 0); n+2 != uint64(len(data)) || n < 16 {
		return fmt.Errorf("target of %d bytes in %d", n, len(data))
	}
	p, err := name(derive(j.master, forFile, c[24:40], 32), data[2:])
	if err != nil {
		return err
	}
	p, rest, _ := bytes.Cut(p, []byte{0})
	if len(bytes.Trim(rest, "\x00")) > 0 {
		return fmt.Errorf("target padded with %x", rest)
	}
	f.Target, f.Size = string(p), uint64(len(p))
	return nil
}

// contents reads and decrypts a file, extent by extent.
func (j *judge) contents(ino uint64, c []byte, f *File) error {
	if f.Size > 1<<30 {
		return fmt.Errorf("%d bytes are too many for a test", f.Size)
	}
	p := make([]byte, (f.Size+j.ss-1)/j.ss*j.ss)
	contexts := 0
	for _, k := range j.order[ino] {
		e := j.items[ino][k]
		switch k.kind {
		case 42:
			contexts++
		case 108:
			used, err := j.extent(ino, c, k.off, e, p, f)
			if err != nil {
				return fmt.Errorf("extent at %d: %w", k.off, err)
			}
			contexts -= used
		}
	}
	if contexts != 0 {
		return fmt.Errorf("%d contexts of extents too many", contexts)
	}
	h := sha256.Sum256(p[:f.Size])
	f.SHA256 = hex.EncodeToString(h[:])
	return nil
}

// extent reads one extent into p and returns how many contexts it has.
func (j *judge) extent(ino uint64, c []byte, off uint64, e, p []byte, f *File) (int, error) {
	if e[20] == 0 {
		return 0, j.inline(ino, c, e, p, f)
	}
	disk, diskLen, skip, n := u64(e, 21), u64(e, 29), u64(e, 37), u64(e, 45)
	if len(e) != 53 || disk == 0 && e[17] != 0 || disk != 0 && (e[17] == 1) != (c != nil) {
		return 0, fmt.Errorf("item of %d bytes, encryption %d", len(e), e[17])
	}
	if disk == 0 {
		return 0, nil
	}
	f.Disk = append(f.Disk, disk)
	var x []byte
	used := 0
	if c != nil {
		used = 1
		x = j.items[ino][tuple{ino, 42, off}]
		if len(x) != 34 || x[0] != 1 || x[1] != c[1] || !bytes.Equal(x[2:18], c[8:24]) {
			return 0, fmt.Errorf("context %x", x)
		}
	}
	if e[20] == 2 {
		return used, nil
	}
	data, err := j.data(disk, diskLen, u64(j.items[ino][tuple{ino, 1, 0}], 64)&1 == 0 && e[16] == 0, disk+skip, n)
	if err != nil {
		return 0, err
	}
	if c != nil {
		if data, err = contents(j.master, x[18:], data, 0, int(j.ss)); err != nil {
			return 0, err
		}
	}
	if e[16] != 0 {
		if data, err = unpack(e[16], data, u64(e, 8), j.ss); err != nil {
			return 0, err
		}
	}
	if off < uint64(len(p)) {
		copy(p[off:], data[skip:skip+n])
	}
	return used, nil
}

// data reads a whole extent. All copies are the same; the part that is referred
// to has checksums, over what is stored, that fit.
func (j *judge) data(disk, n uint64, summed bool, from, part uint64) ([]byte, error) {
	all, err := j.copies(disk, n)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if !bytes.Equal(c, all[0]) {
			return nil, fmt.Errorf("copies differ")
		}
	}
	for at := disk; at < disk+n; at += j.ss {
		sum := j.sums[at]
		if sum == nil {
			if summed && at >= from && at < from+part {
				return nil, fmt.Errorf("sector %d has no checksum", at)
			}
			continue
		}
		if !bytes.Equal(sum, j.image.sum(all[0][at-disk:][:j.ss])) {
			return nil, fmt.Errorf("sector %d: checksum", at)
		}
	}
	return all[0], nil
}

// inline reads data inside of an item: encrypted they are this project's own
// format, one data unit with the key of the inode.
func (j *judge) inline(_ uint64, c []byte, e, p []byte, f *File) error {
	data := e[21:]
	if (e[17] == 1) != (c != nil) {
		return fmt.Errorf("inline data, encryption %d", e[17])
	}
	if c != nil {
		if len(data)%16 != 0 || uint64(len(data)) != (f.Size+15)/16*16 || u64(e, 8) != uint64(len(data)) || e[16] != 0 {
			return fmt.Errorf("inline data of %d bytes for %d", len(data), f.Size)
		}
		var err error
		if data, err = inlineContents(derive(j.master, forFile, c[24:40], 64), data); err != nil {
			return err
		}
		if len(bytes.Trim(data[f.Size:], "\x00")) > 0 {
			return fmt.Errorf("inline data padded with %x", data[f.Size:])
		}
	} else if e[16] != 0 {
		var err error
		if data, err = unpack(e[16], data, u64(e, 8), j.ss); err != nil {
			return err
		}
	}
	copy(p, data)
	return nil
}
