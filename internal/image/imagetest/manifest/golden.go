package manifest

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"strings"
)

// Golden is the manifest of a golden image.
type Golden struct {
	Name       string
	Filesystem string
	Size       int64  // of the raw image in bytes
	SHA256     string // of the raw image
	Keys       []Key
	Tops       []Top
	Entries    []Entry // all of them, sorted, paths relative to the root
	NoKey      []NoKeyDir
	Ciphertext []Ciphertext
	Broken     []Broken
}

// Key is a master key that a golden image was written with.
type Key struct {
	Name       string
	Version    int    // of the policies that use it: 1 or 2
	MasterKey  []byte // raw
	Identifier []byte // 16 bytes for version 2
	Descriptor []byte // 8 bytes for version 1
}

// Top is a directory of the root where a policy may start.
type Top struct {
	Path     string
	Policy   *Policy // nil when unencrypted
	Casefold bool
}

// NoKeyDir is what the kernel lists in one directory without keys.
type NoKeyDir struct {
	Path  string // of the directory, by its plaintext names
	Names []NoKeyName
}

// NoKeyName is one name listed without keys.
type NoKeyName struct {
	NoKey  string
	Name   string // plaintext; "" for hard links within one directory
	Ino    uint64
	Target string // what readlink gives without the key
}

// Ciphertext is an encrypted file as it lies in the image.
type Ciphertext struct {
	Path    string
	Ino     uint64
	Nonce   []byte
	Context []byte // as stored
	Blocks  []CipherBlock
}

// CipherBlock is one block of an encrypted file.
type CipherBlock struct {
	Lblk   uint64 `json:"lblk"`
	Offset int64  `json:"offset"` // in the raw image, bytes
	Len    int    `json:"len"`
	SHA256 string `json:"sha256"`
}

// Broken is a way to damage a golden image, and what came of it.
type Broken struct {
	Name   string
	What   string
	Ino    uint64
	Path   string
	Patch  []Patch
	SHA256 string // of the patched raw image
	Fsck   struct {
		Exit   int
		Output []string
	}
	Kernel []struct {
		Version string
		Errors  []string
	}
}

// Patch replaces bytes of the raw image.
type Patch struct {
	Offset   int64
	Old, New []byte
}

type patchJSON struct {
	Offset int64  `json:"offset"`
	Old    string `json:"old"`
	New    string `json:"new"`
}

// UnmarshalJSON reads the hex of a manifest.
func (p *Patch) UnmarshalJSON(b []byte) error {
	var j patchJSON
	err := json.Unmarshal(b, &j)
	if err != nil {
		return err
	}
	p.Offset = j.Offset
	if p.Old, err = unhex(j.Old); err != nil {
		return err
	}
	p.New, err = unhex(j.New)
	return err
}

type goldenJSON struct {
	Name       string           `json:"name"`
	Image      string           `json:"image"`
	Filesystem string           `json:"filesystem"`
	Size       int64            `json:"size"`
	SHA256     string           `json:"sha256"`
	Keys       []keyJSON        `json:"keys"`
	Tops       []topJSON        `json:"tops"`
	NoKey      []noKeyJSON      `json:"nokey"`
	Ciphertext []ciphertextJSON `json:"ciphertext"`
	Broken     []Broken         `json:"broken"`

	oracleJSON
}

type keyJSON struct {
	Name       string `json:"name"`
	Version    int    `json:"version"`
	MasterKey  string `json:"master_key"`
	RawHex     string `json:"raw_hex"`
	Identifier string `json:"identifier"`
	Descriptor string `json:"descriptor"`
}

type topJSON struct {
	Path     string  `json:"path"`
	Policy   *Policy `json:"policy"`
	Casefold bool    `json:"casefold"`
	Entries  []Entry `json:"entries"`
}

type noKeyJSON struct {
	Top   string          `json:"top"`
	Dir   string          `json:"dir"`
	Names []noKeyNameJSON `json:"names"`
}

type noKeyNameJSON struct {
	NoKey   string `json:"nokey"`
	Name    string `json:"name"`
	NameB64 string `json:"name_b64"`
	Ino     uint64 `json:"ino"`
	Target  string `json:"nokey_target"`
}

type ciphertextJSON struct {
	Top     string        `json:"top"`
	Path    string        `json:"path"`
	PathB64 string        `json:"path_b64"`
	Ino     uint64        `json:"ino"`
	Nonce   string        `json:"nonce"`
	Context string        `json:"context"`
	Blocks  []CipherBlock `json:"blocks"`
}

// ReadGolden reads a manifest file of either form: that of the images which
// released kernels wrote, and that of testdata/images/oracle.
func ReadGolden(file string) (*Golden, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var j goldenJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	g, err := j.golden()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return g, nil
}

func (j *goldenJSON) golden() (*Golden, error) {
	g := &Golden{
		Name: strings.TrimSuffix(j.Image, ".img.zst"), Filesystem: j.Filesystem,
		Size: j.Size, SHA256: j.SHA256, Broken: j.Broken,
	}
	for _, k := range j.Keys {
		key, err := k.key()
		if err != nil {
			return nil, err
		}
		g.Keys = append(g.Keys, key)
	}
	if j.isOracle() {
		return g, j.addTo(g)
	}
	for _, t := range j.Tops {
		g.Tops = append(g.Tops, Top{Path: t.Path, Policy: t.Policy, Casefold: t.Casefold})
		entries, err := t.entries()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Path, err)
		}
		g.Entries = append(g.Entries, entries...)
	}
	Sort(g.Entries)
	linkByIno(g.Entries)
	return g, j.ciphertexts(g)
}

// linkByIno sets SameAs anew: a manifest tells of names within one top only.
func linkByIno(entries []Entry) {
	first := make(map[uint64]string)
	for i := range entries {
		e := &entries[i]
		if e.Type == Dir || e.Ino == 0 {
			continue
		}
		if e.SameAs = first[e.Ino]; e.SameAs == "" {
			first[e.Ino] = e.Path
		}
	}
}

func (k keyJSON) key() (Key, error) {
	out := Key{Name: k.Name, Version: max(k.Version, 1)}
	if k.Identifier != "" {
		out.Version = 2
	}
	if out.Name == "" {
		out.Name = k.Identifier // the oracle manifests name no keys
	}
	var err error
	if out.MasterKey, err = unhex(k.MasterKey + k.RawHex); err != nil {
		return out, err
	}
	if out.Identifier, err = unhex(k.Identifier); err != nil {
		return out, err
	}
	out.Descriptor, err = unhex(k.Descriptor)
	return out, err
}

// entries returns the entries of a top with paths from the root.
func (t *topJSON) entries() ([]Entry, error) {
	if err := Complete(t.Entries); err != nil {
		return nil, err
	}
	for i := range t.Entries {
		e := &t.Entries[i]
		e.Path = path.Join(t.Path, e.Path)
		if e.SameAs != "" {
			e.SameAs = path.Join(t.Path, e.SameAs)
		}
		if e.Encrypted && e.Policy == nil {
			e.Policy = t.Policy
		}
	}
	return t.Entries, nil
}

func (j *goldenJSON) ciphertexts(g *Golden) error {
	for _, n := range j.NoKey {
		d := NoKeyDir{Path: path.Join(n.Top, n.Dir)}
		for _, x := range n.Names {
			name, err := join(x.Name, x.NameB64)
			if err != nil {
				return err
			}
			d.Names = append(d.Names, NoKeyName{NoKey: x.NoKey, Name: name, Ino: x.Ino, Target: x.Target})
		}
		g.NoKey = append(g.NoKey, d)
	}
	for _, c := range j.Ciphertext {
		name, err := join(c.Path, c.PathB64)
		if err != nil {
			return err
		}
		out := Ciphertext{Path: path.Join(c.Top, name), Ino: c.Ino, Blocks: c.Blocks}
		if out.Nonce, err = unhex(c.Nonce); err != nil {
			return err
		}
		if out.Context, err = unhex(c.Context); err != nil {
			return err
		}
		g.Ciphertext = append(g.Ciphertext, out)
	}
	return nil
}

// Entry returns the entry at path, nil if there is none.
func (g *Golden) Entry(path string) *Entry {
	for i := range g.Entries {
		if g.Entries[i].Path == path {
			return &g.Entries[i]
		}
	}
	return nil
}

// Key returns the key called name, nil if there is none.
func (g *Golden) Key(name string) *Key {
	for i := range g.Keys {
		if g.Keys[i].Name == name {
			return &g.Keys[i]
		}
	}
	return nil
}
