package cmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
	"fsenc/internal/keystore"
)

// keyChangeOptions are the flags of key change.
type keyChangeOptions struct {
	keys  keyFlags
	fresh newSecretFlags
}

func newKeyChange(a *app) *cobra.Command {
	var o keyChangeOptions
	c := &cobra.Command{
		Use:   "change IMAGE PROTECTOR",
		Short: "Change the passphrase or raw key of a protector",
		Long: "Put a protector under a new passphrase or raw key; it is named by its identifier or\n" +
			"name. What it protects stays as it is, and the old wrapping is overwritten in the\n" +
			"image. The old passphrase comes from --passphrase-file and the like, or is asked\n" +
			"for; an old raw key from --key-file.",
		Args:              operands("IMAGE", "PROTECTOR"),
		ValidArgsFunction: a.completeOperand(protectorChoices),
		RunE:              func(_ *cobra.Command, args []string) error { return a.keyChange(&o, args[0], args[1]) },
	}
	o.fresh.register(c.Flags())
	o.keys.registerRaw(c.Flags())
	o.keys.registerPassphrase(c.Flags())
	return c
}

func (a *app) keyChange(o *keyChangeOptions, path, name string) error {
	x, s, err := a.openKeystore(path, &o.keys, true)
	if err != nil {
		return err
	}
	defer x.Close()
	p, err := s.Protector(name)
	if err != nil {
		return err
	}
	if err := o.fresh.check(p.Source, &o.keys); err != nil {
		return err
	}
	if p.Source == keystore.SourceLogin {
		a.warn("%s follows the login passphrase: Linux-PAM will not know the new one", protectorText(p))
	}
	u, err := x.unlockOne(s, []*keystore.Protector{p}, "the protector")
	if err != nil {
		return err
	}
	fresh, err := a.newSecret(&o.fresh, p.Source, nil)
	if err != nil {
		return err
	}
	defer fresh.Wipe()
	if fresh.Len() == 0 {
		return fmt.Errorf("%w: the new passphrase is empty", crypt.ErrWrongKey)
	}
	err = a.edit(x.opened, func(fs image.FS) error {
		s, err := keystore.Load(fs)
		if err != nil {
			return err
		}
		return s.ChangeSecret(u, fresh.Bytes(), keystore.Costs{})
	})
	if err != nil {
		return err
	}
	return a.keyDone("key change", "changed "+protectorText(p), jsonKeyDone{Protector: p.ID})
}

// jsonKeyDone is what was changed, in JSON.
type jsonKeyDone struct {
	header
	DryRun    bool   `json:"dry_run"`
	Key       string `json:"key,omitempty"`
	Protector string `json:"protector,omitempty"`
	File      string `json:"file,omitempty"`
}

// keyDone prints the result of a command that changes one thing.
func (a *app) keyDone(command, text string, j jsonKeyDone) error {
	j.header, j.DryRun = headerOf(command), a.flags.dryRun
	if a.json() {
		return a.emit(j)
	}
	if a.flags.dryRun {
		text = "would have " + text
	}
	_, err := fmt.Fprintln(a.out, text)
	return err
}
