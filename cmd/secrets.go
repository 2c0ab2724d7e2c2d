package cmd

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"fsenc/internal/crypt"
	"fsenc/internal/secret"
)

// maxSecret bounds a passphrase and the text of a key, in bytes.
const maxSecret = 4096

// keyFlags are the flags that say where keys come from.
type keyFlags struct {
	files       []string
	encoding    string
	fd          int
	passFile    string
	passFD      int
	passCommand string
	keyID       string
	protector   string
	hwWrapped   bool
}

// noKeys is what the flags are for a command that takes no keys.
func noKeys() *keyFlags { return &keyFlags{fd: -1, passFD: -1} }

// registerRaw adds the flags of raw master keys.
func (k *keyFlags) registerRaw(f *pflag.FlagSet) {
	f.StringArrayVar(&k.files, "key-file", nil, "read a master key from `FILE`, - is stdin; may be repeated")
	f.StringVar(&k.encoding, "key-encoding", "raw", "`ENCODING` of the keys: raw, hex or base64")
	f.IntVar(&k.fd, "key-fd", -1, "read a master key from the open descriptor `N`")
	f.BoolVar(&k.hwWrapped, "hw-wrapped", false, "the key is a hardware-wrapped key in its raw form")
}

// registerPassphrase adds the flags of passphrases.
func (k *keyFlags) registerPassphrase(f *pflag.FlagSet) {
	f.StringVar(&k.passFile, "passphrase-file", "", "read the passphrase from the first line of `FILE`, - is stdin")
	f.IntVar(&k.passFD, "passphrase-fd", -1, "read the passphrase from the open descriptor `N`")
	f.StringVar(&k.passCommand, "passphrase-command", "", "take the passphrase from the first line that `CMD` prints; run without a shell")
}

// register adds all flags of keys and passphrases.
func (k *keyFlags) register(f *pflag.FlagSet) {
	k.registerRaw(f)
	k.registerPassphrase(f)
	f.StringVar(&k.keyID, "key-id", "", "unlock the policy `ID` of .fscrypt; a unique prefix will do")
	f.StringVar(&k.protector, "protector", "", "unlock with the protector `ID|NAME`")
}

// check refuses contradictions before anything is opened.
func (k *keyFlags) check() error {
	stdin := 0
	for _, f := range append(k.files, k.passFile) {
		if f == "-" {
			stdin++
		}
	}
	passes := 0
	for _, given := range []bool{k.passFile != "", k.passFD >= 0, k.passCommand != ""} {
		if given {
			passes++
		}
	}
	switch {
	case k.encoding != "" && k.encoding != "raw" && k.encoding != "hex" && k.encoding != "base64":
		return usagef("--key-encoding: %q is none of raw, hex, base64", k.encoding)
	case stdin > 1:
		return usagef("stdin can give only one secret")
	case passes > 1:
		return usagef("--passphrase-file, --passphrase-fd and --passphrase-command exclude each other")
	case k.fd >= 0 && k.fd == k.passFD:
		return usagef("--key-fd and --passphrase-fd name the same descriptor")
	case k.hwWrapped && !k.raw():
		return usagef("--hw-wrapped needs --key-file or --key-fd")
	}
	return nil
}

// raw reports whether raw keys were given.
func (k *keyFlags) raw() bool { return len(k.files) > 0 || k.fd >= 0 }

// given reports whether the user named any key at all.
func (k *keyFlags) given() bool {
	return k.raw() || k.passphraseGiven() || k.keyID != "" || k.protector != ""
}

// passphraseGiven reports whether a passphrase comes from somewhere else than
// the terminal.
func (k *keyFlags) passphraseGiven() bool {
	return k.passFile != "" || k.passFD >= 0 || k.passCommand != ""
}

// masterKeys reads all raw keys that were given. The caller wipes them.
func (a *app) masterKeys(k *keyFlags) ([]*crypt.MasterKey, error) {
	var keys []*crypt.MasterKey
	add := func(name string, text *secret.Buffer, err error) error {
		if err != nil {
			return err
		}
		key, err := k.decode(text)
		if err != nil {
			return fmt.Errorf("key from %s: %w", name, err)
		}
		a.debug("%s holds key %s, v1 descriptor %s", name, key.Identifier(), key.Descriptor())
		keys = append(keys, key)
		return nil
	}
	for _, f := range k.files {
		text, err := a.readSecretFile(f, secret.ReadKey)
		if err := add(f, text, err); err != nil {
			wipeKeys(keys)
			return nil, err
		}
	}
	if k.fd >= 0 {
		text, err := readSecretFD(k.fd, secret.ReadKey)
		if err := add(fmt.Sprintf("descriptor %d", k.fd), text, err); err != nil {
			wipeKeys(keys)
			return nil, err
		}
	}
	return keys, nil
}

func wipeKeys(keys []*crypt.MasterKey) {
	for _, k := range keys {
		k.Wipe()
	}
}

// decode makes a master key of the text of a file and wipes the text.
func (k *keyFlags) decode(text *secret.Buffer) (*crypt.MasterKey, error) {
	defer text.Wipe()
	raw := text.Bytes()
	var err error
	switch k.encoding {
	case "hex":
		raw, err = decodeHex(raw)
	case "base64":
		raw, err = decodeBase64(raw)
	}
	if err != nil {
		return nil, err
	}
	make := crypt.NewMasterKey
	if k.hwWrapped {
		make = crypt.NewHardwareKey
	}
	key, err := make(raw)
	if errors.Is(err, crypt.ErrKeySize) && k.encoding == "raw" && len(raw) > 64 {
		return nil, &hinted{err, "a key in text form needs --key-encoding hex or base64"}
	}
	return key, err
}

// errKeyText: the text of a key is not in the encoding that was named.
var errKeyText = errors.New("key in another encoding")

// decodeHex decodes in place, white space left out.
func decodeHex(b []byte) ([]byte, error) {
	b = squeeze(b)
	n, err := hex.Decode(b, b)
	if err != nil {
		// The error of package hex shows a byte of the key.
		return nil, fmt.Errorf("%w: not hexadecimal", errKeyText)
	}
	return b[:n], nil
}

// decodeBase64 decodes in place, white space left out, padding or not, either
// alphabet.
func decodeBase64(b []byte) ([]byte, error) {
	b = squeeze(b)
	for len(b) > 0 && b[len(b)-1] == '=' {
		b = b[:len(b)-1]
	}
	for i, c := range b {
		switch c {
		case '-':
			b[i] = '+'
		case '_':
			b[i] = '/'
		}
	}
	n, err := base64.RawStdEncoding.Decode(b, b)
	if err != nil {
		return nil, fmt.Errorf("%w: not base64", errKeyText)
	}
	return b[:n], nil
}

// squeeze drops white space in place.
func squeeze(b []byte) []byte {
	n := 0
	for _, c := range b {
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			b[n] = c
			n++
		}
	}
	return b[:n]
}

// givenPassphrase reads the passphrase from where the flags say. The caller
// wipes it.
func (a *app) givenPassphrase(k *keyFlags) (*secret.Buffer, error) {
	switch {
	case k.passFD >= 0:
		return readSecretFD(k.passFD, secret.ReadLine)
	case k.passCommand != "":
		return a.runSecretCommand(k.passCommand)
	}
	return a.readSecretFile(k.passFile, secret.ReadLine)
}

// secretReader reads a secret of a form from a stream.
type secretReader func(r io.Reader, limit int) (*secret.Buffer, error)

// readSecretFile reads a key or passphrase file, - for stdin, and warns when
// others can read it.
func (a *app) readSecretFile(name string, read secretReader) (*secret.Buffer, error) {
	if name == "-" {
		return readSecret(a.stdin, "standard input", read)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o044 != 0 {
		a.warn("%s can be read by others: chmod 600 %s", name, operand(name))
	}
	return readSecret(f, name, read)
}

// readSecretFD reads from a descriptor that the parent left open.
func readSecretFD(fd int, read secretReader) (*secret.Buffer, error) {
	f := os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd))
	if f == nil {
		return nil, usagef("descriptor %d is not open", fd)
	}
	defer f.Close()
	return readSecret(f, f.Name(), read)
}

// readSecret adds to an error where the secret should have come from.
func readSecret(r io.Reader, name string, read secretReader) (*secret.Buffer, error) {
	b, err := read(r, maxSecret)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s is empty, a secret was expected", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read a secret from %s: %w", name, unwrapPath(err))
	}
	return b, nil
}

// secretVariables must not hold a secret: a process's environment is seen by
// its children and by whoever may look into /proc.
var secretVariables = []string{"FSENC_PASSPHRASE", "FSENC_PASSWORD", "FSENC_KEY", "FSENC_MASTER_KEY"}

// refuseSecretEnv refuses to run with a secret in the environment.
func refuseSecretEnv(lookup func(string) (string, bool)) error {
	for _, name := range secretVariables {
		if _, set := lookup(name); set {
			e := usagef("the environment variable %s is not accepted: others can read it", name)
			e.hint = "use --passphrase-file, --passphrase-command or --key-file, and change what was in it"
			return e
		}
	}
	return nil
}

// secretFlagHint is what to say to a flag that looks as if a secret followed.
func secretFlagHint(name string) string {
	switch strings.ToLower(name) {
	case "key", "master-key", "raw-key", "key-hex", "k":
		return "keys are not accepted on the command line, where others can read them: use --key-file or --key-fd"
	case "passphrase", "password", "pass", "passwd", "pw", "p":
		return "passphrases are not accepted on the command line, where others can read them: " +
			"use --passphrase-file, --passphrase-fd or --passphrase-command"
	}
	return ""
}
