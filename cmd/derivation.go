package cmd

import (
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/kdf"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/tree"
)

// derivation is what enters the derivation of a key, as far as it is known.
type derivation struct {
	mode    policy.Mode
	modeNum byte   // as it enters, usually mode
	kdf     string // "" if none was chosen
	flags   uint8  // of the policy: the one that chooses key and IVs
	extent  bool
	inline  bool // the inline key of hardware-wrapped keys
	nonce   []byte
	uuid    []byte
	ino     uint64
	index   uint64
	unit    int // bytes of a data unit, 0 if nothing tells
	padding int // of names, 0 if nothing tells
}

// fill takes from a context what was not given.
func (d *derivation) fill(c policy.Context, kind image.FileType, hardware bool) {
	if d.flags == 0 && !d.extent {
		d.flags = c.Flags &^ policy.PadMask
	}
	if d.kdf == "" {
		switch {
		case c.Version == 2:
			d.kdf = kdfV2
			d.inline = d.inline || hardware && kind == image.TypeRegular && !d.extent
		case c.Method() == policy.DirectKey:
			d.kdf = kdfNone
		default:
			d.kdf = kdfV1
		}
	}
	if d.mode == 0 {
		d.mode = modeOf(c.Policy, kind)
	}
	if d.nonce == nil {
		d.nonce = c.Nonce[:]
	}
	switch kind {
	case image.TypeRegular:
		d.unit = c.DataUnitSize(d.unit)
	case image.TypeDirectory:
		d.unit, d.padding = maxName, c.Padding()
	default:
		d.padding = c.Padding()
	}
}

// maxName is the longest name, in clear or encrypted, in bytes.
const maxName = 255

// withKeys reads the keys and calls f, with d filled from the inode that IMAGE
// and PATH name, if there are operands. PATH may be in clear where a key opens
// it, but need not be: the keys may be of something else.
func (a *app) withKeys(k *keyFlags, d *derivation, args []string, f func([]*crypt.MasterKey) error) error {
	keys, err := a.masterKeys(k)
	if err != nil {
		return err
	}
	defer wipeKeys(keys)
	if len(args) == 0 {
		return f(keys)
	}
	img, err := a.openImage(args[0], probe.Options{AllowUnfinished: true, AllowDirty: true})
	if err != nil {
		return err
	}
	x := a.accessTo(img, noKeys(), keys)
	defer x.Close()
	x.silent = true
	n, err := x.node(args[1])
	if err != nil {
		return err
	}
	if err := x.fill(d, n, k.hwWrapped); err != nil {
		return err
	}
	return f(keys)
}

// fill takes what was not given from an inode.
func (x *access) fill(d *derivation, n tree.Node, hardware bool) error {
	c, err := x.tree.Context(n)
	if err != nil {
		return err
	}
	if c == nil {
		return atPath(n.Path, fmt.Errorf("inode %d has no encryption context", n.Ino))
	}
	attr, err := x.tree.Attr(n)
	if err != nil {
		return err
	}
	sb := x.fs.Super()
	d.unit = sb.BlockSize
	d.fill(*c, attr.Type, hardware)
	if d.uuid == nil {
		d.uuid = sb.UUID[:]
	}
	if d.ino == 0 {
		d.ino = uint64(n.Ino)
	}
	return nil
}

// policyContext has of a context what the IVs need.
func (d *derivation) policyContext() (c policy.Context) {
	c.Flags = d.flags
	copy(c.Nonce[:], d.nonce)
	return c
}

// iv is the IV of a data unit, as long as the mode's.
func (d *derivation) iv(k *crypt.MasterKey, index uint64) crypt.RawIV {
	return k.IV(d.policyContext(), d.ino, index)
}

// check tells what is missing for one key and its IVs.
func (d *derivation) check() error {
	method := policy.Policy{Flags: d.flags}.Method()
	lblk := method == policy.IVInoLblk64 || method == policy.IVInoLblk32
	v2 := d.kdf == kdfV2 && !d.inline
	switch {
	case d.mode == 0:
		return usagef("which cipher? name it with --mode")
	case d.nonce == nil && (method == policy.DirectKey || d.kdf == kdfV1 || v2 && !lblk):
		return usagef("--file-nonce is missing")
	case d.uuid == nil && v2 && lblk:
		return usagef("--fs-uuid is missing: it enters the key")
	case d.ino == 0 && lblk:
		return usagef("--inode-number is missing: it enters the IVs")
	case d.kdf == kdfV1 && method == policy.DirectKey:
		return usagef("--direct-key goes with --kdf none (v1) or HKDF-SHA512 (v2)")
	case d.extent && !v2:
		return usagef("--per-extent goes with --kdf HKDF-SHA512")
	case method == policy.IVInoLblk32 && d.kdf != kdfV2 && !d.inline:
		return usagef("--iv-ino-lblk-32 goes with --kdf HKDF-SHA512: the key hashes the inode number")
	}
	return nil
}

// cipherKey derives the key of the cipher. The caller clears it.
func (d *derivation) cipherKey(k *crypt.MasterKey) ([]byte, error) {
	input, inline := inputOf(k)
	defer clear(inline)
	key := make([]byte, d.mode.KeySize())
	if d.kdf == kdfV2 && !d.inline {
		e := kdf.NewExpander(make([]byte, kdf.ExpanderSize), input)
		p, info := d.purpose()
		e.Expand(key, p, info)
		return key, nil
	}
	if d.inline {
		input = inline
	}
	if len(input) < len(key) {
		return nil, fmt.Errorf("%w: %d bytes, %v has %d", crypt.ErrKeySize, len(input), d.mode, len(key))
	}
	if d.kdf == kdfV1 && !d.inline {
		kdf.V1(key, input, (*[16]byte)(d.nonce))
	} else {
		copy(key, input)
	}
	return key, nil
}

// purpose is what HKDF takes for the one key.
func (d *derivation) purpose() (kdf.Purpose, []byte) {
	switch method := (policy.Policy{Flags: d.flags}).Method(); {
	case d.extent:
		return kdf.PerExtentKey, d.nonce
	case method == policy.DirectKey:
		return kdf.DirectKey, []byte{d.number()}
	case method == policy.IVInoLblk64:
		return kdf.IVInoLblk64Key, append([]byte{d.number()}, d.uuid...)
	case method == policy.IVInoLblk32:
		return kdf.IVInoLblk32Key, append([]byte{d.number()}, d.uuid...)
	}
	return kdf.PerFileKey, d.nonce
}

// number is the number of the mode as it enters derivations.
func (d *derivation) number() byte {
	if d.modeNum != 0 {
		return d.modeNum
	}
	return byte(d.mode)
}

// inputOf is what keys are derived from: the master key, or what hardware makes
// of one, with the inline encryption key.
func inputOf(k *crypt.MasterKey) (input, inline []byte) {
	if !k.Hardware() {
		return k.Raw(), nil
	}
	software, key := new([kdf.SoftwareSecretSize]byte), (*[kdf.HardwareKeySize]byte)(k.Raw())
	kdf.SoftwareSecret(software, key)
	inline = make([]byte, kdf.InlineKeySize)
	kdf.InlineKey((*[kdf.InlineKeySize]byte)(inline), key)
	return software[:], inline
}
