package cmd

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

func newStat(a *app) *cobra.Command {
	var k keyFlags
	c := &cobra.Command{
		Use:     "stat IMAGE PATH...",
		GroupID: groupRead,
		Short:   "Show inode, context, policy, nonce and extents",
		Long: "Show what the image keeps about a file: its inode, the encryption context with\n" +
			"policy and nonce, and where its contents lie. No key is needed when PATH is given\n" +
			"in no-key form.",
		Args:              operands("IMAGE", "PATH..."),
		ValidArgsFunction: a.completePaths(&k, false),
		RunE:              func(_ *cobra.Command, args []string) error { return a.stat(&k, args[0], args[1:]) },
	}
	k.register(c.Flags())
	return c
}

func (a *app) stat(k *keyFlags, image string, paths []string) error {
	if err := checkPaths(paths...); err != nil {
		return err
	}
	x, err := a.openReading(image, k)
	if err != nil {
		return err
	}
	defer x.Close()
	x.silent = a.set.NonInteractive
	for i, p := range paths {
		n, lock, err := x.lookup(p)
		if err != nil {
			return err
		}
		if lock != nil && k.given() {
			return lock
		}
		d, err := x.details(n)
		if err != nil {
			return err
		}
		if a.json() {
			err = a.emit(d.json("stat"))
		} else {
			err = a.printDetails(d, i > 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// details is all that the image keeps about an inode.
type details struct {
	path    string
	attr    image.Attr
	raw     []byte // context as stored
	context *policy.Context
	bad     error // why the context was not understood
	extents []image.Extent
	xattrs  []image.Xattr
	target  []byte
	block   int
}

func (x *access) details(n tree.Node) (*details, error) {
	d := &details{path: n.Path, block: x.fs.Super().BlockSize}
	var err error
	if d.attr, err = x.tree.Attr(n); err != nil {
		return nil, err
	}
	if d.raw, err = x.fs.Context(n.Ino); err != nil {
		return nil, atPath(n.Path, err)
	}
	if d.raw != nil {
		d.context, d.bad = x.tree.Context(n)
	}
	if d.xattrs, err = x.fs.Xattrs(n.Ino); err != nil {
		return nil, atPath(n.Path, err)
	}
	switch d.attr.Type {
	case image.TypeRegular:
		if d.extents, err = x.fs.Extents(n.Ino); err != nil {
			return nil, atPath(n.Path, err)
		}
	case image.TypeSymlink:
		if d.target, err = x.tree.Readlink(n); err != nil && !errors.Is(err, crypt.ErrNoKey) {
			return nil, err
		}
	}
	return d, nil
}

// jsonExtent is a run of blocks in JSON.
type jsonExtent struct {
	Lblk      image.Lblk  `json:"lblk"`
	Pblk      image.Pblk  `json:"pblk"`
	Len       uint64      `json:"len"`
	Unwritten bool        `json:"unwritten,omitempty"`
	Plain     bool        `json:"plain,omitempty"`
	Shift     int64       `json:"shift,omitempty"`   // of the number of the data unit, in blocks
	Context   string      `json:"context,omitempty"` // of the extent, hexadecimal
	Packed    *jsonPacked `json:"packed,omitempty"`
}

// jsonPacked is how a compressed extent is stored, in JSON.
type jsonPacked struct {
	Method string       `json:"method"`
	Skip   int64        `json:"skip"`
	Size   int64        `json:"size"`
	Stream []jsonExtent `json:"stream"`
}

func extentsJSON(list []image.Extent) []jsonExtent {
	out := make([]jsonExtent, 0, len(list))
	for _, e := range list {
		j := jsonExtent{Lblk: e.Lblk, Pblk: e.Pblk, Len: e.Len, Unwritten: e.Unwritten, Plain: e.Plain,
			Shift: e.Shift, Context: hex.EncodeToString([]byte(e.Context))}
		if p := e.Packed; p != nil {
			j.Packed = &jsonPacked{p.Method, p.Skip, p.Size, extentsJSON(p.Stream)}
		}
		out = append(out, j)
	}
	return out
}

// jsonXattr is an extended attribute in JSON.
type jsonXattr struct {
	jsonName
	Value []byte `json:"value"`
}

// jsonDetails is an inode in JSON.
type jsonDetails struct {
	header
	jsonPath
	Inode       image.Ino    `json:"inode"`
	Type        string       `json:"type"`
	Mode        string       `json:"mode"`
	UID         uint32       `json:"uid"`
	GID         uint32       `json:"gid"`
	Project     uint32       `json:"project"`
	Links       uint32       `json:"links"`
	Size        int64        `json:"size"`
	Allocated   int64        `json:"allocated"`
	Atime       string       `json:"atime"`
	Mtime       string       `json:"mtime"`
	Ctime       string       `json:"ctime"`
	Crtime      string       `json:"crtime,omitempty"`
	Rdev        string       `json:"rdev,omitempty"`
	Generation  uint32       `json:"generation"`
	Flags       string       `json:"flags"`
	Marks       []string     `json:"marks"`
	Target      string       `json:"target,omitempty"`
	TargetBytes []byte       `json:"target_bytes,omitempty"`
	Context     string       `json:"context,omitempty"`
	ContextBad  string       `json:"context_error,omitempty"`
	Nonce       string       `json:"nonce,omitempty"`
	Policy      *jsonPolicy  `json:"policy,omitempty"`
	Extents     []jsonExtent `json:"extents"`
	Xattrs      []jsonXattr  `json:"xattrs"`
}

func (d *details) json(command string) jsonDetails {
	a := d.attr
	j := jsonDetails{
		header: headerOf(command), jsonPath: pathOf(d.path), Inode: a.Ino, Type: a.Type.String(),
		Mode: fmt.Sprintf("%04o", a.Mode&0o7777), UID: a.UID, GID: a.GID, Project: a.ProjectID, Links: a.Links,
		Size: a.Size, Allocated: a.AllocBytes, Atime: jsonTime(a.Atime), Mtime: jsonTime(a.Mtime),
		Ctime: jsonTime(a.Ctime), Crtime: jsonTime(a.Crtime), Rdev: rdev(a), Generation: a.Generation,
		Flags: fmt.Sprintf("%#x", a.Flags), Marks: marks(a), Context: hex.EncodeToString(d.raw),
		Extents: extentsJSON(d.extents), Xattrs: []jsonXattr{},
	}
	if a.Type == image.TypeSymlink {
		j.Target, j.TargetBytes = jsonText(d.target)
	}
	for _, x := range d.xattrs {
		j.Xattrs = append(j.Xattrs, jsonXattr{nameOf([]byte(x.Name)), x.Value})
	}
	if d.bad != nil {
		j.ContextBad = d.bad.Error()
	}
	if d.context != nil {
		p := policyJSON(d.context.Policy, d.block)
		j.Policy, j.Nonce = &p, hex.EncodeToString(d.context.Nonce[:])
	}
	return j
}

func rdev(a image.Attr) string {
	if a.Type != image.TypeChar && a.Type != image.TypeBlock {
		return ""
	}
	return fmt.Sprintf("%d:%d", a.RdevMajor, a.RdevMinor)
}

// marks names the flags of an inode that matter here.
func marks(a image.Attr) []string {
	out := []string{}
	for _, m := range []struct {
		set  bool
		name string
	}{{a.Encrypted, "encrypted"}, {a.Casefold, "casefold"}, {a.Verity, "verity"}, {a.Inline, "inline"}, {a.Reserved, "reserved"}} {
		if m.set {
			out = append(out, m.name)
		}
	}
	return out
}

func (a *app) printDetails(d *details, gap bool) error {
	if gap {
		if _, err := fmt.Fprintln(a.out); err != nil {
			return err
		}
	}
	t := newTable(a.out)
	for _, row := range d.rows() {
		t.row(row...)
	}
	return t.flush()
}

func (d *details) rows() [][]string {
	a := d.attr
	rows := [][]string{
		{"path:", or(d.path, "-")},
		{"inode:", fmt.Sprint(a.Ino)},
		{"type:", a.Type.String()},
		{"mode:", fmt.Sprintf("%04o (%s)", a.Mode&0o7777, modeString(a))},
		{"owner:", fmt.Sprintf("%d:%d, project %d", a.UID, a.GID, a.ProjectID)},
		{"links:", fmt.Sprint(a.Links)},
		{"size:", exact(a.Size)},
		{"allocated:", exact(a.AllocBytes)},
		{"accessed:", stamp(a.Atime)},
		{"modified:", stamp(a.Mtime)},
		{"changed:", stamp(a.Ctime)},
		{"created:", stamp(a.Crtime)},
		{"flags:", strings.TrimSpace(fmt.Sprintf("%#x %s", a.Flags, strings.Join(marks(a), " ")))},
	}
	if r := rdev(a); r != "" {
		rows = append(rows, []string{"device:", r})
	}
	if a.Type == image.TypeSymlink {
		rows = append(rows, []string{"target:", string(d.target)})
	}
	rows = append(rows, d.contextRows()...)
	for _, x := range d.xattrs {
		rows = append(rows, []string{"xattr:", fmt.Sprintf("%s, %d bytes", x.Name, len(x.Value))})
	}
	for _, e := range d.extents {
		what := ""
		if e.Unwritten {
			what = ", unwritten"
		}
		if e.Packed != nil {
			what = ", " + e.Packed.Method
		}
		rows = append(rows, []string{"extent:", fmt.Sprintf("blocks %d to %d at %d%s", e.Lblk, uint64(e.Lblk)+e.Len-1, e.Pblk, what)})
	}
	return rows
}

// contextRows is the encryption context as a table.
func (d *details) contextRows() [][]string {
	switch {
	case d.raw == nil && d.attr.Encrypted:
		return [][]string{{"context:", "missing, though the inode is marked encrypted"}}
	case d.raw == nil:
		return nil
	case d.context == nil:
		return [][]string{{"context:", hex.EncodeToString(d.raw)}, {"context error:", d.bad.Error()}}
	}
	p := d.context.Policy
	return [][]string{
		{"policy:", fmt.Sprintf("v%d, %s, %s", p.Version, policyModes(p), policyFlags(p, d.block))},
		{"key:", p.KeySpec()},
		{"nonce:", hex.EncodeToString(d.context.Nonce[:])},
	}
}
