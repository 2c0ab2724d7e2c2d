package cmd

import (
	"errors"
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
	"fsenc/internal/tree"
)

// jsonEntry is one line of ls in JSON.
type jsonEntry struct {
	header
	jsonPath
	jsonName
	Inode       image.Ino `json:"inode"`
	Type        string    `json:"type"`
	NoKey       bool      `json:"no_key,omitempty"`
	Mode        string    `json:"mode,omitempty"`
	Links       uint32    `json:"links,omitempty"`
	UID         uint32    `json:"uid"`
	GID         uint32    `json:"gid"`
	Size        int64     `json:"size"`
	Mtime       string    `json:"mtime,omitempty"`
	Encrypted   bool      `json:"encrypted"`
	Target      string    `json:"target,omitempty"`
	TargetBytes []byte    `json:"target_bytes,omitempty"`
	Error       string    `json:"error,omitempty"`
}

// print prints the entries of one directory under the names that name gives.
func (l *lister) print(nodes []tree.Node, name func(tree.Node) []byte) error {
	switch {
	case l.app.json():
		return l.printJSON(nodes)
	case l.o.null:
		for _, n := range nodes {
			if _, err := fmt.Fprintf(l.app.out, "%s\x00", n.Path); err != nil {
				return err
			}
		}
		return nil
	case l.o.long:
		return l.printLong(nodes, name)
	}
	for _, n := range nodes {
		line := escape(name(n))
		if l.o.inode {
			line = fmt.Sprintf("%d %s", n.Ino, line)
		}
		if _, err := fmt.Fprintln(l.app.out, line); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) printJSON(nodes []tree.Node) error {
	for _, n := range nodes {
		e := jsonEntry{header: headerOf("ls"), jsonPath: pathOf(n.Path), jsonName: nameOf(n.Name),
			Inode: n.Ino, Type: n.Type.String(), NoKey: n.Err != nil && errors.Is(n.Err, crypt.ErrNoKey)}
		attr, err := l.tree.Attr(n)
		if err != nil {
			l.bad(err)
			e.Error = err.Error()
		} else {
			e.Type, e.Mode, e.Links = attr.Type.String(), fmt.Sprintf("%04o", attr.Mode&0o7777), attr.Links
			e.UID, e.GID, e.Size, e.Encrypted = attr.UID, attr.GID, attr.Size, attr.Encrypted
			e.Mtime = jsonTime(attr.Mtime)
		}
		if n.Type == image.TypeSymlink {
			e.Target, e.TargetBytes = jsonText(l.target(n))
		}
		if err := l.app.emit(e); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) printLong(nodes []tree.Node, name func(tree.Node) []byte) error {
	t := newTable(l.app.out)
	for _, n := range nodes {
		attr, err := l.tree.Attr(n)
		if err != nil {
			l.bad(err)
			continue
		}
		mark := "-"
		if attr.Encrypted {
			mark = "E"
		}
		text := string(name(n))
		if attr.Type == image.TypeSymlink {
			text += " -> " + string(l.target(n))
		}
		row := []string{modeString(attr), mark, fmt.Sprint(attr.Links), fmt.Sprint(attr.UID), fmt.Sprint(attr.GID),
			sizeOrDevice(attr), utc(attr.Mtime), text}
		if l.o.inode {
			row = append([]string{fmt.Sprint(n.Ino)}, row...)
		}
		t.row(row...)
	}
	return t.flush()
}

// target is where a symlink points to, in no-key form without the key.
func (l *lister) target(n tree.Node) []byte {
	target, err := l.tree.Readlink(n)
	if err != nil && !errors.Is(err, crypt.ErrNoKey) {
		l.bad(err)
	}
	return target
}

// modeString is the mode as ls -l shows it.
func modeString(a image.Attr) string {
	b := []byte("?rwxrwxrwx")
	b[0] = "?-dcbpsl"[min(int(a.Type), 7)]
	for i := range 9 {
		if a.Mode>>(8-i)&1 == 0 {
			b[1+i] = '-'
		}
	}
	for _, s := range []struct {
		bit   uint32
		at    int
		x, no byte
	}{{0o4000, 3, 's', 'S'}, {0o2000, 6, 's', 'S'}, {0o1000, 9, 't', 'T'}} {
		if a.Mode&s.bit == 0 {
			continue
		}
		if b[s.at] == 'x' {
			b[s.at] = s.x
		} else {
			b[s.at] = s.no
		}
	}
	return string(b)
}

func sizeOrDevice(a image.Attr) string {
	if a.Type == image.TypeChar || a.Type == image.TypeBlock {
		return fmt.Sprintf("%d,%d", a.RdevMajor, a.RdevMinor)
	}
	return fmt.Sprint(a.Size)
}
