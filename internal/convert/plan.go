package convert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/txn"
)

// Op is what a conversion does.
type Op uint8

// The operations.
const (
	Encrypt Op = 1
	Decrypt Op = 2
	Rekey   Op = 3
)

// String is the word that logs and messages use.
func (o Op) String() string {
	switch o {
	case Decrypt:
		return "decrypt"
	case Rekey:
		return "rekey"
	}
	return "encrypt"
}

// Top is a directory that a conversion starts from.
type Top struct {
	Path string
	Ino  image.Ino
}

// Plan is a conversion before it is begun: a value that is equal for equal
// images, but for Seed.
type Plan struct {
	Op   Op
	Tops []Top

	// Policies are the ones the tree has when encrypted: what Encrypt gives
	// it, or what Decrypt and Rekey found at each top.
	Policies []policy.Policy

	// Target is the policy that Rekey gives, nil otherwise.
	Target *policy.Policy

	// Wipe: zero what may hold remains of the plaintext afterwards.
	Wipe bool

	// Journal: log new contents even where checksums would do. It is not kept
	// in the log, whose header has the method.
	Journal bool

	// Seed keys the nonces.
	Seed [32]byte

	Totals Totals

	// Shared is what has to be unshared before the conversion can begin.
	Shared []SharedExtent

	// keyIDs are the identifiers of the keys of AllPolicies, which v1 policies
	// do not have.
	keyIDs []policy.Identifier

	super image.Super // when the plan was made

	blockSize int

	// extents are what has contexts of its own, in the order of the image.
	// They are converted before the first inode is.
	extents []diskItem
	items   []item
}

// steps is how many extents and inodes there are to convert.
func (p *Plan) steps() uint64 { return uint64(len(p.extents) + len(p.items)) }

// Totals is what a plan covers.
type Totals struct {
	Files, Dirs, Links, Others uint64
	Bytes                      int64 // of contents to be rewritten
	Names                      uint64
	Inline                     uint64 // files whose contents stay inside of the inode
	MovedOut                   uint64 // files whose contents move from the inode into a block
	Skipped                    uint64 // already as wanted
	NeedBytes                  int64  // upper bound of what will be allocated
	FreeBytes                  int64
	SharedBytes                int64 // that unsharing will copy
}

// moves are what image.Moving is asked for.
func (p *Plan) moves() (inodes uint64, added int64) {
	return uint64(len(p.items)) + p.Totals.Others, p.Totals.NeedBytes
}

// AllPolicies are those whose keys the conversion needs.
func (p *Plan) AllPolicies() []policy.Policy {
	if p.Target == nil {
		return p.Policies
	}
	return append(slices.Clone(p.Policies), *p.Target)
}

// noteKeys keeps which keys the conversion is begun with.
func (p *Plan) noteKeys(keys *crypt.Keyring) error {
	p.keyIDs = nil
	for _, pol := range p.AllPolicies() {
		key, err := keys.For(pol)
		if err != nil {
			return err
		}
		p.keyIDs = append(p.keyIDs, key.Identifier())
	}
	return nil
}

// findKeys makes sure that the keys are those that the conversion was begun
// with. The descriptor of a v1 policy can be anything, so it is not asked.
func (p *Plan) findKeys(keys *crypt.Keyring) error {
	for i, pol := range p.AllPolicies() {
		key, err := keys.For(pol)
		if err == nil && key.Identifier() == p.keyIDs[i] {
			continue
		}
		k := slices.IndexFunc(keys.Keys(), func(k *crypt.MasterKey) bool { return k.Identifier() == p.keyIDs[i] })
		switch {
		case k >= 0 && pol.Version == 1:
			keys.Bind(pol.Descriptor, keys.Keys()[k])
		case err == nil:
			return fmt.Errorf("%w: not the v%d key %s that the conversion was begun with", crypt.ErrWrongKey, pol.Version, pol.KeySpec())
		default:
			return err
		}
	}
	return nil
}

// Method is how contents are protected while they are overwritten: by checksums
// where every sector of a torn data unit can be computed on its own, which XTS
// allows. With the other modes a sector depends on its neighbours, so the new
// bytes are logged, as Journal asks for with any mode.
func (p *Plan) Method() txn.Method {
	if p.Journal {
		return txn.Journal
	}
	for _, pol := range p.AllPolicies() {
		if pol.Contents != policy.ModeAES256XTS && pol.Contents != policy.ModeSM4XTS {
			return txn.Journal
		}
	}
	return txn.Checksum
}

// BlockSize is that of the filesystem, in bytes.
func (p *Plan) BlockSize() int { return p.blockSize }

// Super is what the superblock said when the plan was made.
func (p *Plan) Super() image.Super { return p.super }

// Inodes is the number of inodes that will change.
func (p *Plan) Inodes() int { return len(p.items) }

// item is one inode to convert.
type item struct {
	ino    image.Ino
	kind   image.FileType
	policy uint8 // index into Plan.Policies
}

// ErrRefused is wrapped by the error that lists what cannot be converted.
var ErrRefused = errors.New("cannot be converted")

// Refusal is one thing that cannot be converted.
type Refusal struct {
	Path string
	Ino  image.Ino
	Why  string
	// Check names what --force takes to override it, empty if nothing does.
	Check string
}

func (r Refusal) String() string {
	return fmt.Sprintf("%s: inode %d: %s", r.Path, r.Ino, r.Why)
}

// RefusedError lists what stands in the way of a plan. It wraps ErrRefused.
type RefusedError struct {
	Refusals []Refusal // the first maxRefusals
	Total    int
	Shared   bool // extents are among it that others refer to
}

// maxRefusals bounds the list that a plan keeps.
const maxRefusals = 1000

func (e *RefusedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", e.Refusals[0])
	if e.Total > 1 {
		fmt.Fprintf(&b, " (and %d more)", e.Total-1)
	}
	return b.String()
}

func (e *RefusedError) Unwrap() error { return ErrRefused }

// Check is the word for --force that overrides all refusals, empty if there is
// none that does.
func (e *RefusedError) Check() string {
	check := e.Refusals[0].Check
	for _, r := range e.Refusals {
		if r.Check != check {
			return ""
		}
	}
	return check
}
