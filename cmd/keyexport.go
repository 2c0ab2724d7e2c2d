package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
)

// keyExportOptions are the flags of key export.
type keyExportOptions struct {
	keys keyFlags
	out  string
}

func newKeyExport(a *app) *cobra.Command {
	var o keyExportOptions
	c := &cobra.Command{
		Use:   "export IMAGE ID",
		Short: "Write the master key of a policy to a file",
		Long: "Write the unwrapped master key of a policy to a new file that only its owner can\n" +
			"read: for fscryptctl add_key, and as a backup. Whoever has the file reads the tree.",
		Args:              operands("IMAGE", "ID"),
		ValidArgsFunction: a.completeOperand(policyChoices),
		RunE:              func(_ *cobra.Command, args []string) error { return a.keyExport(&o, args[0], args[1]) },
	}
	c.Flags().StringVar(&o.out, "out", "", "write to `FILE`, which must not exist yet")
	o.keys.registerRaw(c.Flags())
	o.keys.registerPassphrase(c.Flags())
	c.Flags().StringVar(&o.keys.protector, "protector", "", "unlock with the protector `ID|NAME`")
	return c
}

func (a *app) keyExport(o *keyExportOptions, path, id string) error {
	if o.out == "" {
		return usagef("key export needs a file to write to: --out FILE")
	}
	if err := checkNew(o.out); err != nil {
		return err
	}
	x, s, err := a.openKeystore(path, &o.keys, false)
	if err != nil {
		return err
	}
	defer x.Close()
	known, err := s.Policy(id)
	if err != nil {
		return err
	}
	key, err := x.unlockKnown(s, known)
	if err != nil {
		return err
	}
	defer key.Wipe()
	if !a.flags.dryRun {
		if err := writeKey(o.out, key); err != nil {
			return err
		}
	}
	return a.keyDone("key export", fmt.Sprintf("wrote the key of policy %s to %s", known.ID, escapeString(o.out)),
		jsonKeyDone{Key: known.ID, File: o.out})
}

// checkNew refuses a file that is there already.
func checkNew(path string) error {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return &refusal{
		err:  fmt.Errorf("%w: %s is there already, and a key never replaces a file", errRefused, path),
		hint: "name another file",
	}
}

// writeKey writes a raw key to a new file and makes it durable.
func writeKey(path string, key *crypt.MasterKey) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(key.Raw())
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
