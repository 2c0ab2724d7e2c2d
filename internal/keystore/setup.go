package keystore

import (
	"errors"
	"fmt"
	"time"

	"fsenc/internal/image"
)

// Modes of what fscrypt makes.
const (
	modeBase     = 0o755
	modeOneUser  = 0o755
	modeAllUsers = 0o1777
	modeFile     = 0o600
)

// SetupOptions say whose the metadata directories are.
type SetupOptions struct {
	// AllUsers lets every user of the system keep metadata in them, as
	// fscrypt setup does when told so; otherwise only their owner can.
	AllUsers bool
	UID, GID uint32
}

// Setup makes .fscrypt with its two empty directories, as fscrypt setup does.
// The error wraps ErrSetUp if it is there already.
func Setup(fs image.FS, o SetupOptions) error {
	base, err := makeBase(fs, o)
	if err != nil {
		return err
	}
	n := image.NewFile{Perm: modeOneUser, UID: o.UID, GID: o.GID, Time: time.Now()}
	if o.AllUsers {
		n.Perm = modeAllUsers
	}
	for _, name := range []string{policiesName, protectorsName} {
		if _, err := fs.Mkdir(base, []byte(name), n); err != nil {
			return fmt.Errorf("make /%s/%s: %w", baseName, name, err)
		}
	}
	return nil
}

// makeBase makes .fscrypt, or takes an empty directory of that name.
func makeBase(fs image.FS, o SetupOptions) (image.Ino, error) {
	_, err := fs.Lookup(fs.Root(), []byte(baseName))
	if errors.Is(err, image.ErrNotExist) {
		n := image.NewFile{Perm: modeBase, UID: o.UID, GID: o.GID, Time: time.Now()}
		ino, err := fs.Mkdir(fs.Root(), []byte(baseName), n)
		if err != nil {
			return 0, fmt.Errorf("make /%s: %w", baseName, err)
		}
		return ino, nil
	}
	if err != nil {
		return 0, fmt.Errorf("/%s: %w", baseName, err)
	}
	base, err := findBase(fs)
	if err != nil {
		return 0, err
	}
	err = fs.ReadDir(base, func(d image.Dirent) error {
		return fmt.Errorf("%w: /%s has an entry %q", ErrSetUp, baseName, d.Name)
	})
	return base, err
}

// RemoveAll removes .fscrypt and all that is in it; whatever is encrypted and
// has no other copy of its key is lost. The Store is of no use afterwards.
func (s *Store) RemoveAll() error {
	for _, dir := range []metaDir{s.policies, s.protectors} {
		if err := s.removeFiles(dir); err != nil {
			return err
		}
	}
	for _, name := range []string{policiesName, protectorsName} {
		if err := s.fs.Remove(s.base, []byte(name)); err != nil {
			return fmt.Errorf("remove /%s/%s: %w", baseName, name, err)
		}
	}
	if err := s.fs.Remove(s.fs.Root(), []byte(baseName)); err != nil {
		return fmt.Errorf("remove /%s: %w", baseName, err)
	}
	return nil
}

func (s *Store) removeFiles(dir metaDir) error {
	for {
		entries, err := listDir(s.fs, dir)
		if err != nil && !errors.Is(err, errTooMany) {
			return fmt.Errorf("%s: %w", dir.path, err)
		}
		for _, e := range entries {
			if err := s.removeAny(dir, e); err != nil {
				return err
			}
		}
		if err == nil {
			return nil
		}
	}
}

// removeAny removes an entry, whatever it is. Contents that have another name
// as well may be somebody's own: they are left as they are.
func (s *Store) removeAny(dir metaDir, e entry) error {
	attr, err := s.fs.Stat(e.ino)
	if err == nil && attr.Links == 1 {
		return s.remove(dir, e.name, e.ino)
	}
	if err == nil {
		err = s.fs.Remove(dir.ino, []byte(e.name))
	}
	if err != nil {
		return fmt.Errorf("remove %s/%q: %w", dir.path, e.name, err)
	}
	return nil
}
