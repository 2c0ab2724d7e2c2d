package cmd

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/kdf"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/tree"
)

// deriveOptions are the flags of inspect derive.
type deriveOptions struct {
	keys    keyFlags
	mode    string
	modeNum int
	nonce   string
	uuid    string
	ino     uint64
}

func newInspectDerive(a *app) *cobra.Command {
	var o deriveOptions
	c := &cobra.Command{
		Use:   "derive [IMAGE PATH]",
		Short: "Show all keys that are derived from a master key",
		Long: "Show the identifier and descriptor of a master key, and the keys derived from it\n" +
			"for the nonce, mode, filesystem UUID and inode number given: those of all policies\n" +
			"that they are enough for. IMAGE and PATH give them all at once. What is shown is\n" +
			"secret.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return operands("IMAGE", "PATH")(c, args)
		},
		ValidArgsFunction: a.completePaths(&o.keys, false),
		RunE:              func(_ *cobra.Command, args []string) error { return a.inspectDerive(&o, args) },
	}
	f := c.Flags()
	f.StringVar(&o.mode, "mode", "", "derive for the `MODE`, as AES-256-XTS")
	f.IntVar(&o.modeNum, "mode-num", 0, "derive for the mode with the number `N`")
	f.StringVar(&o.nonce, "file-nonce", "", "nonce of the inode, 32 `HEX` digits")
	f.StringVar(&o.uuid, "fs-uuid", "", "`UUID` of the filesystem")
	f.Uint64Var(&o.ino, "inode-number", 0, "number `INO` of the inode")
	o.keys.registerRaw(f)
	return c
}

// derivation is what enters the derivation of a key, as far as it is known.
type derivation struct {
	mode  policy.Mode
	nonce []byte
	uuid  []byte
	ino   uint64
}

func (o *deriveOptions) parse() (d derivation, err error) {
	d.ino = o.ino
	switch {
	case o.mode != "" && o.modeNum != 0:
		return d, usagef("--mode and --mode-num exclude each other")
	case o.mode != "":
		if d.mode, err = policy.ParseMode(o.mode); err != nil {
			return d, usagef("--mode: %v", err)
		}
	case o.modeNum != 0:
		if d.mode = policy.Mode(o.modeNum); o.modeNum > 255 || !d.mode.Known() {
			return d, usagef("--mode-num: there is no mode %d", o.modeNum)
		}
	}
	if d.nonce, err = hexBytes(o.nonce); err != nil {
		return d, usagef("--file-nonce: %v", err)
	}
	if d.uuid, err = hexBytes(strings.ReplaceAll(o.uuid, "-", "")); err != nil {
		return d, usagef("--fs-uuid: %v", err)
	}
	return d, nil
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

func (a *app) inspectDerive(o *deriveOptions, args []string) error {
	d, err := o.parse()
	if err != nil {
		return err
	}
	if err := o.keys.check(); err != nil {
		return err
	}
	if !o.keys.raw() {
		return usagef("inspect derive needs a key: --key-file or --key-fd")
	}
	if len(args) > 0 {
		if err := a.fillFromImage(&d, args); err != nil {
			return err
		}
	}
	keys, err := a.masterKeys(&o.keys)
	if err != nil {
		return err
	}
	defer wipeKeys(keys)
	for i, k := range keys {
		if err := a.showDerived(d.all(k), i > 0); err != nil {
			return err
		}
	}
	return nil
}

// fillFromImage takes what was not given from an inode.
func (a *app) fillFromImage(d *derivation, args []string) error {
	return a.withNode(noKeys(), args, func(x *access, n tree.Node) error {
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
		if d.mode == 0 {
			d.mode = modeOf(c.Policy, attr.Type)
		}
		if d.nonce == nil {
			d.nonce = c.Nonce[:]
		}
		if d.uuid == nil {
			u := x.fs.Super().UUID
			d.uuid = u[:]
		}
		if d.ino == 0 {
			d.ino = uint64(n.Ino)
		}
		return nil
	})
}

// derived is one row of the result.
type derived struct {
	What  string `json:"what"`
	Value string `json:"value"`
}

// all derives everything for which there is enough input.
func (d *derivation) all(k *crypt.MasterKey) []derived {
	id, desc := k.Identifier(), k.Descriptor()
	input := k.Raw()
	rows := []derived{{"key identifier", id.String()}}
	if k.Hardware() {
		var software [kdf.SoftwareSecretSize]byte
		var inline [kdf.InlineKeySize]byte
		key := (*[kdf.HardwareKeySize]byte)(input)
		kdf.SoftwareSecret(&software, key)
		kdf.InlineKey(&inline, key)
		input = software[:]
		rows = append(rows, row("software secret", software[:]), row("inline encryption key", inline[:]))
	} else {
		rows = append(rows, derived{"v1 descriptor", desc.String()})
		rows = append(rows, d.v1(input)...)
	}
	e := kdf.NewExpander(make([]byte, kdf.ExpanderSize), input)
	return append(rows, d.v2(e)...)
}

func row(what string, b []byte) derived { return derived{what, hex.EncodeToString(b)} }

// v1 derives the keys of v1 policies.
func (d *derivation) v1(key []byte) []derived {
	n := d.mode.KeySize()
	if n == 0 || len(key) < n {
		return nil
	}
	rows := []derived{row("v1 direct key", key[:n])}
	if d.nonce != nil {
		out := make([]byte, n)
		kdf.V1(out, key, (*[16]byte)(d.nonce))
		rows = append(rows, row("v1 per-file key", out))
	}
	return rows
}

// v2 derives the keys of v2 policies.
func (d *derivation) v2(e *kdf.Expander) []derived {
	var rows []derived
	add := func(what string, n int, p kdf.Purpose, info []byte) []byte {
		out := make([]byte, n)
		e.Expand(out, p, info)
		rows = append(rows, row(what, out))
		return out
	}
	size := d.mode.KeySize()
	if d.nonce != nil {
		if size > 0 {
			add("per-file key", size, kdf.PerFileKey, d.nonce)
			add("per-extent key", size, kdf.PerExtentKey, d.nonce)
		}
		add("dirhash key", 16, kdf.DirhashKey, d.nonce)
	}
	if size > 0 {
		add("direct key", size, kdf.DirectKey, []byte{byte(d.mode)})
	}
	if size > 0 && d.uuid != nil {
		info := append([]byte{byte(d.mode)}, d.uuid...)
		add("iv-ino-lblk-64 key", size, kdf.IVInoLblk64Key, info)
		add("iv-ino-lblk-32 key", size, kdf.IVInoLblk32Key, info)
	}
	sip := add("inode hash key", 16, kdf.InodeHashKey, nil)
	if d.ino != 0 {
		hash := kdf.NewSipKey((*[16]byte)(sip)).InodeHash(d.ino)
		rows = append(rows, derived{"inode hash", fmt.Sprintf("%08x", hash)})
	}
	return rows
}

func (a *app) showDerived(rows []derived, gap bool) error {
	if a.json() {
		return a.emit(struct {
			header
			Derived []derived `json:"derived"`
		}{headerOf("inspect derive"), rows})
	}
	if gap {
		if _, err := fmt.Fprintln(a.out); err != nil {
			return err
		}
	}
	t := newTable(a.out)
	for _, r := range rows {
		t.row(r.What+":", r.Value)
	}
	return t.flush()
}
