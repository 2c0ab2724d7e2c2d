package crypt

import (
	"fmt"
	"io"

	"fsenc/internal/crypt/policy"
)

// unitAlign is what lengths of encrypted data are multiples of, in bytes.
const unitAlign = 16

// Contents encrypts and decrypts the contents of one regular file. Whole
// blocks are encrypted, zeros past the end of the file included. The zero value
// has no key; Init gives it one. Several goroutines may use one at once.
//
// Destination and source are the same slice or do not overlap. Lengths that
// are not what a method asks for panic.
type Contents struct {
	// Cache, if set before Init, is where the prepared cipher comes from.
	Cache *Cache

	slot      keySlot
	cipher    unitCipher // what the slot holds
	iv        ivRule
	unitSize  int
	blockSize int
}

// Contents prepares the contents cipher of the regular file ino with the
// context c. The error wraps policy.ErrInvalid for a policy that no kernel
// takes, ErrWrongKey if a v2 policy names another key, ErrKeySize if k is too
// short for the mode, ErrWeakKey if the kernel would refuse what it derives.
func (k *MasterKey) Contents(c policy.Context, ino uint64, v Volume) (*Contents, error) {
	f := new(Contents)
	if err := f.Init(k, c, ino, v); err != nil {
		return nil, err
	}
	return f, nil
}

// Init is Contents on memory of the caller. A Contents that was prepared for
// another file with the same mode takes the new key without allocating.
func (f *Contents) Init(k *MasterKey, c policy.Context, ino uint64, v Volume) error {
	return f.init(k, c, ino, v, forContents)
}

// Inline prepares the cipher of a file's contents kept inside metadata, as
// proposed for f2fs. It differs from Contents for hardware-wrapped keys only.
func (k *MasterKey) Inline(c policy.Context, ino uint64, v Volume) (*Contents, error) {
	f := new(Contents)
	if err := f.init(k, c, ino, v, forInline); err != nil {
		return nil, err
	}
	return f, nil
}

// Extent prepares the cipher of one extent of a regular file with the context
// c, as proposed for btrfs. Block 0 is the first one of the extent as it was
// allocated. The error is as for Contents, and wraps policy.ErrContext if the
// extent does not belong to the file's policy.
func (k *MasterKey) Extent(c policy.Context, e policy.ExtentContext, v Volume) (*Contents, error) {
	f := new(Contents)
	if err := f.InitExtent(k, c, e, v); err != nil {
		return nil, err
	}
	return f, nil
}

// InitExtent is Extent on memory of the caller, see Init.
func (f *Contents) InitExtent(k *MasterKey, c policy.Context, e policy.ExtentContext, v Volume) error {
	if err := checkExtent(k, c, e); err != nil {
		return err
	}
	c.Nonce = e.Nonce
	if e.Old {
		return f.init(k, c, 0, v, forOldExtent)
	}
	return f.init(k, c, 0, v, forExtent)
}

func checkExtent(k *MasterKey, c policy.Context, e policy.ExtentContext) error {
	if c.Method() != policy.PerFile || c.Log2DataUnitSize != 0 || k.Hardware() {
		return fmt.Errorf("%w: extents have keys of their own with v2, no flags but padding, whole blocks and raw keys", policy.ErrInvalid)
	}
	return e.Check(c.Policy)
}

func (f *Contents) init(k *MasterKey, c policy.Context, ino uint64, v Volume, u use) error {
	f.cipher = nil
	s, err := k.spec(&c, u, &v)
	if err != nil {
		f.Close()
		return err
	}
	if err := f.slot.load(&s, f.Cache, newUnitCipher); err != nil {
		return err
	}
	f.cipher = f.slot.cipher.(unitCipher)
	f.setUp(k, &c, ino, &v)
	return nil
}

// setUp sets what does not come out of the derived key.
func (f *Contents) setUp(k *MasterKey, c *policy.Context, ino uint64, v *Volume) {
	f.iv = k.ivRule(c, ino)
	f.blockSize = v.BlockSize
	f.unitSize = c.DataUnitSize(v.BlockSize)
}

// Close wipes all that depends on the key, or gives it back to the cache; f can
// be prepared again.
func (f *Contents) Close() {
	f.slot.close()
	f.cipher = nil
	f.iv = ivRule{}
}

// Format keeps round keys out of whatever is printed.
func (Contents) Format(s fmt.State, _ rune) { io.WriteString(s, "[contents cipher]") }

// UnitSize is the size of a data unit in bytes.
func (f *Contents) UnitSize() int { return f.unitSize }

// EncryptBlocks encrypts whole blocks of the file, the first being lblk.
func (f *Contents) EncryptBlocks(dst, src []byte, lblk uint64) {
	f.checkBlocks(src)
	f.EncryptUnits(dst, src, lblk*uint64(f.blockSize/f.unitSize))
}

// DecryptBlocks undoes EncryptBlocks.
func (f *Contents) DecryptBlocks(dst, src []byte, lblk uint64) {
	f.checkBlocks(src)
	f.DecryptUnits(dst, src, lblk*uint64(f.blockSize/f.unitSize))
}

func (f *Contents) checkBlocks(src []byte) {
	if len(src)%f.blockSize != 0 {
		panic("crypt: contents are not whole blocks")
	}
}

// EncryptUnits encrypts whole data units of the file. The first has the
// index given, counted in units from the start of the file.
func (f *Contents) EncryptUnits(dst, src []byte, index uint64) {
	for len(src) > 0 {
		n := f.part(src, index)
		f.cipher.encrypt(dst[:n], src[:n], f.unitSize, f.iv.at(index))
		dst, src, index = dst[n:], src[n:], index+uint64(n/f.unitSize)
	}
}

// DecryptUnits undoes EncryptUnits.
func (f *Contents) DecryptUnits(dst, src []byte, index uint64) {
	for len(src) > 0 {
		n := f.part(src, index)
		f.cipher.decrypt(dst[:n], src[:n], f.unitSize, f.iv.at(index))
		dst, src, index = dst[n:], src[n:], index+uint64(n/f.unitSize)
	}
}

// part is how much of src can be done with one call of the mode, which counts
// IVs up as le64: not past a wrap of a 32-bit index.
func (f *Contents) part(src []byte, index uint64) int {
	if len(src)%f.unitSize != 0 {
		panic("crypt: contents are not whole data units")
	}
	units := min(uint64(len(src)/f.unitSize), f.iv.run(index))
	return int(units) * f.unitSize
}

// EncryptUnit encrypts one data unit of any length that is a multiple of 16
// bytes: a data node of UBIFS, the last unit of inline data.
func (f *Contents) EncryptUnit(dst, src []byte, index uint64) {
	if len(src) > 0 {
		f.cipher.encrypt(dst, src, len(src), f.iv.at(index))
	}
}

// DecryptUnit undoes EncryptUnit.
func (f *Contents) DecryptUnit(dst, src []byte, index uint64) {
	if len(src) > 0 {
		f.cipher.decrypt(dst, src, len(src), f.iv.at(index))
	}
}

// EncryptInline appends to dst the ciphertext of contents kept inside metadata:
// data, zero-padded to a multiple of 16 bytes, as units from index 0 of which
// the last may be short.
func (f *Contents) EncryptInline(dst, data []byte) []byte {
	start := len(dst)
	dst = append(dst, data...)
	for (len(dst)-start)%unitAlign != 0 {
		dst = append(dst, 0)
	}
	f.inline(dst[start:], f.EncryptUnits, f.EncryptUnit)
	return dst
}

// DecryptInline decrypts in place what EncryptInline made, padding included.
// The length is a multiple of 16 bytes.
func (f *Contents) DecryptInline(area []byte) { f.inline(area, f.DecryptUnits, f.DecryptUnit) }

func (f *Contents) inline(area []byte, units, last func(dst, src []byte, index uint64)) {
	whole := len(area) / f.unitSize * f.unitSize
	units(area[:whole], area[:whole], 0)
	last(area[whole:], area[whole:], uint64(whole/f.unitSize))
}
