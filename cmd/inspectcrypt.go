package cmd

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
)

// cryptOptions are the flags of inspect crypt.
type cryptOptions struct {
	cipherFlags
	decrypt bool
	unit    int
	padding int
}

func newInspectCrypt(a *app) *cobra.Command {
	var o cryptOptions
	c := &cobra.Command{
		Use:   "crypt [CIPHER | IMAGE PATH]",
		Short: "Encrypt or decrypt stdin as fscrypt would",
		Long: "Encrypt stdin to stdout, data unit by data unit, with a key and IVs that come about\n" +
			"as those of fscrypt: for tests, and for looking into damaged images. It takes what\n" +
			"fscrypt-crypt-util of xfstests takes, but keys from files or descriptors. With IMAGE\n" +
			"and PATH the data are those of an inode: the contents of a regular file, one name in\n" +
			"a directory, the target of a symlink.",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return nil
			}
			return operands("IMAGE", "PATH")(c, args)
		},
		ValidArgsFunction: a.completePaths(&o.keys, false),
		RunE:              func(_ *cobra.Command, args []string) error { return a.inspectCrypt(&o, args) },
	}
	f := c.Flags()
	o.register(f)
	f.BoolVar(&o.decrypt, "decrypt", false, "decrypt instead")
	f.IntVar(&o.unit, "data-unit-size", 0, "encrypt each `N` bytes by themselves; 4096 unless a context says otherwise")
	f.IntVar(&o.unit, "block-size", 0, "the same as --data-unit-size")
	f.IntVar(&o.padding, "padding", 0, "zero-pad the last data unit to a multiple of `N` bytes, at least 16; by default to a whole one")
	if err := f.SetAnnotation("padding", ownMeaning, nil); err != nil {
		panic(err) // there is such a flag
	}
	return c
}

// maxUnit bounds a data unit, in bytes.
const maxUnit = 16 << 20

// defaultUnit is the size of a data unit where nothing says another.
const defaultUnit = 4096

// check refuses what makes no sense before anything is opened.
func (o *cryptOptions) check(a *app) error {
	if err := o.keys.check(); err != nil {
		return err
	}
	switch {
	case a.json():
		return usagef("inspect crypt writes data, there is no JSON of it")
	case len(o.keys.files)+min(1, o.keys.fd+1) != 1:
		return usagef("inspect crypt needs one key: --key-file or --key-fd")
	case o.keys.fd == 0 || slices.Contains(o.keys.files, "-"):
		return usagef("stdin is for the data, the key has to come from elsewhere")
	case o.unit != 0 && (o.unit < 16 || o.unit > maxUnit):
		return usagef("--data-unit-size: %d is not between 16 and %d", o.unit, maxUnit)
	case o.padding < 0:
		return usagef("--padding: %d is negative", o.padding)
	}
	return nil
}

func (a *app) inspectCrypt(o *cryptOptions, args []string) error {
	if err := o.check(a); err != nil {
		return err
	}
	if len(args) == 1 {
		if o.mode != "" {
			return usagef("the cipher is named twice, as %q and with --mode", escapeString(args[0]))
		}
		o.mode = args[0]
	}
	d, err := o.parse()
	if err != nil {
		return err
	}
	if len(args) < 2 {
		args = nil
		if err := o.complete(d); err != nil {
			return err
		}
	}
	return a.withKeys(&o.keys, d, args, func(keys []*crypt.MasterKey) error {
		if err := o.complete(d); err != nil {
			return err
		}
		return a.crypt(o, d, keys[0])
	})
}

// complete puts defaults in place of what neither flags nor a context said, and
// tells what is missing then.
func (o *cryptOptions) complete(d *derivation) error {
	if d.kdf == "" {
		d.kdf = kdfNone
	}
	if o.unit != 0 {
		d.unit = o.unit
	}
	if d.unit == 0 {
		d.unit = defaultUnit
	}
	if o.padding != 0 {
		d.padding = o.padding
	}
	if d.padding == 0 {
		d.padding = d.unit
	}
	if d.flags&policy.FlagDirectKey != 0 && d.mode.Known() && d.mode.IVSize() < len(policy.Nonce{})+8 {
		return usagef("--direct-key: the IV of %v has no room for a nonce", d.mode)
	}
	return d.check()
}

// crypt transforms stdin, one data unit after another.
func (a *app) crypt(o *cryptOptions, d *derivation, k *crypt.MasterKey) error {
	key, err := d.cipherKey(k)
	if err != nil {
		return err
	}
	defer clear(key)
	cipher, err := crypt.NewRaw(d.mode, key)
	if err != nil {
		return err
	}
	defer cipher.Close()
	buf := make([]byte, d.unit)
	defer clear(buf)
	for index := d.index; ; index++ {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(a.stdin, buf)
		if n > 0 {
			if err := a.cryptUnit(o, d, cipher, buf, n, d.iv(k, index)); err != nil {
				return fmt.Errorf("data unit %d: %w", index, err)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read standard input: %w", unwrapPath(err))
		}
	}
}

// cryptUnit transforms the first n bytes of buf and writes them. Data to be
// encrypted are padded first, as far as buf reaches.
func (a *app) cryptUnit(o *cryptOptions, d *derivation, cipher *crypt.Raw, buf []byte, n int, iv crypt.RawIV) error {
	unit := buf[:n]
	if !o.decrypt {
		padded := max((n+d.padding-1)/d.padding*d.padding, 16)
		unit = buf[:min(padded, len(buf))]
		clear(unit[n:])
	}
	if err := cipher.Check(len(unit)); err != nil {
		return err
	}
	if o.decrypt {
		cipher.Decrypt(unit, &iv)
	} else {
		cipher.Encrypt(unit, &iv)
	}
	_, err := a.out.Write(unit)
	return err
}
