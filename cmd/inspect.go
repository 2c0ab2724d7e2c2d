package cmd

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt/names"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/tree"
)

func newInspect(a *app) *cobra.Command {
	return newGroup("inspect", groupRead, "Look at single structures and derivations",
		"Look at single structures of an image as they are stored, and at the keys that are\n"+
			"derived from a master key: the bench of those who develop and test. Where a PATH\n"+
			"is asked for, an inode number in angle brackets will do: '<131>'.",
		newInspectContext(a), newInspectSuper(a), newInspectInode(a), newInspectExtents(a), newInspectInline(a), newInspectDir(a), newInspectDerive(a),
		newInspectCrypt(a), newInspectDirhash(a), newInspectJournal(a))
}

// openInspecting opens an image whatever state it is in: this is for looking
// at broken ones.
func (a *app) openInspecting(path string, k *keyFlags) (*access, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	keys, err := a.masterKeys(k)
	if err != nil {
		return nil, err
	}
	img, err := a.openImage(path, probe.Options{AllowUnfinished: true, AllowDirty: true})
	if err != nil {
		wipeKeys(keys)
		return nil, err
	}
	x := a.accessTo(img, k, keys)
	x.silent = !k.given()
	return x, nil
}

// node finds what a PATH or an inode number in angle brackets names.
func (x *access) node(operand string) (tree.Node, error) {
	if inner, ok := strings.CutPrefix(operand, "<"); ok {
		inner, ok = strings.CutSuffix(inner, ">")
		ino, err := strconv.ParseUint(inner, 0, 64)
		if !ok || err != nil {
			return tree.Node{}, usagef("%q is no inode number", escapeString(operand))
		}
		attr, err := x.fs.Stat(image.Ino(ino))
		if err != nil {
			return tree.Node{}, fmt.Errorf("inode %d: %w", ino, err)
		}
		return tree.Node{Ino: image.Ino(ino), Type: attr.Type, Path: operand}, nil
	}
	if err := checkPaths(operand); err != nil {
		return tree.Node{}, err
	}
	n, lock, err := x.lookup(operand)
	if err == nil && lock != nil && x.k.given() {
		err = lock
	}
	return n, err
}

// withNode opens an image, finds the node of its second operand and calls f.
func (a *app) withNode(k *keyFlags, args []string, f func(*access, tree.Node) error) error {
	x, err := a.openInspecting(args[0], k)
	if err != nil {
		return err
	}
	defer x.Close()
	n, err := x.node(args[1])
	if err != nil {
		return err
	}
	return f(x, n)
}

func newInspectContext(a *app) *cobra.Command {
	var k keyFlags
	var hexText string
	c := &cobra.Command{
		Use:   "context IMAGE PATH",
		Short: "Show an encryption context field by field",
		Long: "Show the encryption context of an inode, field by field, and whether the kernel\n" +
			"takes its policy on this filesystem. With --hex a context is given instead of\n" +
			"PATH, or a policy as the ioctls take it; IMAGE may be left out then.",
		Args: func(c *cobra.Command, args []string) error {
			if hexText != "" {
				return operands("[IMAGE]")(c, args)
			}
			return operands("IMAGE", "PATH")(c, args)
		},
		ValidArgsFunction: a.completePaths(&k, false),
		RunE: func(_ *cobra.Command, args []string) error {
			if hexText != "" {
				return a.contextOfHex(hexText, args)
			}
			return a.withNode(&k, args, func(x *access, n tree.Node) error {
				raw, err := x.fs.Context(n.Ino)
				if err != nil {
					return err
				}
				if raw == nil {
					return atPath(n.Path, fmt.Errorf("%w: inode %d has no encryption context", image.ErrNotExist, n.Ino))
				}
				sb := x.fs.Super()
				return a.showContext(n.Path, n.Ino, raw, &sb)
			})
		},
	}
	c.Flags().StringVar(&hexText, "hex", "", "take the context from `HEX` digits")
	k.register(c.Flags())
	return c
}

// contextOfHex shows a context that is in no image, and judges it for the one
// that is given, if any.
func (a *app) contextOfHex(text string, args []string) error {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return usagef("--hex: not hexadecimal")
	}
	if len(args) == 0 {
		return a.showContext("", 0, raw, nil)
	}
	img, err := a.openImage(args[0], probe.Options{AllowUnfinished: true, AllowDirty: true})
	if err != nil {
		return err
	}
	defer img.Close()
	sb := img.fs.Super()
	return a.showContext("", 0, raw, &sb)
}

// parseContext reads a context, or a policy without a nonce.
func parseContext(raw []byte) (policy.Context, error) {
	c, err := policy.ParseContext(raw)
	if err == nil {
		return c, nil
	}
	if p, perr := policy.ParsePolicy(raw); perr == nil {
		return policy.Context{Policy: p}, nil
	}
	return c, fmt.Errorf("%w: %w", image.ErrCorrupt, err)
}

// showContext prints a context, and what the kernel says to its policy where
// the filesystem is known.
func (a *app) showContext(path string, ino image.Ino, raw []byte, sb *image.Super) error {
	c, err := parseContext(raw)
	if err != nil {
		return err
	}
	valid := ""
	block := 4096
	if sb != nil {
		block = sb.BlockSize
		if err := feature.Require(*sb, c.Policy); err != nil {
			valid = err.Error()
		}
	}
	if a.json() {
		return a.emit(struct {
			header
			jsonPath
			Inode image.Ino `json:"inode,omitempty"`
			jsonPolicy
			Log2Unit uint8  `json:"log2_data_unit_size"`
			Nonce    string `json:"nonce"`
			Raw      string `json:"raw"`
			Invalid  string `json:"invalid,omitempty"`
		}{headerOf("inspect context"), pathOf(path), ino, policyJSON(c.Policy, block), c.Log2DataUnitSize,
			hex.EncodeToString(c.Nonce[:]), hex.EncodeToString(raw), valid})
	}
	t := newTable(a.out)
	t.row("raw:", hex.EncodeToString(raw))
	t.row("version:", fmt.Sprint(c.Version))
	t.row("contents:", fmt.Sprintf("%d (%s)", c.Contents, c.Contents))
	t.row("filenames:", fmt.Sprintf("%d (%s)", c.Filenames, c.Filenames))
	t.row("flags:", fmt.Sprintf("%#02x (padding %d, %s)", c.Flags, c.Padding(), c.Method()))
	if c.Version == 1 {
		t.row("descriptor:", c.KeySpec())
	} else {
		t.row("log2 of data unit:", fmt.Sprint(c.Log2DataUnitSize))
		t.row("reserved:", hex.EncodeToString(c.Reserved[:]))
		t.row("identifier:", c.KeySpec())
	}
	t.row("nonce:", hex.EncodeToString(c.Nonce[:]))
	if sb != nil {
		t.row("kernel takes it:", or(valid, "yes"))
	}
	return t.flush()
}

func newInspectSuper(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "super IMAGE",
		Short:             "Show the superblock and what it allows",
		Long:              "Show the superblock, and what of it decides which policies can be used.",
		Args:              operands("IMAGE"),
		ValidArgsFunction: completeImage,
		RunE:              func(_ *cobra.Command, args []string) error { return a.inspectSuper(args[0]) },
	}
}

func (a *app) inspectSuper(path string) error {
	img, err := a.openImage(path, probe.Options{AllowUnfinished: true, AllowDirty: true})
	if err != nil {
		return err
	}
	defer img.Close()
	if a.json() {
		return a.emit(struct {
			header
			jsonSuper
		}{headerOf("inspect super"), superJSON(img.fs)})
	}
	sb := img.fs.Super()
	t := newTable(a.out)
	for _, row := range superRows(sb) {
		t.row(row...)
	}
	t.row("stable inode numbers:", yesNo(sb.StableInodes))
	t.row("casefold:", yesNo(sb.Casefold))
	t.row("sub-block data units:", yesNo(sb.SubBlockUnits))
	t.row("bits of the largest file:", fmt.Sprint(sb.MaxFileBits))
	t.row("longest symlink target:", fmt.Sprintf("%d bytes encrypted", sb.MaxLinkRoom-linkOverhead))
	if id := img.fs.Unfinished(); id != ([16]byte{}) {
		t.row("unfinished conversion:", hex.EncodeToString(id[:]))
	}
	return t.flush()
}

func newInspectInode(a *app) *cobra.Command {
	var k keyFlags
	c := &cobra.Command{
		Use:               "inode IMAGE PATH",
		Short:             "Show an inode, its attributes and its mapping",
		Args:              operands("IMAGE", "PATH"),
		ValidArgsFunction: a.completePaths(&k, false),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withNode(&k, args, func(x *access, n tree.Node) error {
				d, err := x.details(n)
				if err != nil {
					return err
				}
				if a.json() {
					return a.emit(d.json("inspect inode"))
				}
				return a.printDetails(d, false)
			})
		},
	}
	k.register(c.Flags())
	return c
}

func newInspectDir(a *app) *cobra.Command {
	var k keyFlags
	c := &cobra.Command{
		Use:   "dir IMAGE PATH",
		Short: "Show the entries of a directory as they are stored",
		Long: "Show the entries of a directory as they are stored: inode, type, the two hash\n" +
			"numbers of no-key names, the stored bytes, and how the name reads with the keys at\n" +
			"hand.",
		Args:              operands("IMAGE", "PATH"),
		ValidArgsFunction: a.completePaths(&k, true),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withNode(&k, args, a.inspectDir)
		},
	}
	k.register(c.Flags())
	return c
}

// jsonDirent is a stored directory entry in JSON.
type jsonDirent struct {
	header
	Inode  image.Ino `json:"inode"`
	Type   string    `json:"type"`
	Hash   uint32    `json:"hash"`
	Minor  uint32    `json:"minor_hash"`
	Stored string    `json:"stored"`
	NoKey  string    `json:"no_key_name,omitempty"`
	jsonName
}

func (a *app) inspectDir(x *access, dir tree.Node) error {
	attr, err := x.tree.Attr(dir)
	if err != nil {
		return err
	}
	t := newTable(a.out, "INODE", "TYPE", "HASH", "MINOR", "STORED", "NAME")
	err = x.tree.ReadDir(dir, func(n tree.Node) error {
		e := n.Stored
		noKey := ""
		if attr.Encrypted {
			noKey = names.NoKeyName(e.Hash, e.MinorHash, e.Name)
		}
		if a.json() {
			return a.emit(jsonDirent{headerOf("inspect dir"), e.Ino, e.Type.String(), e.Hash, e.MinorHash,
				hex.EncodeToString(e.Name), noKey, nameOf(n.Name)})
		}
		t.row(fmt.Sprint(e.Ino), e.Type.String(), fmt.Sprintf("%08x", e.Hash), fmt.Sprintf("%08x", e.MinorHash),
			hex.EncodeToString(e.Name), string(n.Name))
		return nil
	})
	if err != nil || a.json() {
		return err
	}
	return t.flush()
}
