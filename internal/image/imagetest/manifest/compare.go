package manifest

import (
	"fmt"
	"slices"
	"strings"
)

// Ignore tells Compare what may differ.
type Ignore uint

// What may differ between a tree before a change and after it.
const (
	// Inos: inode numbers, as after a copy.
	Inos Ignore = 1 << iota
	// Encryption: the encrypted mark, nonce and policy.
	Encryption
	// DirTimes: the times of directories.
	DirTimes
	// Ranges: which ranges of a file are holes.
	Ranges
	// Flags: what FS_IOC_GETFLAGS gives, projects and verity digests, which
	// no copy carries.
	Flags
)

// flagMask are the flags that describe encryption or the way the filesystem
// stores an inode: ENCRYPT 0x800, INDEX 0x1000, EXTENTS 0x80000 (a symlink
// that becomes slow gets it) and INLINE_DATA 0x10000000.
const flagMask = 0x800 | 0x1000 | 0x80000 | 0x10000000

// Compare returns one line for each difference between two trees, nil when
// they are equal. Only what both trees know is compared: an empty nonce,
// digest or policy says nothing.
func Compare(want, got []Entry, ignore Ignore) []string {
	var diff []string
	byPath := make(map[string]*Entry, len(got))
	for i := range got {
		byPath[got[i].Path] = &got[i]
	}
	for i := range want {
		w := &want[i]
		g := byPath[w.Path]
		if g == nil {
			diff = append(diff, fmt.Sprintf("%q: missing", w.Path))
			continue
		}
		delete(byPath, w.Path)
		diff = append(diff, w.compare(g, ignore)...)
	}
	for i := range got {
		if byPath[got[i].Path] != nil {
			diff = append(diff, fmt.Sprintf("%q: appeared", got[i].Path))
		}
	}
	return diff
}

func (e *Entry) compare(g *Entry, ignore Ignore) []string {
	var diff []string
	check := func(what string, equal bool, want, got any) {
		if !equal {
			diff = append(diff, fmt.Sprintf("%q: %s is %v, want %v", e.Path, what, got, want))
		}
	}
	check("type", e.Type == g.Type, e.Type, g.Type)
	check("mode", e.Mode == g.Mode, fmt.Sprintf("%04o", e.Mode), fmt.Sprintf("%04o", g.Mode))
	check("uid", e.UID == g.UID, e.UID, g.UID)
	check("gid", e.GID == g.GID, e.GID, g.GID)
	check("size", e.Size == g.Size, e.Size, g.Size)
	check("contents", e.SHA256 == g.SHA256, e.SHA256, g.SHA256)
	check("target", e.Target == g.Target, fmt.Sprintf("%q", e.Target), fmt.Sprintf("%q", g.Target))
	check("link count", e.Nlink == g.Nlink, e.Nlink, g.Nlink)
	check("device", e.Rdev == g.Rdev, e.Rdev, g.Rdev)
	check("hard link", e.SameAs == g.SameAs, e.SameAs, g.SameAs)
	check("error", e.Err == g.Err, e.Err, g.Err)
	check("xattrs", equalXattrs(e.Xattrs, g.Xattrs), e.Xattrs, g.Xattrs)
	if e.Type != Dir || ignore&DirTimes == 0 {
		check("mtime", e.Mtime == g.Mtime, e.Mtime, g.Mtime)
	}
	if ignore&Inos == 0 {
		check("inode", e.Ino == g.Ino, e.Ino, g.Ino)
	}
	if ignore&Ranges == 0 && e.Data != nil && g.Data != nil {
		check("data ranges", fmt.Sprint(e.Data) == fmt.Sprint(g.Data), e.Data, g.Data)
	}
	if ignore&Flags == 0 {
		check("verity digest", e.Verity == g.Verity, e.Verity, g.Verity)
		check("project", e.Project == g.Project, e.Project, g.Project)
		check("flags", e.Flags == 0 || g.Flags == 0 || (e.Flags^g.Flags)&^flagMask == 0,
			fmt.Sprintf("%#x", e.Flags), fmt.Sprintf("%#x", g.Flags))
	}
	if ignore&Encryption == 0 {
		check("encrypted", e.Encrypted == g.Encrypted, e.Encrypted, g.Encrypted)
		check("nonce", e.Nonce == "" || g.Nonce == "" || e.Nonce == g.Nonce, e.Nonce, g.Nonce)
		check("policy", e.Policy == nil || g.Policy == nil || e.Policy.Raw == g.Policy.Raw, e.Policy, g.Policy)
	}
	return diff
}

// Without returns the entries that are not one of paths nor below one.
func Without(entries []Entry, paths ...string) []Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool {
		return slices.ContainsFunc(paths, func(p string) bool { return within(e.Path, p) })
	})
}

// Below returns the entry at path and all below it.
func Below(entries []Entry, path string) []Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return !within(e.Path, path) })
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
