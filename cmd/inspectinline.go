package cmd

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

func newInspectInline(a *app) *cobra.Command {
	var k keyFlags
	c := &cobra.Command{
		Use:   "inline IMAGE PATH",
		Short: "Show and decrypt contents that lie inside of an inode",
		Long: "Show what an inode keeps of a regular file inside of itself, in hexadecimal: as it\n" +
			"is stored and, if it is encrypted and the key is at hand, decrypted with its padding.\n" +
			"The format is named. No key is needed when PATH is given in no-key form.",
		Args:              operands("IMAGE", "PATH"),
		ValidArgsFunction: a.completePaths(&k, false),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withNode(&k, args, a.inspectInline)
		},
	}
	k.register(c.Flags())
	return c
}

func (a *app) inspectInline(x *access, n tree.Node) error {
	attr, err := x.fs.Stat(n.Ino)
	if err != nil {
		return atPath(n.Path, err)
	}
	if attr.Type != image.TypeRegular || !attr.Inline {
		return atPath(n.Path, fmt.Errorf("%w: inode %d has no contents inside of itself", image.ErrNotExist, n.Ino))
	}
	stored, err := x.fs.Inline(n.Ino)
	if err != nil {
		return atPath(n.Path, err)
	}
	format := "plain"
	if attr.Encrypted {
		format = or(x.fs.Super().Inline, "plain, though the inode is marked encrypted")
	}
	var plain []byte
	if attr.Encrypted && x.fs.Super().Inline != "" {
		if plain, err = x.tree.InlinePadded(n); err != nil && !errors.Is(err, crypt.ErrNoKey) {
			return err
		}
		defer clear(plain)
	}
	if a.json() {
		return a.emit(struct {
			header
			jsonPath
			Inode     image.Ino `json:"inode"`
			Format    string    `json:"format"`
			Size      int64     `json:"size"`
			Stored    string    `json:"stored"`
			Decrypted string    `json:"decrypted,omitempty"`
		}{headerOf("inspect inline"), pathOf(n.Path), n.Ino, format, attr.Size, hex.EncodeToString(stored), hex.EncodeToString(plain)})
	}
	t := newTable(a.out)
	t.row("inode:", fmt.Sprint(n.Ino))
	t.row("format:", format)
	t.row("size:", exact(attr.Size))
	t.row("stored:", hex.EncodeToString(stored))
	if plain != nil {
		t.row("decrypted:", hex.EncodeToString(plain))
	}
	return t.flush()
}
