package audit

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of what a source takes in memory.
const (
	maxNodes = 1 << 20  // files and directories with a path of their own
	maxText  = 48 << 20 // bytes of their names, of targets and of short files
)

// Lengths in bytes of what is searched for in parts.
const (
	maxShort = 60 // of the beginning of a short file: what ext4 keeps together
	minShort = 16 // a shorter one, or end of one, may be anything
)

// Source is known plaintext.
type Source struct {
	root     string
	nodes    []node
	text     []byte // arena, never grown past its first size
	patterns *patternSet
	sectors  *sectorSet
	stats    Stats
}

// Stats counts what a source has, and what of it is searched for.
type Stats struct {
	Files, Dirs, Links uint64
	Bytes              int64  // of files
	Names              uint64 // of 8 bytes and more
	Sectors            uint64 // of more than one value
	SectorsKept        uint64 // different ones that are compared
	SampledOneIn       uint64 // sectors; 1 if all are compared
	Dropped            uint64 // names, targets and short files that are not searched for
	Unread             []error
}

// Whole tells whether all of the source is searched for.
func (s Stats) Whole() bool { return s.SampledOneIn == 1 && s.Dropped == 0 && len(s.Unread) == 0 }

// node is a file or directory of the source: a name and where it lies.
type node struct {
	parent uint32
	name   []byte // in the arena
}

// maxUnread bounds the errors that are kept.
const maxUnread = 100

// ReadSource reads the plaintext: a directory with all below it, or one file.
// Symlinks in it are not followed, special files left out. What cannot be read is
// in Stats; the error is ctx's, or that there is nothing at path. It calls
// progress now and then with what it has read so far.
func ReadSource(ctx context.Context, path string, progress func(Stats)) (*Source, error) {
	return readSource(ctx, path, progress, maxText, maxSectors)
}

// readSource is ReadSource with other bounds: bytes of text, slots of sectors.
func readSource(ctx context.Context, path string, progress func(Stats), text, sectors int) (*Source, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	r := &reader{ctx: ctx, progress: progress, buf: make([]byte, 1<<20), Source: &Source{
		root: path, nodes: []node{{}}, text: make([]byte, 0, text), sectors: newSectorSet(sectors)}}
	if err := filepath.WalkDir(path, r.entry); err != nil {
		return nil, err
	}
	r.patterns = newPatternSet(r.all)
	r.stats.SectorsKept, r.stats.SampledOneIn = uint64(r.sectors.n), r.sectors.mask+1
	return r.Source, nil
}

// Stats tells what the source has.
func (s *Source) Stats() Stats { return s.stats }

// path is where a node lies below the source. Node 0 is the source itself.
func (s *Source) path(n uint32) string {
	var parts []string
	for ; n != 0; n = s.nodes[n].parent {
		parts = append(parts, string(s.nodes[n].name))
	}
	if len(parts) == 0 {
		return filepath.Base(s.root)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// reader builds a source.
type reader struct {
	*Source
	ctx      context.Context
	progress func(Stats)
	all      []pattern
	stack    []uint32 // nodes from the source down to the directory at hand
	buf      []byte
}

// entry takes one entry of the source; it is called in the order of paths.
func (r *reader) entry(path string, d fs.DirEntry, err error) error {
	if cerr := r.ctx.Err(); cerr != nil {
		return cerr
	}
	if err != nil {
		r.unread(err)
		return nil
	}
	top := path == r.root
	n := uint32(0)
	if !top || !d.IsDir() {
		n = r.name(path, d.Name(), top)
	}
	switch {
	case d.IsDir():
		r.stats.Dirs++
		r.enter(path, n)
	case d.Type().IsRegular():
		r.stats.Files++
		err = r.file(path, n)
	case d.Type() == fs.ModeSymlink:
		r.stats.Links++
		err = r.link(path, n)
	}
	if errors.Is(err, r.ctx.Err()) && err != nil {
		return err
	}
	if err != nil {
		r.unread(err)
	}
	return nil
}

func (r *reader) unread(err error) {
	if len(r.stats.Unread) < maxUnread {
		r.stats.Unread = append(r.stats.Unread, err)
	}
}

// depth is how many directories below the source a path lies.
func (r *reader) depth(path string) int {
	rel := strings.TrimPrefix(strings.TrimPrefix(path, strings.TrimSuffix(r.root, "/")), "/")
	if rel == "" {
		return 0
	}
	return strings.Count(rel, "/") + 1
}

// enter notes which node the entries that follow lie in.
func (r *reader) enter(path string, n uint32) {
	r.stack = append(r.stack[:min(len(r.stack), r.depth(path))], n)
}

// name makes the node of an entry, and a pattern if the name is long enough.
// Without room the node is the next directory above that has one.
func (r *reader) name(path, name string, top bool) uint32 {
	parent := uint32(0)
	if !top {
		parent = r.stack[min(len(r.stack), r.depth(path))-1]
	}
	if len(name) >= minPattern {
		r.stats.Names++
	}
	text, ok := r.keep([]byte(name))
	if !ok || len(r.nodes) == maxNodes {
		r.stats.Dropped++
		return parent
	}
	n := uint32(len(r.nodes))
	r.nodes = append(r.nodes, node{parent, text})
	if len(name) >= minPattern {
		r.all = append(r.all, pattern{text, Name, n})
	}
	return n
}

// keep copies text to the arena.
func (r *reader) keep(text []byte) ([]byte, bool) {
	at := len(r.text)
	if len(text) > cap(r.text)-at {
		return nil, false
	}
	r.text = append(r.text, text...)
	return r.text[at:len(r.text):len(r.text)], true
}

// pattern adds a string that is no name.
func (r *reader) pattern(text []byte, k Kind, n uint32) {
	kept, ok := r.keep(text)
	if !ok {
		r.stats.Dropped++
		return
	}
	r.all = append(r.all, pattern{kept, k, n})
}

func (r *reader) link(path string, n uint32) error {
	target, err := os.Readlink(path)
	if err != nil {
		return err
	}
	if len(target) >= minPattern {
		r.pattern([]byte(target), Target, n)
	}
	return nil
}

// file adds the sectors of a file, and the beginning of one that has none.
func (r *reader) file(path string, n uint32) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for off := int64(0); ; off += int64(len(r.buf)) {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		got, err := io.ReadFull(f, r.buf)
		r.stats.Bytes += int64(got)
		r.contents(r.buf[:got], off, n)
		r.progress(r.stats)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// contents adds the sectors of p, which lies at off in its file.
func (r *reader) contents(p []byte, off int64, n uint32) {
	if off == 0 && len(p) < sectorSize && len(p) >= minShort && !constant(p) {
		r.pattern(p[:min(len(p), maxShort)], Contents, n)
	}
	for ; len(p) >= sectorSize; p = p[sectorSize:] {
		r.sector(p[:sectorSize], n)
	}
	if len(p) >= minShort {
		last := make([]byte, sectorSize)
		copy(last, p)
		r.sector(last, n)
	}
}

func (r *reader) sector(p []byte, n uint32) {
	if constant(p) {
		return
	}
	r.stats.Sectors++
	r.sectors.add(sectorHash(p), n)
}
