package cmd

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// cipherFlags say how the key and the IVs of a cipher come about. Names and
// meanings are those of fscrypt-crypt-util of xfstests, and some more.
type cipherFlags struct {
	keys      keyFlags
	mode      string
	modeNum   int
	kdf       string
	directKey bool
	lblk64    bool
	lblk32    bool
	extent    bool
	inlineKey bool
	names     bool
	nonce     string
	uuid      string
	context   string
	ino       uint64
	index     uint64
}

// The key derivations of --kdf. With none of them derive shows all keys.
const (
	kdfNone = "none"
	kdfV1   = "AES-128-ECB"
	kdfV2   = "HKDF-SHA512"
)

func (o *cipherFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.mode, "mode", "", "the cipher is that of `MODE`, as AES-256-XTS")
	f.IntVar(&o.modeNum, "mode-num", 0, "the mode has the number `N` in derivations; it chooses the cipher, too, if nothing else does")
	f.StringVar(&o.kdf, "kdf", "", "derive the key with `KDF`: none, AES-128-ECB (v1) or HKDF-SHA512 (v2)")
	f.BoolVar(&o.directKey, "direct-key", false, "key and IVs as with the policy flag DIRECT_KEY")
	f.BoolVar(&o.lblk64, "iv-ino-lblk-64", false, "key and IVs as with the policy flag IV_INO_LBLK_64")
	f.BoolVar(&o.lblk32, "iv-ino-lblk-32", false, "key and IVs as with the policy flag IV_INO_LBLK_32")
	f.BoolVar(&o.extent, "per-extent", false, "the nonce is that of an extent, and the key the extent's")
	f.StringVar(&o.nonce, "file-nonce", "", "nonce of the inode, 32 `HEX` digits")
	f.StringVar(&o.uuid, "fs-uuid", "", "`UUID` of the filesystem")
	f.Uint64Var(&o.ino, "inode-number", 0, "number `INO` of the inode")
	f.StringVar(&o.context, "context", "", "take from an encryption context, in `HEX` digits, what it has of these")
	f.BoolVar(&o.names, "names", false, "with --context: names are encrypted, not contents")
	f.Uint64Var(&o.index, "data-unit-index", 0, "the first data unit has the index `N` in the file")
	f.Uint64Var(&o.index, "block-number", 0, "the same as --data-unit-index")
	o.keys = *noKeys()
	o.keys.registerRaw(f)
	f.BoolVar(&o.keys.hwWrapped, "enable-hw-kdf", false, "the same as --hw-wrapped")
	f.BoolVar(&o.inlineKey, "use-inlinecrypt-key", false, "with --hw-wrapped: the key is the inline encryption key")
}

// longNames are the names that fscrypt-crypt-util has for modes.
var longNames = map[string]policy.Mode{
	"AES-256-CTS-CBC": policy.ModeAES256CTS, "AES-128-CBC-ESSIV": policy.ModeAES128CBC,
	"AES-128-CTS-CBC": policy.ModeAES128CTS, "SM4-CTS-CBC": policy.ModeSM4CTS,
}

func parseCipher(name string) (policy.Mode, error) {
	if m, ok := longNames[strings.ToUpper(name)]; ok {
		return m, nil
	}
	return policy.ParseMode(name)
}

// parse checks the flags and takes over what they say, and what the context of
// --context adds.
func (o *cipherFlags) parse() (*derivation, error) {
	d := &derivation{extent: o.extent, inline: o.inlineKey, ino: o.ino, index: o.index}
	if err := o.parseMode(d); err != nil {
		return nil, err
	}
	if err := o.parseMethod(d); err != nil {
		return nil, err
	}
	var err error
	if d.nonce, err = hexBytes(o.nonce); err != nil {
		return nil, usagef("--file-nonce: %v", err)
	}
	if d.uuid, err = hexBytes(strings.ReplaceAll(o.uuid, "-", "")); err != nil {
		return nil, usagef("--fs-uuid: %v", err)
	}
	if o.inlineKey && !o.keys.hwWrapped {
		return nil, usagef("--use-inlinecrypt-key needs --hw-wrapped: no other key has one")
	}
	if o.context != "" {
		raw, err := hex.DecodeString(o.context)
		if err != nil {
			return nil, usagef("--context: not hexadecimal")
		}
		c, err := policy.ParseContext(raw)
		if err != nil {
			return nil, usagef("--context: %v", err)
		}
		kind := image.TypeRegular
		if o.names {
			kind = image.TypeDirectory
		}
		d.fill(c, kind, o.keys.hwWrapped)
	}
	return d, nil
}

func (o *cipherFlags) parseMode(d *derivation) (err error) {
	if o.mode != "" {
		if d.mode, err = parseCipher(o.mode); err != nil {
			return usagef("--mode: %v", err)
		}
	}
	switch {
	case o.modeNum < 0 || o.modeNum > 255:
		return usagef("--mode-num: %d does not fit into a byte", o.modeNum)
	case d.mode == 0 && o.modeNum != 0:
		if d.mode = policy.Mode(o.modeNum); !d.mode.Known() {
			return usagef("--mode-num: there is no mode %d", o.modeNum)
		}
	}
	d.modeNum = byte(o.modeNum)
	return nil
}

func (o *cipherFlags) parseMethod(d *derivation) error {
	given := 0
	for _, m := range []struct {
		set  bool
		flag uint8
	}{{o.directKey, policy.FlagDirectKey}, {o.lblk64, policy.FlagIVInoLblk64}, {o.lblk32, policy.FlagIVInoLblk32}, {o.extent, 0}} {
		if m.set {
			given++
			d.flags |= m.flag
		}
	}
	if given > 1 {
		return usagef("--direct-key, --iv-ino-lblk-64, --iv-ino-lblk-32 and --per-extent exclude each other")
	}
	known := []string{kdfNone, kdfV1, kdfV2}
	i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, o.kdf) })
	switch {
	case i >= 0:
		d.kdf = known[i]
	case o.kdf != "":
		return usagef("--kdf: %q is none of %s", escapeString(o.kdf), strings.Join(known, ", "))
	}
	return nil
}

// hexBytes reads 16 bytes, or none.
func hexBytes(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 16 {
		return nil, fmt.Errorf("want 32 hexadecimal digits")
	}
	return b, nil
}
