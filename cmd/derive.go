package cmd

import (
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/kdf"
)

// deriveOptions are the flags of inspect derive.
type deriveOptions struct {
	cipherFlags
	identifier bool
}

func newInspectDerive(a *app) *cobra.Command {
	var o deriveOptions
	c := &cobra.Command{
		Use:   "derive [IMAGE PATH]",
		Short: "Show the keys that are derived from a master key",
		Long: "Show the identifier and descriptor of a master key, and the keys derived from it\n" +
			"for the nonce, mode, filesystem UUID and inode number given: those of all policies\n" +
			"that they are enough for. IMAGE and PATH, or --context, give them all at once. With\n" +
			"them or with --kdf the key of the cipher and the IV of a data unit are shown, too.\n" +
			"What is shown is secret.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return operands("IMAGE", "PATH")(c, args)
		},
		ValidArgsFunction: a.completePaths(&o.keys, false),
		RunE:              func(_ *cobra.Command, args []string) error { return a.inspectDerive(&o, args) },
	}
	o.register(c.Flags())
	c.Flags().BoolVar(&o.identifier, "dump-key-identifier", false, "show nothing but the key identifier")
	return c
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
	return a.withKeys(&o.keys, d, args, func(keys []*crypt.MasterKey) error {
		if err := d.check(); err != nil && o.kdf != "" {
			return err
		}
		for i, k := range keys {
			if err := a.derive(o, d, k, i > 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// derive shows what comes of one key.
func (a *app) derive(o *deriveOptions, d *derivation, k *crypt.MasterKey, gap bool) error {
	if o.identifier {
		id := k.Identifier()
		if a.json() {
			return a.showDerived([]derived{{"key identifier", id.String()}}, false)
		}
		_, err := fmt.Fprintln(a.out, id)
		return err
	}
	rows := d.all(k)
	if d.kdf != "" && d.check() == nil {
		key, err := d.cipherKey(k)
		if err != nil {
			return err
		}
		iv := d.iv(k, d.index)
		rows = append(rows, row("cipher key", key), row("iv", iv[:d.mode.IVSize()]))
	}
	return a.showDerived(rows, gap)
}

// derived is one row of the result.
type derived struct {
	What  string `json:"what"`
	Value string `json:"value"`
}

// all derives everything for which there is enough input.
func (d *derivation) all(k *crypt.MasterKey) []derived {
	id, desc := k.Identifier(), k.Descriptor()
	rows := []derived{{"key identifier", id.String()}}
	input, inline := inputOf(k)
	if k.Hardware() {
		rows = append(rows, row("software secret", input), row("inline encryption key", inline))
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
		add("direct key", size, kdf.DirectKey, []byte{d.number()})
	}
	if size > 0 && d.uuid != nil {
		info := append([]byte{d.number()}, d.uuid...)
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
