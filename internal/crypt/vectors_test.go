package crypt

import (
	"bytes"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/policy"
)

// vector has the fields common to the vectors of contents, names and symlinks.
type vector struct {
	ID            string
	PolicyVersion uint8 `json:"policy_version"`
	Flags         uint8
	Mode          policy.Mode
	KeyType       string        `json:"key_type"`
	MasterKey     crypttest.Hex `json:"master_key"`
	Nonce         crypttest.Hex
	Inode         crypttest.Num
	UUID          crypttest.Hex `json:"fs_uuid"`
	Identifier    crypttest.Hex `json:"key_identifier"`
	DerivedKey    crypttest.Hex `json:"derived_key"`
	InodeHash     *uint32       `json:"inode_hash"`

	UnitSize   int           `json:"data_unit_size"`
	Log2Unit   uint8         `json:"log2_data_unit_size"`
	BlockSize  int           `json:"fs_block_size"`
	FirstLblk  crypttest.Num `json:"first_logical_block"`
	FirstIndex crypttest.Num `json:"first_index"`
	FirstIV    crypttest.Hex `json:"first_iv"`
	Plaintext  crypttest.Hex
	Ciphertext crypttest.Hex

	IV     crypttest.Hex
	Names  [][2]crypttest.Hex
	Target crypttest.Hex
	MaxLen int           `json:"max_len"`
	OnDisk crypttest.Hex `json:"on_disk"`
}

var partner = map[policy.Mode]policy.Mode{
	policy.ModeAES256XTS: policy.ModeAES256CTS, policy.ModeAES256CTS: policy.ModeAES256XTS,
	policy.ModeAES128CBC: policy.ModeAES128CTS, policy.ModeAES128CTS: policy.ModeAES128CBC,
	policy.ModeSM4XTS: policy.ModeSM4CTS, policy.ModeSM4CTS: policy.ModeSM4XTS,
	policy.ModeAdiantum: policy.ModeAdiantum, policy.ModeAES256HCTR2: policy.ModeAES256XTS,
}

func (v *vector) context() policy.Context {
	c := policy.Context{Policy: policy.Policy{
		Version: v.PolicyVersion, Contents: v.Mode, Filenames: partner[v.Mode],
		Flags: v.Flags, Log2DataUnitSize: v.Log2Unit,
	}}
	if v.isNames() {
		c.Contents, c.Filenames = c.Filenames, c.Contents
	}
	copy(c.Identifier[:], v.Identifier)
	copy(c.Nonce[:], v.Nonce)
	return c
}

func (v *vector) isNames() bool { return v.Names != nil || v.Target != nil }

func (v *vector) volume() Volume {
	vol := Volume{BlockSize: v.BlockSize}
	if vol.BlockSize == 0 {
		vol.BlockSize = max(v.UnitSize, 16)
	}
	copy(vol.UUID[:], v.UUID)
	return vol
}

func (v *vector) key(t testing.TB) *MasterKey {
	make := NewMasterKey
	if v.KeyType == "hw_wrapped" {
		make = NewHardwareKey
	}
	k, err := make(bytes.Clone(v.MasterKey))
	if err != nil {
		t.Fatalf("%s: %v", v.ID, err)
	}
	t.Cleanup(k.Wipe)
	if id := k.Identifier(); v.PolicyVersion == 2 && !bytes.Equal(id[:], v.Identifier) {
		t.Errorf("%s: identifier %v, want %x", v.ID, id, v.Identifier)
	}
	return k
}

// checkDerived compares the derived key and the inode's hash.
func (v *vector) checkDerived(t *testing.T, k *MasterKey, u use) {
	c, vol := v.context(), v.volume()
	s, err := k.spec(&c, u, &vol)
	if err != nil {
		t.Fatalf("%s: %v", v.ID, err)
	}
	key := make([]byte, s.mode.KeySize())
	if s.derive(key); !bytes.Equal(key, v.DerivedKey) {
		t.Errorf("%s: derived key differs", v.ID)
	}
	if rule := k.ivRule(&c, uint64(v.Inode)); v.InodeHash != nil && rule.offset != *v.InodeHash {
		t.Errorf("%s: inode hash %d, want %d", v.ID, rule.offset, *v.InodeHash)
	}
}

var contentsFiles = []string{
	"contents_v1.json", "contents_v2_per_file.json", "contents_v2_direct_key.json",
	"contents_v2_iv_ino_lblk_64.json", "contents_v2_iv_ino_lblk_32.json",
	"contents_sub_block.json", "contents_hw_wrapped.json", "contents_sm4.json",
}

// onEachPath runs f on each code path of the AES modes.
func onEachPath(t *testing.T, f func(t *testing.T)) {
	for _, name := range Implementations() {
		restore, err := UseImplementation(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, f)
		restore()
	}
}

func TestContentsVectors(t *testing.T) { onEachPath(t, testContentsVectors) }

func testContentsVectors(t *testing.T) {
	var f Contents // one for all, as a worker has
	defer f.Close()
	for _, file := range contentsFiles {
		t.Run(file, func(t *testing.T) {
			for _, v := range crypttest.Load[vector](t, file) {
				k := v.key(t)
				v.checkDerived(t, k, forContents)
				if err := f.Init(k, v.context(), uint64(v.Inode), v.volume()); err != nil {
					t.Fatalf("%s: %v", v.ID, err)
				}
				checkContents(t, &v, &f)
				if first := k.IV(v.context(), uint64(v.Inode), uint64(v.FirstIndex)); !bytes.HasPrefix(first[:], v.FirstIV) {
					t.Errorf("%s: raw IV %x", v.ID, first)
				}
				checkRaw(t, &v, v.FirstIV, v.Plaintext[:v.UnitSize], v.Ciphertext[:v.UnitSize])
			}
		})
	}
}

func checkContents(t *testing.T, v *vector, f *Contents) {
	first := f.iv.at(uint64(v.FirstIndex))
	if !bytes.Equal(first[:len(v.FirstIV)], v.FirstIV) || f.unitSize != v.UnitSize {
		t.Errorf("%s: IV %x, units of %d bytes", v.ID, first[:len(v.FirstIV)], f.unitSize)
	}
	got := make([]byte, len(v.Plaintext))
	if f.EncryptUnits(got, v.Plaintext, uint64(v.FirstIndex)); !bytes.Equal(got, v.Ciphertext) {
		t.Errorf("%s: ciphertext differs", v.ID)
	}
	if f.DecryptUnits(got, got, uint64(v.FirstIndex)); !bytes.Equal(got, v.Plaintext) {
		t.Errorf("%s: plaintext differs", v.ID)
	}
	perBlock := uint64(f.blockSize / f.unitSize)
	if uint64(v.FirstIndex)%perBlock != 0 || len(got)%f.blockSize != 0 {
		return
	}
	lblk := uint64(v.FirstIndex) / perBlock
	if v.Log2Unit != 0 && lblk != uint64(v.FirstLblk) {
		t.Errorf("%s: block %d, want %d", v.ID, lblk, v.FirstLblk)
	}
	if f.EncryptBlocks(got, got, lblk); !bytes.Equal(got, v.Ciphertext) {
		t.Errorf("%s: ciphertext of blocks differs", v.ID)
	}
	if f.DecryptBlocks(got, got, lblk); !bytes.Equal(got, v.Plaintext) {
		t.Errorf("%s: plaintext of blocks differs", v.ID)
	}
}

// checkRaw starts from derived key and IV of the first unit, which is all that
// is looked at.
func checkRaw(t *testing.T, v *vector, iv, plain, ct []byte) {
	r, err := NewRaw(v.Mode, v.DerivedKey)
	if err != nil {
		t.Fatalf("%s: %v", v.ID, err)
	}
	defer r.Close()
	var first RawIV
	copy(first[:], iv)
	got := bytes.Clone(plain)
	if err := r.Check(len(got)); err != nil {
		t.Fatalf("%s: %v", v.ID, err)
	}
	if r.Encrypt(got, &first); !bytes.Equal(got, ct) {
		t.Errorf("%s: ciphertext under the derived key differs", v.ID)
	}
	if r.Decrypt(got, &first); !bytes.Equal(got, plain) {
		t.Errorf("%s: plaintext under the derived key differs", v.ID)
	}
}

var namesFiles = []string{
	"names_v1.json", "names_v2_per_file.json", "names_v2_direct_key.json", "names_v2_iv_ino_lblk.json",
	"names_hw_wrapped.json", "names_all_lengths.json", "names_sm4.json",
}

func TestNamesVectors(t *testing.T) { onEachPath(t, testNamesVectors) }

func testNamesVectors(t *testing.T) {
	var n Names
	defer n.Close()
	for _, file := range namesFiles {
		t.Run(file, func(t *testing.T) {
			for _, v := range crypttest.Load[vector](t, file) {
				k := v.key(t)
				v.checkDerived(t, k, forNames)
				if err := n.Init(k, v.context(), uint64(v.Inode), v.volume()); err != nil {
					t.Fatalf("%s: %v", v.ID, err)
				}
				if !bytes.Equal(n.iv[:len(v.IV)], v.IV) {
					t.Errorf("%s: IV %x", v.ID, n.iv)
				}
				for _, pair := range v.Names {
					checkOneName(t, v.ID, &n, pair[0], pair[1])
					padded := make([]byte, len(pair[1]))
					copy(padded, pair[0])
					checkRaw(t, &v, v.IV, padded, pair[1])
				}
			}
		})
	}
}

func checkOneName(t *testing.T, id string, n *Names, plain, ct []byte) {
	got, err := n.EncryptName([]byte("before"), plain)
	if err != nil || !bytes.Equal(got[6:], ct) || string(got[:6]) != "before" {
		t.Errorf("%s: name of %d bytes: ciphertext differs, %v", id, len(plain), err)
	}
	if size := n.EncryptedLen(len(plain)); size != len(ct) {
		t.Errorf("%s: name of %d bytes: length %d, want %d", id, len(plain), size, len(ct))
	}
	for _, open := range []func(dst, ct []byte) ([]byte, error){n.DecryptName, n.CheckName} {
		if back, err := open([]byte("before"), ct); err != nil || !bytes.Equal(back[6:], plain) {
			t.Errorf("%s: name of %d bytes: plaintext differs, %v", id, len(plain), err)
		}
	}
}

func TestSymlinkVectors(t *testing.T) { onEachPath(t, testSymlinkVectors) }

func testSymlinkVectors(t *testing.T) {
	for _, v := range crypttest.Load[vector](t, "symlinks.json") {
		k := v.key(t)
		v.checkDerived(t, k, forNames)
		n, err := k.Names(v.context(), uint64(v.Inode), v.volume())
		if err != nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		got, err := n.EncryptLink(v.Target, v.MaxLen)
		if err != nil || !bytes.Equal(got, v.OnDisk) {
			t.Errorf("%s: stored form differs, %v", v.ID, err)
		}
		for _, open := range []func([]byte) ([]byte, error){n.DecryptLink, n.CheckLink} {
			if target, err := open(v.OnDisk); err != nil || !bytes.Equal(target, v.Target) {
				t.Errorf("%s: target differs, %v", v.ID, err)
			}
		}
		n.Close()
	}
}

func TestInlineDataVectors(t *testing.T) { onEachPath(t, testInlineDataVectors) }

func testInlineDataVectors(t *testing.T) {
	for _, v := range crypttest.Load[vector](t, "inline_data.json") {
		k := v.key(t)
		v.checkDerived(t, k, forInline)
		f, err := k.Inline(v.context(), uint64(v.Inode), v.volume())
		if err != nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		got := f.EncryptInline(nil, v.Plaintext)
		if !bytes.Equal(got, v.Ciphertext) {
			t.Errorf("%s: ciphertext differs", v.ID)
		}
		f.DecryptInline(got)
		if !bytes.HasPrefix(got, v.Plaintext) || len(bytes.TrimLeft(got[len(v.Plaintext):], "\x00")) != 0 {
			t.Errorf("%s: plaintext differs", v.ID)
		}
		f.Close()
	}
}

func TestExtentVectors(t *testing.T) { onEachPath(t, testExtentVectors) }

func testExtentVectors(t *testing.T) {
	type extentVector struct {
		vector
		ExtentContext crypttest.Hex `json:"extent_context"`
		FirstBlock    crypttest.Num `json:"first_block_in_extent"`
	}
	for _, v := range crypttest.Load[extentVector](t, "extents.json") {
		v.PolicyVersion = 2
		k := v.key(t)
		e, err := policy.ParseExtentContext(v.ExtentContext)
		if err != nil || !bytes.Equal(e.Bytes(), v.ExtentContext) {
			t.Fatalf("%s: %x, %v", v.ID, e.Bytes(), err)
		}
		f, err := k.Extent(v.context(), e, v.volume())
		if err != nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		v.FirstIndex = v.FirstBlock
		checkContents(t, &v.vector, f)
		f.Close()
	}
}

func TestDirHashVectors(t *testing.T) {
	type hashVector struct {
		vector
		DirNonce crypttest.Hex `json:"dir_nonce"`
		Folded   crypttest.Hex `json:"folded_name"`
		SipHash  hexNumber
		Ext4     hexNumber `json:"ext4_hash"`
		Minor    hexNumber `json:"ext4_minor_hash"`
		F2fs     hexNumber `json:"f2fs_hash"`
	}
	for _, v := range crypttest.Load[hashVector](t, "dirhash.json") {
		k := v.key(t)
		c := policy.Context{Policy: policy.Policy{
			Version: 2, Contents: policy.ModeAES256XTS, Filenames: policy.ModeAES256CTS, Identifier: k.Identifier(),
		}, Nonce: policy.Nonce(v.DirNonce)}
		n, err := k.Names(c, 12, Volume{BlockSize: 4096})
		if err != nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		hash, minor, raw := n.DirHash(v.Folded)
		if uint64(hash) != uint64(v.Ext4) || uint64(minor) != uint64(v.Minor) || raw != uint64(v.SipHash) || uint64(uint32(raw)) != uint64(v.F2fs) {
			t.Errorf("%s: %08x %08x %016x", v.ID, hash, minor, raw)
		}
		n.Close()
	}
}
