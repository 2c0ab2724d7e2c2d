package cmd

import (
	"errors"
	"fmt"
	"strings"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/keystore"
)

// tries is how often a passphrase is asked for.
const tries = 3

// metadata returns the image's .fscrypt, read once. The error is errNoMetadata
// if there is none.
func (x *access) metadata() (*keystore.Store, error) {
	if x.store != nil {
		return x.store, nil
	}
	s, err := keystore.Load(x.fs)
	if errors.Is(err, keystore.ErrNotSetUp) {
		return nil, errNoMetadata
	}
	if err != nil {
		return nil, err
	}
	for _, d := range s.Damaged {
		x.app.note("warning: %v", d)
	}
	x.store = s
	return s, nil
}

// unlockPolicy looks for the key of a policy in the image's .fscrypt and puts
// it into the ring. The error is errNoMetadata if nothing there is about it.
func (x *access) unlockPolicy(p policy.Policy) error {
	s, err := x.metadata()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(p.KeySpec(), strings.ToLower(x.k.keyID)) {
		return errNoMetadata
	}
	known, err := s.Policy(p.KeySpec())
	if errors.Is(err, keystore.ErrNotFound) {
		return errNoMetadata
	}
	if err != nil {
		return err
	}
	key, err := x.unlockKnown(s, known)
	if err != nil {
		return err
	}
	x.ring.Add(key)
	return nil
}

// unlockKnown unlocks a policy of the metadata by one of its protectors.
func (x *access) unlockKnown(s *keystore.Store, known *keystore.Policy) (*crypt.MasterKey, error) {
	usable, err := x.protectors(s, known)
	if err != nil {
		return nil, err
	}
	by, err := x.unlockOne(s, usable, "policy "+short(known.ID))
	if err != nil {
		return nil, err
	}
	return s.UnlockPolicy(known, by)
}

// protectors are those of a policy that the flags allow, at least one.
func (x *access) protectors(s *keystore.Store, known *keystore.Policy) ([]*keystore.Protector, error) {
	usable, missing := s.ProtectorsOf(known)
	if x.k.protector != "" {
		p, err := s.Protector(x.k.protector)
		if err != nil {
			return nil, err
		}
		if !known.ProtectedBy(p.ID) {
			return nil, fmt.Errorf("%w: protector %v does not unlock policy %s", crypt.ErrWrongKey, p, known.ID)
		}
		return []*keystore.Protector{p}, nil
	}
	if len(usable) == 0 {
		return nil, fmt.Errorf("%w: policy %s: no protector is at hand: %w", crypt.ErrNoKey, known.ID, errors.Join(missing...))
	}
	for _, err := range missing {
		x.app.verbose("policy %s: %v", known.ID, err)
	}
	return usable, nil
}

// short is the start of an identifier as messages show it.
func short(id string) string { return id[:min(len(id), 8)] }

// unlockOne unlocks one of several protectors: with what was unlocked before,
// the raw keys, the passphrase that was given, or one that is asked for.
func (x *access) unlockOne(s *keystore.Store, list []*keystore.Protector, what string) (*keystore.Unlocked, error) {
	for _, p := range list {
		if u := x.unlocked[p.ID]; u != nil {
			return u, nil
		}
	}
	for _, key := range x.ring.Keys() {
		u, err := x.tryAll(s, list, key.Raw(), keystore.SourceRawKey)
		if err == nil || !errors.Is(err, crypt.ErrWrongKey) {
			return u, err
		}
	}
	if x.k.passphraseGiven() {
		return x.unlockGiven(s, list)
	}
	return x.unlockAsking(s, list, what)
}

// unlockGiven uses the passphrase of the flags, which is read once.
func (x *access) unlockGiven(s *keystore.Store, list []*keystore.Protector) (*keystore.Unlocked, error) {
	if x.passphrase == nil {
		p, err := x.app.givenPassphrase(x.k)
		if err != nil {
			return nil, err
		}
		x.passphrase = p
	}
	return x.tryAll(s, list, x.passphrase.Bytes(), keystore.SourcePassphrase)
}

// unlockAsking asks on the terminal.
func (x *access) unlockAsking(s *keystore.Store, list []*keystore.Protector, what string) (*keystore.Unlocked, error) {
	if x.silent {
		return nil, errNoMetadata
	}
	names := protectorNames(list)
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: %s is protected by a raw key: give it with --key-file", crypt.ErrNoKey, what)
	}
	if x.app.set.NonInteractive {
		return nil, &refusal{
			err:  fmt.Errorf("%w: %s needs a passphrase, not asked because of --non-interactive", errRefused, what),
			hint: "give it with --passphrase-file, --passphrase-fd or --passphrase-command",
		}
	}
	t, err := openTerminal(x.app.ctx)
	if err != nil {
		return nil, &hinted{
			fmt.Errorf("%w: %s needs a passphrase, and %w", crypt.ErrNoKey, what, err),
			"give it with --passphrase-file, --passphrase-fd or --passphrase-command",
		}
	}
	defer t.close()
	question := fmt.Sprintf("Passphrase for %s (%s): ", what, strings.Join(names, ", "))
	for n := 1; ; n++ {
		u, err := x.tryTyped(t, s, list, question)
		if err == nil || !errors.Is(err, crypt.ErrWrongKey) || n == tries {
			return u, err
		}
		t.tell("That is not it, try again.")
	}
}

// tryTyped asks once.
func (x *access) tryTyped(t *terminal, s *keystore.Store, list []*keystore.Protector, question string) (*keystore.Unlocked, error) {
	typed, err := t.askSecret(question)
	if errors.Is(err, errEndOfInput) {
		return nil, fmt.Errorf("%w: no passphrase was given", crypt.ErrNoKey)
	}
	if err != nil {
		return nil, err
	}
	defer typed.Wipe()
	return x.tryAll(s, list, typed.Bytes(), keystore.SourcePassphrase)
}

// protectorNames names the protectors that a passphrase opens.
func protectorNames(list []*keystore.Protector) []string {
	var names []string
	for _, p := range list {
		if p.Source.Passphrase() {
			names = append(names, escapeString(or(p.Name, p.String())))
		}
	}
	return names
}

// tryAll tries a secret on each protector that takes one of its kind. The
// error wraps crypt.ErrWrongKey if it is that of none.
func (x *access) tryAll(s *keystore.Store, list []*keystore.Protector, given []byte, kind keystore.Source) (*keystore.Unlocked, error) {
	err := error(keystore.ErrWrongSecret)
	for _, p := range list {
		if p.Source.Passphrase() != kind.Passphrase() || kind == keystore.SourceRawKey && len(given) != keystore.RawKeySize {
			continue
		}
		u, uerr := s.UnlockProtector(p, given)
		if uerr == nil {
			x.app.debug("unlocked protector %v", p)
			x.unlocked[p.ID] = u
			return u, nil
		}
		if !errors.Is(uerr, keystore.ErrWrongSecret) {
			return nil, uerr
		}
		err = uerr
	}
	return nil, err
}

// wipeSecrets erases what was unlocked on the way.
func (x *access) wipeSecrets() {
	for _, u := range x.unlocked {
		u.Wipe()
	}
	clear(x.unlocked)
	x.passphrase.Wipe()
	x.passphrase = nil
}
