package keystore

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fsenc/internal/image"
)

// Store is the metadata of one filesystem, as read by Load. An edit goes to
// the filesystem and to the Store alike; after one that failed the Store and
// what is staged in the filesystem are of no use any more.
type Store struct {
	// Each is in the order of the file names.
	Policies   []*Policy
	Protectors []*Protector
	Links      []Link
	// Damaged is what could not be used.
	Damaged []Damage

	// Limits bound what hashing a passphrase may take.
	Limits Limits

	fs         image.FS
	base       image.Ino
	policies   metaDir
	protectors metaDir
}

// Load reads the metadata of a filesystem. The error wraps ErrNotSetUp if
// there is none, ErrElsewhere if .fscrypt is a symlink out of the image, and
// ErrInsecure if anyone could have replaced the files. A file that cannot be
// used is no error, see Store.Damaged.
func Load(fs image.FS) (*Store, error) {
	s := &Store{fs: fs, Limits: DefaultLimits()}
	var err error
	if s.base, err = findBase(fs); err != nil {
		return nil, err
	}
	if s.policies, err = openDir(fs, s.base, policiesName); err != nil {
		return nil, err
	}
	if s.protectors, err = openDir(fs, s.base, protectorsName); err != nil {
		return nil, err
	}
	if err := s.each(s.policies, s.loadPolicy); err != nil {
		return nil, err
	}
	if err := s.each(s.protectors, s.loadProtector); err != nil {
		return nil, err
	}
	return s, nil
}

// AllUsers reports whether every user may keep metadata here.
func (s *Store) AllUsers() bool { return s.protectors.attr.Mode&modeWorldWritable != 0 }

// entry is a name in one of the directories.
type entry struct {
	name string
	ino  image.Ino
}

var errTooMany = errors.New("too many files")

// each calls load for the files of a directory in the order of their names,
// and notes those that it finds damaged.
func (s *Store) each(dir metaDir, load func(name string, ino image.Ino) error) error {
	entries, err := s.list(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.name, tempPrefix) {
			continue
		}
		if err := load(e.name, e.ino); err != nil {
			s.Damaged = append(s.Damaged, Damage{dir.path + "/" + e.name, e.ino, err})
		}
	}
	return nil
}

// list returns the entries of a directory, sorted. What is too much, or cannot
// be read, is damage of the directory.
func (s *Store) list(dir metaDir) ([]entry, error) {
	entries, err := listDir(s.fs, dir)
	if errors.Is(err, image.ErrCorrupt) || errors.Is(err, errTooMany) {
		s.Damaged = append(s.Damaged, Damage{dir.path, dir.ino, err})
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", dir.path, err)
	}
	return entries, nil
}

// listDir returns what it could read even where there is an error.
func listDir(fs image.FS, dir metaDir) ([]entry, error) {
	var entries []entry
	err := fs.ReadDir(dir.ino, func(d image.Dirent) error {
		if len(entries) == maxFiles {
			return fmt.Errorf("%w: those past %d are left out", errTooMany, maxFiles)
		}
		entries = append(entries, entry{string(d.Name), d.Ino})
		return nil
	})
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, err
}

func (s *Store) loadPolicy(name string, ino image.Ino) error {
	data, _, err := readFile(s.fs, ino)
	if err != nil {
		return err
	}
	p, err := parsePolicy(data)
	if err == nil && p.ID != name {
		err = fmt.Errorf("it holds policy %s", p.ID)
	}
	if err != nil {
		return &image.CorruptError{What: "policy file", Ino: ino, Why: err.Error()}
	}
	p.ino = ino
	s.Policies = append(s.Policies, p)
	return nil
}

func (s *Store) loadProtector(name string, ino image.Ino) error {
	data, attr, err := readFile(s.fs, ino)
	if err != nil {
		return err
	}
	if id, ok := strings.CutSuffix(name, linkSuffix); ok {
		return s.loadLink(id, ino, data)
	}
	p, err := parseProtector(data)
	switch {
	case err != nil:
	case p.ID != name:
		err = fmt.Errorf("it holds protector %s", p.ID)
	case p.Source == SourceLogin && attr.UID != 0 && int64(attr.UID) != p.UID:
		// Anyone might have put it there to learn the passphrase.
		err = fmt.Errorf("login protector of uid %d belongs to uid %d", p.UID, attr.UID)
	}
	if err != nil {
		return &image.CorruptError{What: "protector file", Ino: ino, Why: err.Error()}
	}
	p.ino = ino
	s.Protectors = append(s.Protectors, p)
	return nil
}

func (s *Store) loadLink(id string, ino image.Ino, data []byte) error {
	l, err := parseLink(data)
	if err == nil && !isHex(id, protectorIDLen) {
		err = fmt.Errorf("its name is not that of a protector")
	}
	if err != nil {
		return &image.CorruptError{What: "protector link", Ino: ino, Why: err.Error()}
	}
	l.ID, l.ino = id, ino
	s.Links = append(s.Links, l)
	return nil
}
