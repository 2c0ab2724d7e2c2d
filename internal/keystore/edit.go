package keystore

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
	"fsenc/internal/secret"
)

// maxNameLen bounds the name of a protector in bytes, so that a list of them
// stays a list.
const maxNameLen = 255

// NewProtector describes a protector to be made.
type NewProtector struct {
	Source Source // SourcePassphrase or SourceRawKey
	Name   string // not empty, and not yet taken
	Costs  Costs  // of hashing a passphrase; zero asks for Calibrate(0)
}

// AddProtector makes a protector with a random key, wrapped by a passphrase or
// by a raw key of RawKeySize bytes. It is returned unlocked. The error wraps
// image.ErrExist if the name is taken, and ErrArgument for what cannot be.
func (s *Store) AddProtector(n NewProtector, passphraseOrKey []byte) (*Unlocked, error) {
	if err := s.checkNew(n, passphraseOrKey); err != nil {
		return nil, fmt.Errorf("add protector %q: %w", n.Name, err)
	}
	key, err := secret.Random(protectorKeySize)
	if err != nil {
		return nil, err
	}
	u := &Unlocked{&Protector{ID: protectorID(key.Bytes()), Source: n.Source, Name: n.Name, Costs: n.Costs}, key}
	if err := s.storeNew(u, passphraseOrKey); err != nil {
		u.Wipe()
		return nil, fmt.Errorf("add protector %q: %w", n.Name, err)
	}
	return u, nil
}

func (s *Store) storeNew(u *Unlocked, passphraseOrKey []byte) error {
	if u.Source == SourcePassphrase && u.Costs == (Costs{}) {
		u.Costs = Calibrate(0)
	}
	if err := s.rewrap(u, passphraseOrKey); err != nil {
		return err
	}
	data, err := u.encode()
	if err != nil {
		return err
	}
	if u.ino, err = s.create(s.protectors, u.ID, data); err != nil {
		return err
	}
	s.Protectors = append(s.Protectors, u.Protector)
	slices.SortFunc(s.Protectors, func(a, b *Protector) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

func (s *Store) checkNew(n NewProtector, passphraseOrKey []byte) error {
	switch {
	case n.Source != SourcePassphrase && n.Source != SourceRawKey:
		return fmt.Errorf("%w: protector with source %v", ErrArgument, n.Source)
	case n.Name == "" || len(n.Name) > maxNameLen:
		return fmt.Errorf("%w: name of %d bytes, want 1 to %d", ErrArgument, len(n.Name), maxNameLen)
	case !utf8.ValidString(n.Name) || strings.ContainsFunc(n.Name, unicode.IsControl):
		return fmt.Errorf("%w: name with other than printable UTF-8", ErrArgument)
	case slices.ContainsFunc(s.Protectors, func(p *Protector) bool { return p.Name == n.Name }):
		return fmt.Errorf("a protector of that name: %w", image.ErrExist)
	}
	return checkSecret(n.Source, passphraseOrKey)
}

func checkSecret(source Source, passphraseOrKey []byte) error {
	switch {
	case len(passphraseOrKey) == 0:
		return fmt.Errorf("%w: empty passphrase or key", ErrArgument)
	case source == SourceRawKey && len(passphraseOrKey) != RawKeySize:
		return fmt.Errorf("%w: raw key of %d bytes, want %d", ErrArgument, len(passphraseOrKey), RawKeySize)
	}
	return nil
}

// rewrap puts the protector's key under a new secret, with a new salt.
func (s *Store) rewrap(u *Unlocked, passphraseOrKey []byte) error {
	if u.Source.Passphrase() {
		if err := u.Costs.check(); err != nil {
			return err
		}
		u.salt = make([]byte, saltSize)
		if _, err := rand.Read(u.salt); err != nil {
			return err
		}
	}
	wrapping, err := s.wrappingKey(u.Protector, passphraseOrKey)
	if err != nil {
		return err
	}
	defer wrapping.Wipe()
	u.wrapped, err = wrapKey(wrapping.Bytes(), u.key.Bytes())
	return err
}

// ChangeSecret puts a protector under another passphrase or raw key. Its own
// key stays, and with it what it protects. The old wrapping is overwritten in
// the image. Zero costs leave them as they are.
func (s *Store) ChangeSecret(u *Unlocked, passphraseOrKey []byte, c Costs) error {
	if err := checkSecret(u.Source, passphraseOrKey); err != nil {
		return fmt.Errorf("protector %v: %w", u.Protector, err)
	}
	if c != (Costs{}) {
		u.Costs = c
	}
	if err := s.rewrap(u, passphraseOrKey); err != nil {
		return fmt.Errorf("protector %v: %w", u.Protector, err)
	}
	data, err := u.encode()
	if err != nil {
		return err
	}
	return s.replace(s.protectors, u.ID, u.ino, data)
}

// CreatePolicy keeps a master key of 64 bytes under protectors, at least one.
// The error wraps image.ErrExist if the key is kept already, and ErrArgument
// for what metadata cannot say.
func (s *Store) CreatePolicy(key *crypt.MasterKey, o Options, by ...*Unlocked) (*Policy, error) {
	switch err := o.check(); {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrArgument, err)
	case len(key.Raw()) != policyKeySize || key.Hardware():
		return nil, fmt.Errorf("%w: master key of %d bytes, want a raw one of %d", ErrArgument, len(key.Raw()), policyKeySize)
	case len(by) == 0:
		return nil, fmt.Errorf("%w: policy without a protector", ErrArgument)
	}
	p := &Policy{ID: o.id(key), Options: o}
	if slices.ContainsFunc(s.Policies, func(q *Policy) bool { return q.ID == p.ID }) {
		return nil, fmt.Errorf("policy %s: %w", p.ID, image.ErrExist)
	}
	p.msg.setData(numPolicyID, []byte(p.ID))
	p.msg.setData(numOptions, o.bytes())
	for _, u := range by {
		if err := s.wrapPolicy(p, key, u); err != nil {
			return nil, err
		}
	}
	var err error
	if p.ino, err = s.create(s.policies, p.ID, p.msg.bytes()); err != nil {
		return nil, err
	}
	s.Policies = append(s.Policies, p)
	slices.SortFunc(s.Policies, func(a, b *Policy) int { return strings.Compare(a.ID, b.ID) })
	return p, nil
}

// AddProtectorToPolicy lets a further protector unlock a policy. The error
// wraps crypt.ErrWrongKey if key is not the policy's, and image.ErrExist if the
// protector is one of the policy's already.
func (s *Store) AddProtectorToPolicy(p *Policy, key *crypt.MasterKey, u *Unlocked) error {
	if p.Options.id(key) != p.ID || key.Hardware() || len(key.Raw()) != policyKeySize {
		return fmt.Errorf("policy %s: %w", p.ID, crypt.ErrWrongKey)
	}
	if err := s.wrapPolicy(p, key, u); err != nil {
		return err
	}
	return s.replace(s.policies, p.ID, p.ino, p.msg.bytes())
}

func (s *Store) wrapPolicy(p *Policy, key *crypt.MasterKey, u *Unlocked) error {
	if p.ProtectedBy(u.ID) {
		return fmt.Errorf("policy %s: protector %v: %w", p.ID, u.Protector, image.ErrExist)
	}
	w, err := wrapKey(u.key.Bytes(), key.Raw())
	if err != nil {
		return err
	}
	p.addKey(wrappedPolicyKey{u.ID, w})
	return nil
}

// create makes a metadata file. It belongs to who owns the directory.
func (s *Store) create(dir metaDir, name string, data []byte) (image.Ino, error) {
	if len(data) > maxFileSize {
		return 0, tooLong(dir, name, data)
	}
	n := image.NewFile{Perm: modeFile, UID: dir.attr.UID, GID: dir.attr.GID, Time: time.Now()}
	ino, err := s.fs.Create(dir.ino, []byte(name), data, n)
	if err != nil {
		return 0, fmt.Errorf("create %s/%s: %w", dir.path, name, err)
	}
	return ino, nil
}

// replace puts new contents into a file, which keeps its mode and owner.
func (s *Store) replace(dir metaDir, name string, ino image.Ino, data []byte) error {
	if len(data) > maxFileSize {
		return tooLong(dir, name, data)
	}
	err := s.overwrite(ino)
	if err == nil {
		err = s.fs.SetFile(ino, data)
	}
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", dir.path, name, err)
	}
	return nil
}

func tooLong(dir metaDir, name string, data []byte) error {
	return fmt.Errorf("%w: %s/%s would have %d bytes, more than %d", ErrArgument, dir.path, name, len(data), maxFileSize)
}

// overwrite writes zeros over the blocks of a file: the filesystem frees them
// as they are. What lies in the inode it clears itself.
func (s *Store) overwrite(ino image.Ino) error {
	attr, err := s.fs.Stat(ino)
	if err != nil {
		return err
	}
	if attr.Type != image.TypeRegular || attr.Inline {
		return nil
	}
	zeros := make([]byte, s.fs.Super().BlockSize)
	return eachBlock(s.fs, ino, min(attr.Size, maxFileSize), func(_ int64, at image.Pblk, unwritten bool) error {
		if unwritten {
			return nil
		}
		return s.fs.WriteBlocks(zeros, at)
	})
}

// remove takes a file out of the image for good.
func (s *Store) remove(dir metaDir, name string, ino image.Ino) error {
	err := s.overwrite(ino)
	if err == nil {
		err = s.fs.Remove(dir.ino, []byte(name))
	}
	if err != nil {
		return fmt.Errorf("remove %s/%s: %w", dir.path, name, err)
	}
	return nil
}
