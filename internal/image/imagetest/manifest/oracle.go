package manifest

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// oracleJSON is what only the manifests of testdata/images/oracle have.
type oracleJSON struct {
	Entries      []oracleEntry           `json:"entries"`
	NoKeyEntries []oracleEntry           `json:"nokey_entries"`
	Policies     map[string]oraclePolicy `json:"policies"`
}

type oraclePolicy struct {
	Hex string `json:"hex"`
}

type oracleEntry struct {
	Path         string            `json:"path"`
	PathB64      string            `json:"path_b64"`
	Mode         string            `json:"mode"` // octal, with the type
	UID          uint32            `json:"uid"`
	GID          uint32            `json:"gid"`
	Ino          uint64            `json:"ino"`
	Dev          uint64            `json:"dev"`
	Subvol       uint64            `json:"subvol"`        // of btrfs
	Context      string            `json:"inode_context"` // of btrfs
	Nlink        uint32            `json:"nlink"`
	Mtime        string            `json:"mtime"`
	Rdev         []uint32          `json:"rdev"`
	Size         int64             `json:"size"`
	SHA256       string            `json:"sha256"`
	Target       string            `json:"target"`
	TargetB64    string            `json:"target_b64"`
	Xattr        map[string][]byte `json:"xattr"`
	Attr         []string          `json:"attr"`
	VerityDigest string            `json:"verity_digest"`
	Error        string            `json:"error"`
}

func (o *oracleJSON) isOracle() bool { return len(o.Entries) > 0 }

func (o *oracleJSON) addTo(g *Golden) error {
	policies := make(map[string]*Policy)
	for dir, p := range o.Policies {
		pol, err := decodePolicy(p.Hex, g.Keys)
		if err != nil {
			return fmt.Errorf("policy of %s: %w", dir, err)
		}
		policies[dir] = pol
		g.Tops = append(g.Tops, Top{Path: dir, Policy: pol})
	}
	subvols := make(map[uint64]uint64) // by device number, which each has for itself
	for _, x := range o.Entries {
		subvols[x.Dev] = x.Subvol
	}
	for i := range o.NoKeyEntries {
		x := &o.NoKeyEntries[i]
		x.Ino = inSubvol(subvols[x.Dev], x.Ino)
		var err error
		if x.Path, err = join(x.Path, x.PathB64); err != nil {
			return err
		}
	}
	for _, x := range o.Entries {
		x.Ino = inSubvol(x.Subvol, x.Ino)
		e, err := x.entry()
		if err != nil {
			return fmt.Errorf("%q: %w", x.Path, err)
		}
		if e.Encrypted {
			e.Policy = governing(policies, e.Path)
		}
		g.Entries = append(g.Entries, e)
	}
	Sort(g.Entries)
	linkByIno(g.Entries)
	return o.noKeyTo(g)
}

// inSubvol is the number that image.Ino has for an inode of a subvolume: that of
// the top-level one, 5, counts as 0.
func inSubvol(subvol, ino uint64) uint64 {
	if subvol == 5 {
		subvol = 0
	}
	return subvol<<48 | ino
}

// noKeyTo groups the listing without keys by directory. Its directories are
// told by no-key names too, so that the inode finds the plaintext path.
func (o *oracleJSON) noKeyTo(g *Golden) error {
	byIno := make(map[uint64]string)
	for _, e := range g.Entries {
		byIno[e.Ino] = e.Path
	}
	plain := map[string]string{".": "."}
	index := make(map[string]int)
	for _, x := range o.NoKeyEntries {
		if x.Path == "." {
			continue
		}
		full := byIno[x.Ino]
		plain[x.Path] = full
		parent, ok := plain[path.Dir(x.Path)]
		if !ok {
			return fmt.Errorf("no-key entry %q comes before its directory", x.Path)
		}
		i, ok := index[parent]
		if !ok {
			i = len(g.NoKey)
			index[parent] = i
			g.NoKey = append(g.NoKey, NoKeyDir{Path: parent})
		}
		n := NoKeyName{NoKey: path.Base(x.Path), Ino: x.Ino, Target: x.Target}
		if path.Dir(full) == parent {
			n.Name = path.Base(full)
		}
		g.NoKey[i].Names = append(g.NoKey[i].Names, n)
	}
	return nil
}

func (x *oracleEntry) entry() (Entry, error) {
	mode, err := strconv.ParseUint(x.Mode, 8, 32)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{
		Type: TypeOf(uint32(mode)), Mode: uint32(mode) & 0o7777, UID: x.UID, GID: x.GID,
		SHA256: x.SHA256, Ino: x.Ino, Nlink: x.Nlink, Verity: x.VerityDigest, Xattrs: x.Xattr, Err: x.Error,
	}
	if e.Type != Dir {
		e.Size = x.Size
	}
	for _, a := range x.Attr {
		e.Encrypted = e.Encrypted || a == "encrypted"
	}
	e.Encrypted = e.Encrypted || x.Context != ""
	if (e.Type == CharDev || e.Type == BlockDev) && len(x.Rdev) == 2 {
		e.Rdev = fmt.Sprintf("%d:%d", x.Rdev[0], x.Rdev[1])
	}
	if e.Path, err = join(x.Path, x.PathB64); err != nil {
		return e, err
	}
	if e.Target, err = join(x.Target, x.TargetB64); err != nil {
		return e, err
	}
	if e.Type == Symlink && x.Context != "" {
		e.Size = int64(len(e.Target)) // stat of btrfs tells what the ciphertext takes
	}
	e.Mtime, err = parseTime(x.Mtime)
	return e, err
}

// TypeOf returns the type word for the type bits of a st_mode.
func TypeOf(mode uint32) string {
	switch mode & 0o170000 {
	case 0o040000:
		return Dir
	case 0o120000:
		return Symlink
	case 0o010000:
		return Fifo
	case 0o140000:
		return Socket
	case 0o020000:
		return CharDev
	case 0o060000:
		return BlockDev
	}
	return File
}

// governing returns the policy of the nearest directory above that has one.
func governing(policies map[string]*Policy, name string) *Policy {
	for dir := name; ; dir = path.Dir(dir) {
		if p := policies[dir]; p != nil {
			return p
		}
		if dir == "." || !strings.Contains(dir, "/") {
			return nil
		}
	}
}

// decodePolicy reads a v2 policy in its ioctl form: version, contents mode,
// filenames mode, flags, log2 of the data unit size, 3 reserved bytes, 16
// bytes of key identifier.
func decodePolicy(hexText string, keys []Key) (*Policy, error) {
	b, err := unhex(hexText)
	if err != nil {
		return nil, err
	}
	if len(b) != 24 || b[0] != 2 {
		return nil, fmt.Errorf("%s is no v2 policy", hexText)
	}
	p := &Policy{
		Version: 2, ContentsMode: int(b[1]), FilenamesMode: int(b[2]), Flags: int(b[3]),
		Log2DataUnit: int(b[4]), Raw: hexText,
	}
	for i := range keys {
		if string(keys[i].Identifier) == string(b[8:]) {
			p.Key = keys[i].Name
		}
	}
	return p, nil
}
