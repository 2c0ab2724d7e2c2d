package cmd

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"fsenc/internal/crypt"
	"fsenc/internal/keystore"
	"fsenc/internal/secret"
)

// newSecretFlags say where the secret of a new or changed protector comes
// from. The flags without "new" are about the old one.
type newSecretFlags struct {
	file    string
	fd      int
	command string
	keyFile string
}

func (n *newSecretFlags) register(f *pflag.FlagSet) {
	f.StringVar(&n.file, "new-passphrase-file", "", "read the new passphrase from the first line of `FILE`, - is stdin")
	f.IntVar(&n.fd, "new-passphrase-fd", -1, "read the new passphrase from the open descriptor `N`")
	f.StringVar(&n.command, "new-passphrase-command", "", "take the new passphrase from the first line that `CMD` prints")
	f.StringVar(&n.keyFile, "new-key-file", "", "read the 32 bytes of the new raw key from `FILE`, - is stdin")
}

// given reports whether a new passphrase comes from somewhere else than the
// terminal.
func (n *newSecretFlags) given() bool { return n.file != "" || n.fd >= 0 || n.command != "" }

// asKeyFlags lets what reads passphrases read the new one.
func (n *newSecretFlags) asKeyFlags() keyFlags {
	return keyFlags{passFile: n.file, passFD: n.fd, passCommand: n.command, fd: -1}
}

// check refuses contradictions, with the flags about the old secret.
func (n *newSecretFlags) check(source keystore.Source, old *keyFlags) error {
	k := n.asKeyFlags()
	k.encoding = "raw"
	if err := k.check(); err != nil {
		return usagef("--new-passphrase-file, --new-passphrase-fd and --new-passphrase-command exclude each other")
	}
	stdin := 0
	for _, f := range append([]string{n.file, n.keyFile, old.passFile}, old.files...) {
		if f == "-" {
			stdin++
		}
	}
	switch {
	case stdin > 1:
		return usagef("stdin can give only one secret")
	case source == keystore.SourceRawKey && n.given():
		return usagef("a raw key has no passphrase: say --new-key-file")
	case source == keystore.SourceRawKey && n.keyFile == "":
		e := usagef("a raw key is needed: --new-key-file")
		e.hint = "(umask 077; head -c 32 /dev/urandom > protector.key) makes one"
		return e
	case source != keystore.SourceRawKey && n.keyFile != "":
		return usagef("--new-key-file is for raw keys, this is a passphrase")
	}
	return nil
}

// newSecret is the secret of a protector to be made or changed: a passphrase,
// or the 32 bytes of a raw key.
func (a *app) newSecret(n *newSecretFlags, source keystore.Source, old *keyFlags) (*secret.Buffer, error) {
	if source == keystore.SourceRawKey {
		return a.newRawKey(n)
	}
	if n.given() {
		k := n.asKeyFlags()
		return a.givenPassphrase(&k)
	}
	if old != nil && old.passphraseGiven() {
		return a.givenPassphrase(old)
	}
	return a.askNew()
}

// newRawKey reads the raw key of a protector.
func (a *app) newRawKey(n *newSecretFlags) (*secret.Buffer, error) {
	b, err := a.readSecretFile(n.keyFile, secret.ReadKey)
	if err != nil {
		return nil, err
	}
	if b.Len() != keystore.RawKeySize {
		err := fmt.Errorf("%s: %w: %d bytes, a protector's raw key has %d", n.keyFile, crypt.ErrKeySize, b.Len(), keystore.RawKeySize)
		b.Wipe()
		return nil, err
	}
	return b, nil
}

// askNew asks for a new passphrase, twice. An empty one gets the offer of a
// generated one.
func (a *app) askNew() (*secret.Buffer, error) {
	if a.set.NonInteractive {
		return nil, &refusal{
			err:  fmt.Errorf("%w: a new passphrase is needed, not asked because of --non-interactive", errRefused),
			hint: "give it with --new-passphrase-file, --new-passphrase-fd or --new-passphrase-command",
		}
	}
	t, err := openTerminal(a.ctx)
	if err != nil {
		return nil, &hinted{
			fmt.Errorf("%w: a new passphrase is needed, and %w", crypt.ErrNoKey, err),
			"give it with --new-passphrase-file, --new-passphrase-fd or --new-passphrase-command",
		}
	}
	defer t.close()
	for n := 1; ; n++ {
		b, err := t.askTwice()
		if errors.Is(err, errEndOfInput) {
			return nil, fmt.Errorf("%w: no new passphrase was given", crypt.ErrNoKey)
		}
		if !errors.Is(err, errMismatch) || n == tries {
			return b, err
		}
		t.tell("The two differ, try again.")
	}
}

// errMismatch: the repetition of a new passphrase was another.
var errMismatch = fmt.Errorf("%w: the two passphrases differ", crypt.ErrWrongKey)

// askTwice asks for a new passphrase and its repetition.
func (t *terminal) askTwice() (*secret.Buffer, error) {
	first, err := t.askSecret("New passphrase (empty for a generated one): ")
	if err != nil {
		return nil, err
	}
	if first.Len() == 0 {
		first.Wipe()
		return t.offerGenerated()
	}
	second, err := t.askSecret("The same again: ")
	if err != nil {
		first.Wipe()
		return nil, err
	}
	defer second.Wipe()
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		first.Wipe()
		return nil, errMismatch
	}
	return first, nil
}

// offerGenerated shows a generated passphrase and takes it if the user does.
func (t *terminal) offerGenerated() (*secret.Buffer, error) {
	b, err := generate()
	if err != nil {
		return nil, err
	}
	t.tell("Generated: " + string(b.Bytes()))
	answer, err := t.ask("Write it down. Use it? [y/N] ")
	if err == nil && strings.HasPrefix(strings.ToLower(answer), "y") {
		return b, nil
	}
	b.Wipe()
	if err != nil {
		return nil, err
	}
	return nil, errMismatch
}

// A generated passphrase is groups of letters and digits that are not taken
// for one another: 24 of 32 are 120 bits.
const (
	generatedAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"
	generatedGroups   = 6
	generatedGroup    = 4
)

// generate makes a passphrase.
func generate() (*secret.Buffer, error) {
	b, err := secret.Alloc(generatedGroups*(generatedGroup+1) - 1)
	if err != nil {
		return nil, err
	}
	text := b.Bytes()
	if _, err := rand.Read(text); err != nil {
		b.Wipe()
		return nil, err
	}
	for i, r := range text {
		if i%(generatedGroup+1) == generatedGroup {
			text[i] = '-'
		} else {
			text[i] = generatedAlphabet[int(r)%len(generatedAlphabet)]
		}
	}
	return b, nil
}
