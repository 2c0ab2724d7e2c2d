package cmd

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

func newInspectExtents(a *app) *cobra.Command {
	var k keyFlags
	c := &cobra.Command{
		Use:   "extents IMAGE PATH",
		Short: "Show where contents lie and how they are numbered",
		Long: "Show the extents of a regular file: block of the file, number of blocks, block of the\n" +
			"filesystem, the number of the data unit that the first block is encrypted as (in\n" +
			"blocks), and each place in the image. Of a compressed extent the stream is shown;\n" +
			"of an extent with a context of its own (btrfs) its nonce. No key is needed when PATH\n" +
			"is given in no-key form.",
		Args:              operands("IMAGE", "PATH"),
		ValidArgsFunction: a.completePaths(&k, false),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withNode(&k, args, a.inspectExtents)
		},
	}
	k.register(c.Flags())
	return c
}

// jsonPlace is where blocks lie in the image, in JSON.
type jsonPlace struct {
	Offset int64 `json:"offset"`
	Bytes  int64 `json:"bytes"`
}

// jsonStoredExtent is an extent with its places in JSON.
type jsonStoredExtent struct {
	header
	jsonExtent
	Unit   int64       `json:"unit"` // of the first block, in blocks
	Places []jsonPlace `json:"places"`
	Nonce  string      `json:"nonce,omitempty"`
}

func (a *app) inspectExtents(x *access, n tree.Node) error {
	attr, err := x.fs.Stat(n.Ino)
	if err != nil {
		return atPath(n.Path, err)
	}
	if attr.Type != image.TypeRegular {
		return atPath(n.Path, fmt.Errorf("%w: a %s has no extents", image.ErrUnsupported, attr.Type))
	}
	list, err := x.fs.Extents(n.Ino)
	if err != nil {
		return atPath(n.Path, err)
	}
	t := newTable(a.out, "LBLK", "BLOCKS", "PBLK", "UNIT", "STATE", "NONCE", "PLACES")
	for _, e := range list {
		stored := e.Stored()
		places, err := placesOf(x.fs, stored)
		if err != nil {
			return atPath(n.Path, err)
		}
		nonce := extentNonce(stored[0].Context)
		unit := int64(stored[0].Lblk) + stored[0].Shift
		if a.json() {
			if err := a.emit(jsonStoredExtent{headerOf("inspect extents"), extentsJSON([]image.Extent{e})[0], unit, places, nonce}); err != nil {
				return err
			}
			continue
		}
		var at []string
		for _, p := range places {
			at = append(at, fmt.Sprintf("%d+%d", p.Offset, p.Bytes))
		}
		t.row(fmt.Sprint(e.Lblk), fmt.Sprint(e.Len), fmt.Sprint(e.Pblk), fmt.Sprint(unit), extentState(attr, e),
			or(nonce, "-"), strings.Join(at, " "))
	}
	if a.json() {
		return nil
	}
	return t.flush()
}

// placesOf lists the places of extents in the image.
func placesOf(fs image.FS, list []image.Extent) ([]jsonPlace, error) {
	places := []jsonPlace{}
	for _, x := range list {
		err := fs.Places(x.Pblk, x.Len, func(_ uint64, off, n int64) error {
			places = append(places, jsonPlace{off, n})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return places, nil
}

// extentNonce is the nonce in the context of an extent, and the context itself
// where it is not understood.
func extentNonce(context string) string {
	if context == "" {
		return ""
	}
	e, err := policy.ParseExtentContext([]byte(context))
	if err != nil {
		return hex.EncodeToString([]byte(context)) + "?"
	}
	return hex.EncodeToString(e.Nonce[:])
}

// extentState says how an extent is stored.
func extentState(a image.Attr, e image.Extent) string {
	var s []string
	switch {
	case e.Unwritten:
		s = append(s, "unwritten")
	case a.Encrypted && !e.Plain:
		s = append(s, "encrypted")
	default:
		s = append(s, "plain")
	}
	if p := e.Packed; p != nil {
		s = append(s, fmt.Sprintf("%s from byte %d of %d", p.Method, p.Skip, p.Size))
	}
	return strings.Join(s, ", ")
}
