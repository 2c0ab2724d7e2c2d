package convert

import (
	"encoding/binary"
	"errors"
	"fmt"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// errPlan: a plan in a log that does not decode, although its checksum held.
var errPlan = errors.New("plan not understood")

// A plan is stored as: u8 version, u8 op, u8 wipe, 32 bytes seed; then, each
// led by its count as uvarint, the policies (u8 length, ioctl form, 16 bytes of
// identifier of the key; Rekey's target last), the tops
// (uvarint inode, uvarint length, path), the extents (u8 policy index, uvarints
// of the distance from the start of the one before and of the length, zigzag
// varint of the inode's distance) and the items (u8 kind and policy
// index, zigzag varint of the inode's distance from the one before); then the
// block size and the total of bytes that progress needs, as uvarints.
const planVersion = 2

// marshal encodes the plan for the log.
func (p *Plan) marshal() []byte {
	wipe := byte(0)
	if p.Wipe {
		wipe = 1
	}
	b := []byte{planVersion, byte(p.Op), wipe}
	b = append(b, p.Seed[:]...)
	b = binary.AppendUvarint(b, uint64(len(p.AllPolicies())))
	for i, pol := range p.AllPolicies() {
		raw := pol.Bytes()
		b = append(append(b, byte(len(raw))), raw...)
		b = append(b, p.keyIDs[i][:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(p.Tops)))
	for _, t := range p.Tops {
		b = binary.AppendUvarint(b, uint64(t.Ino))
		b = binary.AppendUvarint(b, uint64(len(t.Path)))
		b = append(b, t.Path...)
	}
	b = appendExtents(b, p.extents)
	b = binary.AppendUvarint(b, uint64(len(p.items)))
	last := image.Ino(0)
	for _, it := range p.items {
		b = append(b, byte(it.kind)|it.policy<<4)
		b = binary.AppendVarint(b, int64(it.ino-last))
		last = it.ino
	}
	b = binary.AppendUvarint(b, uint64(p.blockSize))
	return binary.AppendUvarint(b, uint64(p.Totals.Bytes))
}

// planReader decodes; the first error sticks.
type planReader struct {
	b   []byte
	bad bool
}

func (r *planReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *planReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *planReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *planReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a count of things that take at least size bytes each.
func (r *planReader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

// unmarshalPlan decodes what marshal wrote.
func unmarshalPlan(b []byte) (*Plan, error) {
	r := &planReader{b: b}
	if v := r.byte(); v != planVersion {
		return nil, fmt.Errorf("%w: version %d", errPlan, v)
	}
	p := &Plan{Op: Op(r.byte()), Wipe: r.byte() == 1}
	copy(p.Seed[:], r.take(32))
	for range r.count(2) {
		pol, err := policy.ParsePolicy(r.take(uint64(r.byte())))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errPlan, err)
		}
		p.Policies = append(p.Policies, pol)
		var id policy.Identifier
		copy(id[:], r.take(uint64(len(id))))
		p.keyIDs = append(p.keyIDs, id)
	}
	if p.Op == Rekey && len(p.Policies) > 0 {
		last := len(p.Policies) - 1
		p.Target, p.Policies = &p.Policies[last], p.Policies[:last]
	}
	for range r.count(2) {
		ino := image.Ino(r.uvarint())
		p.Tops = append(p.Tops, Top{Ino: ino, Path: string(r.take(r.uvarint()))})
	}
	r.extents(p)
	r.items(p)
	p.blockSize = int(r.uvarint())
	p.Totals.Bytes = int64(r.uvarint())
	if p.blockSize < 512 || p.blockSize > 1<<20 || p.blockSize&(p.blockSize-1) != 0 {
		return nil, fmt.Errorf("%w: block size", errPlan)
	}
	if r.bad || len(r.b) != 0 || p.Op < Encrypt || p.Op > Rekey || (p.Op == Rekey) != (p.Target != nil) {
		return nil, errPlan
	}
	return p, nil
}

func (r *planReader) items(p *Plan) {
	n := r.count(2)
	p.items = make([]item, 0, n)
	ino := image.Ino(0)
	for range n {
		kind := r.byte()
		ino += image.Ino(r.varint())
		it := item{ino: ino, kind: image.FileType(kind & 0xf), policy: kind >> 4}
		if !it.kind.Encrypts() || int(it.policy) >= len(p.Policies) {
			r.bad = true
			return
		}
		p.items = append(p.items, it)
	}
}

// position is where the boundary of a conversion is.
type position struct {
	item   uint64 // items before it are in their new form
	active bool   // items[item] is under way
	isNew  bool   // its inode has the new form already: it is being undone
	lblk   uint64 // its blocks before this one have the new form
	down   bool   // last moved downwards: an undo is under way
}

// encode: u64 item, u64 lblk, u8 flags.
func (p position) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, p.item)
	b = binary.LittleEndian.AppendUint64(b, p.lblk)
	var flags byte
	for i, set := range []bool{p.active, p.isNew, p.down} {
		if set {
			flags |= 1 << i
		}
	}
	return append(b, flags)
}

// decodePosition decodes; the empty position is the start.
func decodePosition(b []byte) (position, error) {
	if len(b) == 0 {
		return position{}, nil
	}
	if len(b) != 17 || b[16] > 7 {
		return position{}, fmt.Errorf("%w: position", errPlan)
	}
	f := b[16]
	return position{
		item:   binary.LittleEndian.Uint64(b),
		lblk:   binary.LittleEndian.Uint64(b[8:]),
		active: f&1 != 0,
		isNew:  f&2 != 0,
		down:   f&4 != 0,
	}, nil
}
