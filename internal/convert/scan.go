package convert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/image"
)

// OutsideLinks is the word for --force that accepts files with names outside
// of the tree.
const OutsideLinks = "outside-links"

// Options of a plan.
type Options struct {
	Keys *crypt.Keyring
	// Wipe zeroes what may hold remains of the plaintext.
	Wipe bool
	// Metadata are directories that hold what opens encrypted trees: Encrypt
	// refuses to lock them up with their own keys.
	Metadata []image.Ino
	// OutsideLinks accepts files that also have a name outside of the tree.
	OutsideLinks bool
	// Shared says what becomes of extents that others refer to as well.
	Shared Shared
}

// PlanEncrypt reads the trees at tops and plans to encrypt them with pol. It
// writes nothing.
//
// The error wraps feature.ErrNotSetUp, policy.ErrInvalid, crypt.ErrNoKey,
// ErrRefused, image.ErrNoSpace or image.ErrCorrupt.
func PlanEncrypt(ctx context.Context, fs image.FS, tops []Top, pol policy.Policy, o Options) (*Plan, error) {
	if err := feature.Require(fs.Super(), pol); err != nil {
		return nil, err
	}
	if _, err := o.Keys.For(pol); err != nil {
		return nil, err
	}
	p := &Plan{Op: Encrypt, Tops: tops, Policies: []policy.Policy{pol}, Wipe: o.Wipe}
	s := newScanner(ctx, fs, p, o)
	if err := s.eachTop(tops, s.encryptTop); err != nil {
		return nil, fmt.Errorf("plan encryption of %w", err)
	}
	return s.finish()
}

// PlanDecrypt reads the encrypted trees at tops and plans to decrypt them.
func PlanDecrypt(ctx context.Context, fs image.FS, tops []Top, o Options) (*Plan, error) {
	p := &Plan{Op: Decrypt, Tops: tops}
	s := newScanner(ctx, fs, p, o)
	if err := s.eachTop(tops, s.encryptedTop); err != nil {
		return nil, fmt.Errorf("plan decryption of %w", err)
	}
	return s.finish()
}

// PlanRekey reads the encrypted trees at tops and plans to give them the
// policy to, with another key, other modes, or just new nonces.
func PlanRekey(ctx context.Context, fs image.FS, tops []Top, to policy.Policy, o Options) (*Plan, error) {
	if err := feature.Require(fs.Super(), to); err != nil {
		return nil, err
	}
	if _, err := o.Keys.For(to); err != nil {
		return nil, err
	}
	p := &Plan{Op: Rekey, Tops: tops, Target: &to}
	s := newScanner(ctx, fs, p, o)
	s.target = &to
	if err := s.eachTop(tops, s.encryptedTop); err != nil {
		return nil, fmt.Errorf("plan rekeying of %w", err)
	}
	return s.finish()
}

// eachTop calls f for the tops, but for those in read-only subvolumes, which
// are refused: somebody wants them as they are.
func (s *scanner) eachTop(tops []Top, f func(Top) error) error {
	sharing, ok := s.fs.(image.Sharing)
	for _, t := range tops {
		if ok {
			fixed, err := sharing.ReadOnly(t.Ino)
			if err != nil {
				return fmt.Errorf("%s: %w", t.Path, err)
			}
			if fixed {
				s.refuse(&place{name: t.Path}, t.Ino, "", "is in a read-only subvolume: make it writable first, with btrfs property set SUBVOLUME ro false")
				continue
			}
		}
		if err := f(t); err != nil {
			return fmt.Errorf("%s: %w", t.Path, err)
		}
	}
	return nil
}

// scanner walks the trees of a plan.
type scanner struct {
	ctx  context.Context
	fs   image.FS
	sb   image.Super
	vol  crypt.Volume
	plan *Plan
	opt  Options

	target *policy.Policy // what an encrypted tree is to have, nil for plaintext

	refused RefusedError
	reading bool // nothing is going to be converted: ask neither for space nor for who shares it
	dirs    map[image.Ino]bool
	linked  map[image.Ino]*linkCount
	claimed claims                      // contents, where there are no owners
	owners  *owners                     // nil if the filesystem does not tell
	found   []placedExtent              // extents with contexts of their own
	starts  claims                      // where they begin
	idle    map[image.Pblk]placedExtent // those where the file has nothing written

	within image.Ino // the directory whose entries are being scanned

	files  []placed
	links  []placed
	folded []item // directories, children before parents
}

// linkCount compares the names seen with the link count.
type linkCount struct {
	seen, want uint32
	path       *place
}

func newScanner(ctx context.Context, fs image.FS, p *Plan, o Options) *scanner {
	sb := fs.Super()
	p.blockSize, p.super = sb.BlockSize, sb
	s := &scanner{
		ctx: ctx, fs: fs, sb: sb, plan: p, opt: o,
		vol:     crypt.Volume{UUID: sb.UUID, BlockSize: sb.BlockSize},
		dirs:    make(map[image.Ino]bool),
		linked:  make(map[image.Ino]*linkCount),
		claimed: make(claims),
		starts:  make(claims),
		idle:    make(map[image.Pblk]placedExtent),
	}
	if o, ok := fs.(image.Owning); ok {
		s.owners = &owners{o, make(claims), make(claims), make(claims)}
	}
	return s
}

func (s *scanner) refuse(p *place, ino image.Ino, check, format string, a ...any) {
	s.refused.Total++
	if len(s.refused.Refusals) < maxRefusals {
		s.refused.Refusals = append(s.refused.Refusals, Refusal{Path: p.String(), Ino: ino, Check: check, Why: fmt.Sprintf(format, a...)})
	}
}

// finish puts the list in order and decides.
func (s *scanner) finish() (*Plan, error) {
	if err := s.checkLinks(); err != nil {
		return nil, err
	}
	slices.SortFunc(s.found, func(a, b placedExtent) int { return cmp.Compare(a.at, b.at) })
	if err := s.checkShared(); err != nil {
		return nil, fmt.Errorf("look for who shares extents: %w", err)
	}
	s.plan.extents = make([]diskItem, len(s.found))
	for i := range s.found {
		s.plan.extents[i] = s.found[i].diskItem
	}
	s.found = nil
	if s.refused.Total > 0 {
		return nil, &s.refused
	}
	if err := s.checkOwners(); err != nil {
		return nil, err
	}
	if err := s.checkResidue(); err != nil {
		return nil, err
	}
	p := s.plan
	p.items = s.ordered()
	if err := s.checkSpace(); err != nil {
		return nil, err
	}
	return p, nil
}

// checkSpace makes sure that nothing runs out of space on the way. What the
// superblock says is not enough: it may be wrong.
func (s *scanner) checkSpace() error {
	t := &s.plan.Totals
	t.FreeBytes = s.sb.FreeBytes
	if s.reading {
		return nil
	}
	if c, ok := s.fs.(image.FreeCounting); ok && t.NeedBytes <= t.FreeBytes {
		n, err := c.CountFree(t.NeedBytes)
		if err != nil {
			return fmt.Errorf("count free space: %w", err)
		}
		if n < t.NeedBytes {
			t.FreeBytes = n
		}
	}
	if t.NeedBytes > t.FreeBytes {
		return fmt.Errorf("%w: the conversion may take %d bytes, %d are free", image.ErrNoSpace, t.NeedBytes, t.FreeBytes)
	}
	if m, ok := s.fs.(image.Moving); ok {
		return m.CheckMoves(s.plan.moves())
	}
	return nil
}

// checkResidue reads what tells the wipe where to write: damage there would
// otherwise be met when everything is converted.
func (s *scanner) checkResidue() error {
	if !s.plan.Wipe {
		return nil
	}
	err := s.fs.Residue(func(int64, int64) error { return s.ctx.Err() })
	if err != nil {
		return fmt.Errorf("look for free space to wipe: %w", err)
	}
	return nil
}

// cost adds what an edit will allocate; an impossible edit is refused.
func (s *scanner) cost(p *place, ino image.Ino, n int64, err error) error {
	if err == nil {
		s.plan.Totals.NeedBytes += n
		return nil
	}
	if errors.Is(err, image.ErrCorrupt) || errors.Is(err, image.ErrNeedsRecovery) {
		return fmt.Errorf("%s: %w", p, err)
	}
	s.refuse(p, ino, "", "%v", err)
	return nil
}

// child stats an entry and checks what holds for every tree.
func (s *scanner) child(e image.Dirent, p *place) (image.Attr, error) {
	a, err := s.fs.Stat(e.Ino)
	if err != nil {
		return a, fmt.Errorf("%s: %w", p, err)
	}
	if e.Type != image.TypeUnknown && e.Type != a.Type {
		return a, fmt.Errorf("%s: %w", p, &image.CorruptError{What: "directory entry", Ino: e.Ino,
			Why: fmt.Sprintf("says %s, the inode is a %s", e.Type, a.Type)})
	}
	if a.Reserved {
		return a, fmt.Errorf("%s: %w", p, &image.CorruptError{What: "directory entry", Ino: e.Ino,
			Why: "names an inode of the filesystem itself"})
	}
	if !a.Type.Encrypts() && a.Encrypted {
		s.refuse(p, e.Ino, "", "a %s marked as encrypted: run fsenc fsck", a.Type)
	}
	return a, nil
}

// enterDir guards against directories that are reached twice.
func (s *scanner) enterDir(p *place, ino image.Ino) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if s.dirs[ino] {
		return fmt.Errorf("%s: %w", p, &image.CorruptError{What: "directory tree", Ino: ino, Why: "directory reached twice"})
	}
	s.dirs[ino] = true
	return nil
}

// firstName reports whether this is the first name seen of a file.
func (s *scanner) firstName(a image.Attr, p *place) bool {
	if a.Links <= 1 {
		return true
	}
	l := s.linked[a.Ino]
	if l == nil {
		s.linked[a.Ino] = &linkCount{seen: 1, want: a.Links, path: p}
		return true
	}
	l.seen++
	return false
}

// checkLinks deals with files that have names outside of the trees.
func (s *scanner) checkLinks() error {
	outside := make(map[image.Ino]*linkCount)
	for ino, l := range s.linked {
		if l.seen < l.want {
			outside[ino] = l
		}
	}
	if len(outside) == 0 {
		return nil
	}
	return s.fs.Inodes(func(a image.Attr, err error) error {
		if err != nil || a.Type != image.TypeDirectory || a.Reserved && a.Ino != s.fs.Root() || s.dirs[a.Ino] {
			return nil
		}
		return s.fs.ReadDir(a.Ino, func(e image.Dirent) error {
			l := outside[e.Ino]
			switch {
			case l == nil:
			case a.Encrypted:
				s.refuse(l.path, e.Ino, "", "has another name in the encrypted directory of inode %d", a.Ino)
			case !s.opt.OutsideLinks:
				s.refuse(l.path, e.Ino, OutsideLinks, "has another name, %q, in the directory of inode %d outside of the tree", e.Name, a.Ino)
			}
			return nil
		})
	})
}

// mapped accounts for the contents of a regular file and remembers it.
func (s *scanner) mapped(a image.Attr, p *place, policyIndex uint8) error {
	f := s.placed(a, policyIndex)
	s.plan.Totals.Files++
	if by, ok := s.fs.(image.ByExtent); ok { // also behind what lies in the inode
		first := len(s.found)
		if err := s.addExtents(a, by, p, policyIndex); err != nil {
			return err
		}
		if first < len(s.found) {
			f.at = s.found[first].at
		}
	} else if !a.Inline {
		data, err := s.fs.DataExtents(a.Ino)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		for i, x := range data {
			if i == 0 {
				f.at = x.Pblk
			}
			if s.owners == nil && !s.claimed.add(x.Pblk, x.Len) {
				return fmt.Errorf("%s: %w", p, &image.CorruptError{What: "block mapping", Ino: a.Ino, Pblk: x.Pblk,
					Why: "blocks that another file of the tree maps too"})
			}
			s.plan.Totals.Bytes += int64(x.Len) * int64(s.sb.BlockSize)
		}
	}
	s.files = append(s.files, f)
	return s.claim(a.Ino, p)
}

// place is where a scan is, a path that is put together only to be shown: in a
// deep tree the paths of all directories that are open would take much room.
type place struct {
	up   *place // nil for a top
	name string // of a top its path
}

// subdir is a directory that a scan has still to enter.
type subdir struct {
	attr image.Attr
	path *place
}

func join(dir *place, name []byte) *place { return &place{dir, string(name)} }

func (p *place) String() string {
	var names []string
	for ; p != nil; p = p.up {
		names = append(names, p.name)
	}
	slices.Reverse(names)
	return path.Join(names...)
}
