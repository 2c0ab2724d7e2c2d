package cmd

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"fsenc/internal/casefold"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
)

// hashOptions are the flags of inspect dirhash.
type hashOptions struct {
	keys   keyFlags
	nonce  string
	names  []string
	hex    bool
	folded bool
	null   bool
}

func newInspectDirhash(a *app) *cobra.Command {
	var o hashOptions
	c := &cobra.Command{
		Use:   "dirhash [IMAGE PATH]",
		Short: "Hash names as directories that fold case do",
		Long: "Hash names as they are hashed in an encrypted directory that folds case, with the\n" +
			"key of the directory that the nonce belongs to. IMAGE and PATH give the nonce.\n" +
			"Without --name the names are the lines of stdin.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return operands("IMAGE", "PATH")(c, args)
		},
		ValidArgsFunction: a.completePaths(&o.keys, true),
		RunE:              func(_ *cobra.Command, args []string) error { return a.inspectDirhash(&o, args) },
	}
	f := c.Flags()
	f.StringVar(&o.nonce, "file-nonce", "", "nonce of the directory, 32 `HEX` digits")
	f.StringArrayVar(&o.names, "name", nil, "hash the `NAME`; may be repeated")
	f.BoolVar(&o.hex, "hex", false, "names are given as hexadecimal digits")
	f.BoolVar(&o.folded, "folded", false, "names are folded already")
	f.BoolVarP(&o.null, "null", "0", false, "names on stdin end with a NUL, not a newline")
	o.keys = *noKeys()
	o.keys.registerRaw(f)
	return c
}

func (a *app) inspectDirhash(o *hashOptions, args []string) error {
	if err := o.keys.check(); err != nil {
		return err
	}
	nonce, err := hexBytes(o.nonce)
	switch {
	case err != nil:
		return usagef("--file-nonce: %v", err)
	case len(o.keys.files)+min(1, o.keys.fd+1) != 1:
		return usagef("inspect dirhash needs one key: --key-file or --key-fd")
	case len(o.names) == 0 && (o.keys.fd == 0 || slices.Contains(o.keys.files, "-")):
		return usagef("stdin is for the names, the key has to come from elsewhere")
	case nonce == nil && len(args) == 0:
		return usagef("--file-nonce is missing, or IMAGE and PATH of the directory")
	}
	d := &derivation{nonce: nonce}
	return a.withKeys(&o.keys, d, args, func(keys []*crypt.MasterKey) error {
		hasher, err := newHasher(keys[0], d.nonce)
		if err != nil {
			return err
		}
		defer hasher.Close()
		return a.hashNames(o, hasher)
	})
}

// newHasher makes a cipher of names for its hash, which depends on key and
// nonce alone: any policy will do that the key can serve.
func newHasher(k *crypt.MasterKey, nonce []byte) (*crypt.Names, error) {
	c := policy.Context{Policy: policy.Policy{Version: 2, Contents: policy.ModeAES128CBC, Filenames: policy.ModeAES128CTS,
		Identifier: k.Identifier()}, Nonce: policy.Nonce(nonce)}
	if k.Hardware() {
		c.Contents, c.Filenames, c.Flags = policy.ModeAES256XTS, policy.ModeAES256CTS, policy.FlagIVInoLblk64
	}
	return k.Names(c, 0, crypt.Volume{BlockSize: defaultUnit})
}

// jsonHash is a name's hash in JSON.
type jsonHash struct {
	header
	jsonName
	Folded  string `json:"folded"` // in hexadecimal digits
	SipHash string `json:"siphash"`
	Hash    string `json:"hash"`
	Minor   string `json:"minor_hash"`
	F2fs    string `json:"f2fs_hash"`
}

func (a *app) hashNames(o *hashOptions, hasher *crypt.Names) error {
	t := newTable(a.out, "SIPHASH", "EXT4", "MINOR", "F2FS", "NAME")
	err := o.each(a.stdin, func(name []byte) error {
		folded := name
		if !o.folded {
			if f, ok := casefold.Fold(nil, name); ok {
				folded = f // what cannot be folded is hashed as it is
			}
		}
		hash, minor, raw := hasher.DirHash(folded)
		sip, ext4, low, f2fs := fmt.Sprintf("%016x", raw), fmt.Sprintf("%08x", hash), fmt.Sprintf("%08x", minor), fmt.Sprintf("%08x", uint32(raw))
		if a.json() {
			return a.emit(jsonHash{headerOf("inspect dirhash"), nameOf(name), hex.EncodeToString(folded), sip, ext4, low, f2fs})
		}
		t.row(sip, ext4, low, f2fs, string(name))
		return nil
	})
	if err != nil || a.json() {
		return err
	}
	return t.flush()
}

// each calls f for each name.
func (o *hashOptions) each(stdin io.Reader, f func([]byte) error) error {
	for _, name := range o.names {
		if err := o.one([]byte(name), f); err != nil {
			return err
		}
	}
	if len(o.names) > 0 {
		return nil
	}
	end := byte('\n')
	if o.null {
		end = 0
	}
	in := bufio.NewScanner(stdin)
	in.Split(func(data []byte, atEOF bool) (int, []byte, error) { return splitAt(end, data, atEOF) })
	for in.Scan() {
		if err := o.one(in.Bytes(), f); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read standard input: %w", unwrapPath(err))
	}
	return nil
}

// splitAt is a bufio.SplitFunc of names that end with a byte.
func splitAt(end byte, data []byte, atEOF bool) (advance int, name []byte, err error) {
	if i := slices.Index(data, end); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// errHashName: a name that no directory holds.
var errHashName = errors.New("not a name")

func (o *hashOptions) one(name []byte, f func([]byte) error) error {
	if o.hex {
		raw, err := hex.DecodeString(string(name))
		if err != nil {
			return usagef("--hex: %q is not hexadecimal", escape(name))
		}
		name = raw
	}
	if len(name) == 0 || len(name) > maxName && !o.folded {
		return fmt.Errorf("%w: %d bytes", errHashName, len(name))
	}
	return f(name)
}
