package cmd

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/crypt/crypttest"
	"fsenc/internal/crypt/policy"
)

// vectorBench is where commands run: files for their streams and for a key.
type vectorBench struct {
	*testing.T
	in, out, err *os.File
	key          string
}

func newTestBench(t *testing.T) *vectorBench {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	b := &vectorBench{T: t, key: filepath.Join(dir, "key")}
	for name, f := range map[string]**os.File{"in": &b.in, "out": &b.out, "err": &b.err} {
		var err error
		if *f, err = os.Create(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*f).Close() })
	}
	return b
}

// with gives the next commands a key.
func (b *vectorBench) with(key []byte) {
	b.Helper()
	if err := os.WriteFile(b.key, key, 0o600); err != nil {
		b.Fatal(err)
	}
}

// fill makes a file hold text and be read, or written, from its beginning.
func fill(t testing.TB, f *os.File, text []byte) {
	t.Helper()
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
}

// run runs fsenc inspect with the key and returns what it prints.
func (b *vectorBench) run(stdin []byte, args ...string) []byte {
	b.Helper()
	fill(b, b.in, stdin)
	fill(b, b.out, nil)
	fill(b, b.err, nil)
	args = append(append([]string{"inspect"}, args...), "--key-file", b.key)
	code := newApp(b.in, b.out, b.err).run(args)
	said, err := os.ReadFile(b.err.Name())
	if err != nil || code != exitDone || len(said) > 0 {
		b.Fatalf("%q: exit code %d, %v: %s", args, code, err, said)
	}
	out, err := os.ReadFile(b.out.Name())
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// derive runs inspect derive and returns its rows.
func (b *vectorBench) derive(args ...string) map[string]string {
	b.Helper()
	var got struct{ Derived []derived }
	if err := json.Unmarshal(b.run(nil, append([]string{"derive", "--json"}, args...)...), &got); err != nil {
		b.Fatal(err)
	}
	rows := map[string]string{}
	for _, r := range got.Derived {
		rows[r.What] = r.Value
	}
	return rows
}

// crypt encrypts plain, pads it for the comparison and decrypts it again.
func (b *vectorBench) crypt(id string, plain, ct []byte, args ...string) {
	b.Helper()
	args = append([]string{"crypt"}, args...)
	if got := b.run(plain, args...); !bytes.Equal(got, ct) {
		b.Errorf("%s: ciphertext differs: %q", id, args)
	}
	padded := make([]byte, len(ct))
	copy(padded, plain)
	if got := b.run(ct, append(args, "--decrypt")...); !bytes.Equal(got, padded) {
		b.Errorf("%s: plaintext differs: %q", id, args)
	}
}

// cipherVector has the fields of the vectors of contents, names, symlinks,
// inline data and extents.
type cipherVector struct {
	ID         string
	Version    int `json:"policy_version"`
	Flags      uint8
	Method     string
	Mode       policy.Mode
	ModeName   string        `json:"mode_name"`
	KeyType    string        `json:"key_type"`
	MasterKey  crypttest.Hex `json:"master_key"`
	Nonce      crypttest.Hex
	Extent     crypttest.Hex `json:"extent_nonce"`
	Inode      crypttest.Num
	UUID       crypttest.Hex  `json:"fs_uuid"`
	DerivedKey crypttest.Hex  `json:"derived_key"`
	Unit       int            `json:"data_unit_size"`
	Log2Unit   uint8          `json:"log2_data_unit_size"`
	First      crypttest.Num  `json:"first_index"`
	FirstBlock *crypttest.Num `json:"first_block_in_extent"`
	FirstIV    crypttest.Hex  `json:"first_iv"`
	Plaintext  crypttest.Hex
	Ciphertext crypttest.Hex
	Padding    int
	IV         crypttest.Hex
	Names      [][2]crypttest.Hex
	Target     crypttest.Hex
	MaxLen     int `json:"max_len"`
}

func (v *cipherVector) hardware() bool { return v.KeyType == "hw_wrapped" }

// flags are those that say how key and IVs come about, inputs included that
// must not matter.
func (v *cipherVector) flags() []string {
	args := []string{"--mode", v.ModeName, "--kdf", kdfV2}
	switch {
	case v.Version == 1 && v.Method == "direct_key":
		args = []string{v.ModeName, "--kdf", "none"}
	case v.Version == 1:
		args = []string{v.ModeName, "--kdf", "aes-128-ecb"}
	}
	if v.Extent != nil {
		return append(args, "--per-extent", "--file-nonce", hex.EncodeToString(v.Extent))
	}
	if v.Method != "per_file" {
		args = append(args, "--"+strings.ReplaceAll(v.Method, "_", "-"))
	}
	if v.hardware() {
		args = append(args, "--enable-hw-kdf")
	}
	return append(args, "--file-nonce", hex.EncodeToString(v.Nonce), "--inode-number", fmt.Sprint(v.Inode),
		"--fs-uuid", hex.EncodeToString(v.UUID))
}

// context is a context that says the same, with its flags.
func (v *cipherVector) context(names bool) []string {
	c := policy.Context{Policy: policy.Policy{Version: uint8(v.Version), Contents: v.Mode, Filenames: v.Mode,
		Flags: v.Flags, Log2DataUnitSize: v.Log2Unit}, Nonce: policy.Nonce(v.Nonce)}
	args := []string{"--context", hex.EncodeToString(c.Bytes()), "--inode-number", fmt.Sprint(v.Inode),
		"--fs-uuid", hex.EncodeToString(v.UUID)}
	if v.hardware() {
		args = append(args, "--hw-wrapped")
	}
	if names {
		args = append(args, "--names")
	}
	return args
}

// checkDerive compares the key of the cipher and the IV.
func (v *cipherVector) checkDerive(b *vectorBench, iv []byte, args []string) {
	b.Helper()
	if args[0] == v.ModeName {
		args = append([]string{"--mode"}, args...)
	}
	rows := b.derive(args...)
	if rows["cipher key"] != hex.EncodeToString(v.DerivedKey) || !strings.HasPrefix(rows["iv"], hex.EncodeToString(iv)) {
		b.Errorf("%s: key %s, IV %s with %q", v.ID, rows["cipher key"], rows["iv"], args)
	}
}

func TestCryptContents(t *testing.T) {
	b := newTestBench(t)
	for _, file := range []string{
		"contents_v1.json", "contents_v2_per_file.json", "contents_v2_direct_key.json", "contents_v2_iv_ino_lblk_64.json",
		"contents_v2_iv_ino_lblk_32.json", "contents_sub_block.json", "contents_hw_wrapped.json", "contents_sm4.json",
	} {
		for _, v := range crypttest.Load[cipherVector](t, file) {
			b.with(v.MasterKey)
			index := []string{"--data-unit-index", fmt.Sprint(v.First)}
			args := append(v.flags(), index...)
			if v.hardware() {
				args = append(args, "--use-inlinecrypt-key")
			}
			v.checkDerive(b, v.FirstIV, args)
			b.crypt(v.ID, v.Plaintext, v.Ciphertext, append(args, "--data-unit-size", fmt.Sprint(v.Unit))...)
			args = append(v.context(false), index...)
			if v.Log2Unit == 0 {
				args = append(args, "--data-unit-size", fmt.Sprint(v.Unit))
			}
			b.crypt(v.ID, v.Plaintext, v.Ciphertext, args...)
			// The derived key and the IV's number are enough for the cipher.
			if v.Method == "per_file" {
				b.with(v.DerivedKey)
				b.crypt(v.ID, v.Plaintext, v.Ciphertext, "--mode-num", fmt.Sprint(uint8(v.Mode)), "--block-size", fmt.Sprint(v.Unit),
					"--block-number", fmt.Sprint(v.First))
			}
		}
	}
}

func TestCryptInlineAndExtents(t *testing.T) {
	b := newTestBench(t)
	for _, v := range crypttest.Load[cipherVector](t, "inline_data.json") {
		b.with(v.MasterKey)
		v.checkDerive(b, v.FirstIV, v.flags())
		b.crypt(v.ID, v.Plaintext, v.Ciphertext, append(v.flags(), "--data-unit-size", fmt.Sprint(v.Unit), "--padding", "16")...)
	}
	for _, v := range crypttest.Load[cipherVector](t, "extents.json") {
		b.with(v.MasterKey)
		args := append(v.flags(), "--data-unit-index", fmt.Sprint(*v.FirstBlock))
		v.checkDerive(b, v.FirstIV, args)
		b.crypt(v.ID, v.Plaintext, v.Ciphertext, append(args, "--data-unit-size", fmt.Sprint(v.Unit))...)
	}
}

// manyNames is from where on every seventh name of a vector is enough: the
// tests of internal/crypt take them all.
const manyNames = 16

func TestCryptNames(t *testing.T) {
	b := newTestBench(t)
	for _, file := range []string{
		"names_v1.json", "names_v2_per_file.json", "names_v2_direct_key.json", "names_v2_iv_ino_lblk.json",
		"names_hw_wrapped.json", "names_all_lengths.json", "names_sm4.json",
	} {
		for _, v := range crypttest.Load[cipherVector](t, file) {
			b.with(v.MasterKey)
			v.checkDerive(b, v.IV, v.flags())
			v.checkDerive(b, v.IV, v.context(true))
			args := append(v.flags(), "--data-unit-size", "255", "--padding", fmt.Sprint(v.Padding))
			for i, pair := range v.Names {
				if i%2 == 1 { // the same, said by a context
					args = v.context(true)
				}
				if i < manyNames || i%7 == 0 {
					b.crypt(v.ID, pair[0], pair[1], args...)
				}
			}
		}
	}
	for _, v := range crypttest.Load[cipherVector](t, "symlinks.json") {
		b.with(v.MasterKey)
		v.checkDerive(b, v.IV, v.flags())
		b.crypt(v.ID, v.Target, v.Ciphertext, append(v.flags(), "--padding", fmt.Sprint(v.Padding),
			"--data-unit-size", fmt.Sprint(v.MaxLen-linkOverhead))...)
	}
}

func TestDeriveIdentifiers(t *testing.T) {
	b := newTestBench(t)
	for _, v := range crypttest.Load[struct {
		cipherVector
		Identifier string `json:"key_identifier"`
	}](t, "key_identifiers.json") {
		b.with(v.MasterKey)
		args := []string{"derive", "--dump-key-identifier"}
		if v.hardware() {
			args = append(args, "--enable-hw-kdf")
		}
		if got := string(b.run(nil, args...)); got != v.Identifier+"\n" {
			t.Errorf("%s: identifier %s", v.ID, got)
		}
	}
}

func TestDeriveInodeHash(t *testing.T) {
	b := newTestBench(t)
	for _, v := range crypttest.Load[struct {
		cipherVector
		Key  string        `json:"inode_hash_key"`
		Hash crypttest.Num `json:"inode_hash"`
	}](t, "inode_hash.json") {
		b.with(v.MasterKey)
		rows := b.derive("--inode-number", fmt.Sprint(v.Inode))
		if rows["inode hash key"] != v.Key || rows["inode hash"] != fmt.Sprintf("%08x", v.Hash) {
			t.Errorf("%s: %v", v.ID, rows)
		}
	}
}

// perNonce are the keys of key_derivation.json that inspect derive shows for a
// nonce, perMode those that depend on a mode.
var (
	perNonce = map[string]string{"2_per_file": "per-file key", "9_per_extent": "per-extent key"}
	perMode  = map[string]string{"3_direct": "direct key", "4_lblk64": "iv-ino-lblk-64 key", "6_lblk32": "iv-ino-lblk-32 key"}
)

func TestDeriveKeys(t *testing.T) {
	b := newTestBench(t)
	for _, v := range crypttest.Load[struct {
		cipherVector
		HKDF map[string]string
		V1   map[string]string `json:"v1_aes_ecb"`
		HW   map[string]string
	}](t, "key_derivation.json") {
		b.with(v.MasterKey)
		common := []string{"--file-nonce", hex.EncodeToString(v.Nonce), "--fs-uuid", hex.EncodeToString(v.UUID),
			"--inode-number", fmt.Sprint(v.Inode)}
		want := map[string]string{}
		for m := policy.Mode(0); m < 16; m++ {
			if !m.Known() {
				continue
			}
			rows := b.derive(append(common, "--mode-num", fmt.Sprint(uint8(m)))...)
			for what, name := range perNonce {
				want[name] = v.HKDF[fmt.Sprintf("%s_%d", what, m.KeySize())]
			}
			for what, name := range perMode {
				want[name] = v.HKDF[fmt.Sprintf("%s_mode%d", what, uint8(m))]
			}
			want["key identifier"], want["dirhash key"] = v.HKDF["1_key_identifier"], v.HKDF["5_dirhash_key"]
			want["inode hash key"], want["v1 per-file key"] = v.HKDF["7_inode_hash_key"], v.V1[fmt.Sprint(m.KeySize())]
			for name, w := range want {
				if rows[name] != w || w == "" && name != "v1 per-file key" {
					t.Errorf("%s: %v: %s is %s, want %s", v.ID, m, name, rows[name], w)
				}
			}
		}
		if v.HW != nil {
			rows := b.derive("--enable-hw-kdf")
			for what, name := range map[string]string{"sw_secret": "software secret",
				"inline_encryption_key": "inline encryption key", "key_identifier": "key identifier"} {
				if rows[name] != v.HW[what] || rows[name] == "" {
					t.Errorf("%s: %s is %s, want %s", v.ID, name, rows[name], v.HW[what])
				}
			}
		}
	}
}
