package cmd

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/tree"
)

// catOptions are the flags of cat.
type catOptions struct {
	keys       keyFlags
	ciphertext bool
}

func newCat(a *app) *cobra.Command {
	var o catOptions
	c := &cobra.Command{
		Use:     "cat IMAGE PATH...",
		GroupID: groupRead,
		Short:   "Write the contents of files to stdout",
		Long: "Write the contents of regular files to stdout, decrypted. With --ciphertext the\n" +
			"blocks are written as they are stored, whole ones and without a key; PATH may then\n" +
			"be in no-key form.",
		Args:              operands("IMAGE", "PATH..."),
		ValidArgsFunction: a.completePaths(&o.keys, false),
		RunE:              func(_ *cobra.Command, args []string) error { return a.cat(&o, args[0], args[1:]) },
	}
	c.Flags().BoolVar(&o.ciphertext, "ciphertext", false, "write what is stored, undecrypted")
	o.keys.register(c.Flags())
	return c
}

func (a *app) cat(o *catOptions, image string, paths []string) error {
	if a.json() {
		return usagef("cat writes the contents of files, there is no JSON of it")
	}
	if err := checkPaths(paths...); err != nil {
		return err
	}
	x, err := a.openReading(image, &o.keys)
	if err != nil {
		return err
	}
	defer x.Close()
	for _, p := range paths {
		if err := x.cat(p, o.ciphertext); err != nil {
			return err
		}
	}
	return nil
}

func (x *access) cat(path string, stored bool) error {
	x.silent = stored && !x.k.given()
	n, lock, err := x.lookup(path)
	if err != nil {
		return err
	}
	if lock != nil && (!stored || !errors.Is(lock, crypt.ErrNoKey)) {
		return lock
	}
	return x.copyOut(n, stored)
}

func (x *access) copyOut(n tree.Node, stored bool) error {
	open := x.tree.Open
	if stored {
		open = x.tree.OpenStored
	}
	f, err := open(n)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteTo(&cancelled{x.app.ctx, x.app.out})
	return err
}

// cancelled is a writer that ends with its context.
type cancelled struct {
	ctx context.Context
	w   io.Writer
}

func (c *cancelled) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
