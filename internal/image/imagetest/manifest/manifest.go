// Package manifest describes a directory tree as the kernel shows it, with
// the keys of its encrypted parts at hand.
//
// A manifest is read from the JSON beside a golden image, or made by walking
// a mounted image, and two of them are compared. The JSON form of an entry is
// the one that testdata/README.md describes; it is the same in both uses.
package manifest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The values of Entry.Type.
const (
	File     = "file"
	Dir      = "dir"
	Symlink  = "symlink"
	Fifo     = "fifo"
	Socket   = "socket"
	CharDev  = "chardev"
	BlockDev = "blockdev"
)

// Time is a file time: seconds since 1970 and nanoseconds.
type Time struct {
	Sec  int64
	Nsec int64
}

// String returns the form that manifests use: seconds, a point, nine digits.
func (t Time) String() string { return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec) }

// Entry is one name of the tree and the inode behind it.
type Entry struct {
	Path   string // bytes as the kernel lists them, relative to the root; "." is the root
	Type   string
	Mode   uint32 // permission bits, setuid, setgid and sticky
	UID    uint32
	GID    uint32
	Size   int64  // bytes; 0 for directories
	SHA256 string // of a file's contents, in hex
	Target string // of a symlink, bytes
	Ino    uint64
	Nlink  uint32
	Mtime  Time
	Rdev   string // "major:minor" of a device node

	Encrypted bool
	Nonce     string  // hex; files and directories of an encrypted tree
	Policy    *Policy // of an encrypted entry, nil when not known
	Flags     uint32  // FS_IOC_GETFLAGS
	Project   uint32
	Verity    string // "algorithm:digest"
	Xattrs    map[string][]byte

	// Data holds the ranges of a file that are not holes, as pairs of start
	// and end in bytes, as SEEK_DATA and SEEK_HOLE give them.
	Data [][2]int64

	// SameAs is the path of the first name of the inode when this is a
	// further one. All other fields are those of that entry.
	SameAs string

	// Err is what the kernel answered when it would not show the entry.
	Err string
}

// Policy is an encryption policy as a manifest has it.
type Policy struct {
	Version       int    `json:"version"`
	ContentsMode  int    `json:"contents_mode"`
	FilenamesMode int    `json:"filenames_mode"`
	Flags         int    `json:"flags"`
	Log2DataUnit  int    `json:"log2_data_unit_size"`
	Key           string `json:"key"` // the name of a key of the manifest
	Raw           string `json:"raw"` // hex, as FS_IOC_GET_ENCRYPTION_POLICY_EX gives it
}

// entryJSON is an entry as it stands in a file.
type entryJSON struct {
	Path      string            `json:"path,omitempty"`
	PathB64   string            `json:"path_b64,omitempty"`
	Type      string            `json:"type,omitempty"`
	Mode      string            `json:"mode,omitempty"`
	UID       uint32            `json:"uid,omitempty"`
	GID       uint32            `json:"gid,omitempty"`
	Size      int64             `json:"size,omitempty"`
	SHA256    string            `json:"sha256,omitempty"`
	Target    string            `json:"target,omitempty"`
	TargetB64 string            `json:"target_b64,omitempty"`
	Ino       uint64            `json:"ino,omitempty"`
	Nlink     uint32            `json:"nlink,omitempty"`
	Mtime     string            `json:"mtime,omitempty"`
	Rdev      string            `json:"rdev,omitempty"`
	Encrypted bool              `json:"encrypted,omitempty"`
	Nonce     string            `json:"nonce,omitempty"`
	Policy    *Policy           `json:"policy,omitempty"`
	Flags     string            `json:"flags,omitempty"`
	Project   uint32            `json:"project,omitempty"`
	Verity    string            `json:"verity,omitempty"`
	Xattrs    map[string][]byte `json:"xattrs,omitempty"`
	Data      [][2]int64        `json:"data,omitempty"`
	SameAs    string            `json:"same_as,omitempty"`
	SameAsB64 string            `json:"same_as_b64,omitempty"`
	Err       string            `json:"error,omitempty"`
}

// MarshalJSON writes the form of the golden manifests.
func (e Entry) MarshalJSON() ([]byte, error) {
	j := entryJSON{
		Type: e.Type, Mode: fmt.Sprintf("%04o", e.Mode), UID: e.UID, GID: e.GID, Size: e.Size,
		SHA256: e.SHA256, Ino: e.Ino, Nlink: e.Nlink, Mtime: e.Mtime.String(), Rdev: e.Rdev,
		Encrypted: e.Encrypted, Nonce: e.Nonce, Policy: e.Policy, Verity: e.Verity, Project: e.Project,
		Xattrs: e.Xattrs, Data: e.Data, Err: e.Err,
	}
	if e.SameAs != "" {
		j = entryJSON{}
	}
	if e.Flags != 0 && e.SameAs == "" {
		j.Flags = fmt.Sprintf("%#x", e.Flags)
	}
	j.Path, j.PathB64 = split(e.Path)
	if e.SameAs == "" {
		j.Target, j.TargetB64 = split(e.Target)
	}
	j.SameAs, j.SameAsB64 = split(e.SameAs)
	return json.Marshal(j)
}

// UnmarshalJSON reads the form of the golden manifests. The fields of an entry
// with SameAs stay empty: whoever has the list fills them.
func (e *Entry) UnmarshalJSON(b []byte) error {
	var j entryJSON
	err := json.Unmarshal(b, &j)
	if err != nil {
		return err
	}
	*e = Entry{
		Type: j.Type, UID: j.UID, GID: j.GID, Size: j.Size, SHA256: j.SHA256, Ino: j.Ino,
		Nlink: j.Nlink, Rdev: j.Rdev, Encrypted: j.Encrypted, Nonce: j.Nonce, Policy: j.Policy,
		Verity: j.Verity, Project: j.Project, Xattrs: j.Xattrs, Data: j.Data, Err: j.Err,
	}
	if e.Path, err = join(j.Path, j.PathB64); err != nil {
		return err
	}
	if e.Target, err = join(j.Target, j.TargetB64); err != nil {
		return err
	}
	if e.SameAs, err = join(j.SameAs, j.SameAsB64); err != nil {
		return err
	}
	mode, err := number(j.Mode, 8)
	if err != nil {
		return err
	}
	e.Mode = uint32(mode) & 0o7777
	flags, err := number(j.Flags, 0)
	if err != nil {
		return err
	}
	e.Flags = uint32(flags)
	e.Mtime, err = parseTime(j.Mtime)
	return err
}

func split(s string) (text, b64 string) {
	if utf8.ValidString(s) {
		return s, ""
	}
	return "", base64.StdEncoding.EncodeToString([]byte(s))
}

func join(text, b64 string) (string, error) {
	if b64 == "" {
		return text, nil
	}
	b, err := base64.StdEncoding.DecodeString(b64)
	return string(b), err
}

// number parses s, "" being 0.
func number(s string, base int) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	return strconv.ParseUint(s, base, 32)
}

func parseTime(s string) (Time, error) {
	if s == "" {
		return Time{}, nil
	}
	sec, frac, _ := strings.Cut(s, ".")
	var t Time
	var err error
	if t.Sec, err = strconv.ParseInt(sec, 10, 64); err != nil {
		return t, err
	}
	if frac != "" {
		t.Nsec, err = strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	}
	return t, err
}

// Sort orders entries by the bytes of their paths.
func Sort(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}

// Complete fills the entries that are further names of an inode, after the
// list was read from JSON.
func Complete(entries []Entry) error {
	first := make(map[string]*Entry, len(entries))
	for i := range entries {
		if entries[i].SameAs == "" {
			first[entries[i].Path] = &entries[i]
		}
	}
	for i := range entries {
		e := &entries[i]
		if e.SameAs == "" {
			continue
		}
		f := first[e.SameAs]
		if f == nil {
			return fmt.Errorf("%q is a name of %q, which is not there", e.Path, e.SameAs)
		}
		path, same := e.Path, e.SameAs
		*e = *f
		e.Path, e.SameAs = path, same
	}
	return nil
}

// Decode reads a JSON array of entries and completes further names.
func Decode(b []byte) ([]Entry, error) {
	var entries []Entry
	if err := json.Unmarshal(b, &entries); err != nil {
		return nil, err
	}
	return entries, Complete(entries)
}

// equalXattrs ignores a nil map against an empty one.
func equalXattrs(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }

// unhex decodes s; manifests are ours, so that an error is a mistake in them.
func unhex(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", s, err)
	}
	return b, nil
}
