package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"fsenc/internal/image"
)

// linkSuffix ends the name of a file that stands for a protector elsewhere.
const linkSuffix = ".link"

// Link says where a protector is kept that policies of this filesystem use.
type Link struct {
	ID   string // of the protector
	UUID string // of the filesystem, as text; may be empty
	Path string // where that was mounted; may be empty

	ino image.Ino
}

// Err tells that the protector cannot be used here, and where it is. It wraps
// ErrElsewhere.
func (l Link) Err() error {
	where := fmt.Sprintf("on the filesystem with UUID %q", l.UUID)
	switch {
	case l.UUID == "":
		where = fmt.Sprintf("on the filesystem mounted at %q", l.Path)
	case l.Path != "":
		where += fmt.Sprintf(", once mounted at %q", l.Path)
	}
	return fmt.Errorf("protector %s is %w: %s", l.ID, ErrElsewhere, where)
}

// parseLink reads the lines "UUID=..." and "PATH=..." of a link file. Others
// are skipped, as fscrypt does, and the last of each kind counts. One of the
// two must be there.
func parseLink(b []byte) (Link, error) {
	var l Link
	if bytes.IndexByte(b, 0) >= 0 {
		return l, errors.New("a NUL in the text")
	}
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case !ok || strings.Contains(value, "="):
		case key == "UUID":
			l.UUID = value
		case key == "PATH":
			l.Path = value
		}
	}
	if l.UUID == "" && l.Path == "" {
		return l, errors.New("neither UUID nor PATH")
	}
	return l, nil
}
