package audit

import (
	"bytes"
	"errors"
	"fmt"

	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// told is a run of hits that become one finding.
type told struct {
	region Region
	owner  *owner
	off    int64
	node   uint32
	kind   Kind
	text   []byte // nil for sectors
	end    int64
	bytes  int64
}

// runGap is how many bytes may lie between sectors that are told as one run:
// of a sample not every one is known.
const runGap = 64 << 10

// tell makes findings of the hits, one of those that follow one another.
func (p *placed) tell(report func(Finding) error) error {
	var run *told
	for i := range p.hits {
		next := p.told(i)
		if run != nil && run.continues(next) {
			run.end, run.bytes = next.end, run.bytes+next.bytes
			continue
		}
		if err := p.report(run, report); err != nil {
			return err
		}
		run = next
	}
	return p.report(run, report)
}

func (p *placed) told(i int) *told {
	h := p.hits[i]
	r := &told{off: h.off, node: h.node, kind: Contents, bytes: int64(h.sectors) * sectorSize}
	if h.pattern > 0 {
		found := p.src.patterns.sorted[h.pattern-1]
		r.kind, r.text, r.bytes = found.kind, found.text, int64(len(found.text))
	}
	r.end = r.off + r.bytes
	r.region, r.owner = p.region(i)
	return r
}

// continues tells whether next is more of the same file.
func (r *told) continues(next *told) bool {
	return r.text == nil && next.text == nil && next.node == r.node && next.off <= r.end+runGap &&
		next.region == r.region && next.owner == r.owner
}

func (p *placed) report(r *told, report func(Finding) error) error {
	if r == nil {
		return nil
	}
	f, ok, err := p.finding(r)
	if err != nil || !ok {
		return err
	}
	return report(f)
}

// The findings of Scan.
const (
	idLeft    = "plaintext-left"   // where nothing should be
	idInUse   = "plaintext-in-use" // in a file or link that is not encrypted
	idName    = "name-in-use"      // of the source, in another directory
	idAttr    = "plaintext-in-attribute"
	idUnknown = "plaintext-in-metadata"
)

const (
	adviceWipe   = "zero it: fsenc wipe-free IMAGE"
	adviceRemove = "encrypt it, or remove it and run fsenc wipe-free IMAGE"
)

// wheres say what a region is when what it holds is of no use to anybody.
var wheres = map[Region]struct{ where, advice string }{
	FreeBlock:  {"in free block %d", adviceWipe},
	FreeSlot:   {"in a free inode slot, block %d", adviceWipe},
	Journal:    {"in the journal, block %d", adviceWipe},
	Unwritten:  {"in block %d, which the file has and never wrote", adviceWipe},
	FileTail:   {"in block %d, behind the end of the file", adviceWipe},
	Directory:  {"in a gap of the directory, block %d", "lay it out anew: e2fsck -fD, then fsenc wipe-free IMAGE"},
	InodeSlot:  {"in a gap of the inode, block %d", "copy the file, remove this one, then fsenc wipe-free IMAGE"},
	SystemFile: {"in block %d, of the filesystem itself", ""},
	Metadata:   {"in block %d, which holds attributes, a mapping, a target or the like", ""},
}

// finding makes the finding of a run; not ok means that it is none.
func (p *placed) finding(r *told) (f Finding, ok bool, err error) {
	f = Finding{Region: r.region, Match: Match{Kind: r.kind, Source: p.src.path(r.node), Text: r.text, Bytes: r.bytes}}
	f.Pblk = image.Pblk(r.off / p.bs)
	if r.owner != nil {
		f.Ino, f.Path = r.owner.attr.Ino, r.owner.path
	}
	w := wheres[r.region]
	f.ID, f.Severity, f.Advice = idLeft, image.Error, w.advice
	where := fmt.Sprintf(w.where, f.Pblk)
	live, attribute, err := p.use(r)
	if err != nil {
		return f, false, err
	}
	switch {
	case attribute:
		f.ID, f.Severity, f.Advice = idAttr, image.Warning, "remove the attribute: encryption does not cover them"
		where = "in an extended attribute"
	case r.region == Metadata, r.region == SystemFile:
		f.ID, f.Severity = idUnknown, image.Warning
	case r.region == File && r.text != nil, live && r.kind == Name && r.region != Directory && r.owner.attr.Type != image.TypeDirectory:
		return f, false, nil // a word in somebody's text
	case live && r.kind == Name:
		f.ID, f.Severity, f.Advice = idName, image.Info, ""
		where = "is one in this directory, too"
	case live:
		f.ID, f.Severity, f.Advice = idInUse, image.Warning, adviceRemove
		where = fmt.Sprintf("in an unencrypted %s, block %d", r.owner.attr.Type, f.Pblk)
	case r.region == File:
		f.Advice = "copy the file: what it holds is not encrypted"
		where = fmt.Sprintf("in block %d of a file that is marked encrypted", f.Pblk)
	}
	f.Text = f.Match.words() + " " + where
	return f, true, nil
}

// words say what matches.
func (m Match) words() string {
	source := tree.Printable(m.Source)
	switch m.Kind {
	case Name:
		return fmt.Sprintf("the name of %s", source)
	case Target:
		return fmt.Sprintf("the target of %s", source)
	}
	return fmt.Sprintf("%d bytes of %s", m.Bytes, source)
}

// use tells whether a hit is something that its owner has now, and not what
// somebody left there: live, if the owner is not encrypted, or an attribute of
// one that is.
func (p *placed) use(r *told) (live, attribute bool, err error) {
	if r.owner == nil {
		return false, false, nil
	}
	a := r.owner.attr
	if r.region == InodeSlot && r.text != nil {
		held, err := p.inAttribute(a.Ino, r.text)
		if err != nil || held {
			return held && !a.Encrypted, held && a.Encrypted, err
		}
	}
	if a.Encrypted {
		return false, false, nil
	}
	switch {
	case r.region == File:
		return true, false, nil
	case r.region == Directory, r.region == InodeSlot && a.Type == image.TypeDirectory:
		live, err = p.inDirectory(a.Ino, r)
	case r.region == InodeSlot && r.text != nil:
		live, err = p.inSlot(a, r.text)
	}
	return live, false, err
}

func (p *placed) inDirectory(dir image.Ino, r *told) (bool, error) {
	if r.kind != Name {
		return false, nil
	}
	_, err := p.fs.Lookup(dir, r.text)
	if errors.Is(err, image.ErrNotExist) {
		return false, nil
	}
	return err == nil, damageIsNo(err)
}

func (p *placed) inAttribute(ino image.Ino, text []byte) (bool, error) {
	attrs, err := p.fs.Xattrs(ino)
	if err != nil {
		return false, damageIsNo(err)
	}
	for _, x := range attrs {
		if bytes.Contains(x.Value, text) || bytes.Contains([]byte(x.Name), text) {
			return true, nil
		}
	}
	return false, nil
}

// inSlot tells whether text is what an inode keeps in its slot of a target or
// of contents.
func (p *placed) inSlot(a image.Attr, text []byte) (bool, error) {
	var held []byte
	var err error
	switch {
	case a.Type == image.TypeSymlink:
		held, err = p.fs.ReadLink(a.Ino)
	case a.Inline:
		held, err = p.fs.Inline(a.Ino)
	}
	return err == nil && bytes.Contains(held, text), damageIsNo(err)
}

// damageIsNo drops errors about damage: what cannot be read is nothing that
// the owner has.
func damageIsNo(err error) error {
	if errors.Is(err, image.ErrCorrupt) {
		return nil
	}
	return err
}
