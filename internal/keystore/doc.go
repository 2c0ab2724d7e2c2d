// Package keystore reads and edits the metadata that google/fscrypt keeps in
// a filesystem, under .fscrypt in its root directory.
//
// A policy there is a master key of 64 bytes, wrapped once for each of its
// protectors. A protector is a key of 32 bytes, wrapped in turn under what the
// user knows or has: a passphrase through Argon2id, or 32 raw bytes. Each
// policy and each protector is one file, a protobuf message of google/fscrypt
// 0.3.6 (metadata.proto), named by the hex of what identifies the key. A link
// file stands for a protector on another filesystem.
//
// The files are a stranger's data. Each is judged by itself, so that damage in
// one does not hide the others. An edit changes only the fields it is about:
// fields that fsenc does not know stay, and so does the order of all.
//
// Keys and passphrases are in memory of internal/secret, but for what Argon2id
// and SHA-256 work on. Whatever held an old wrapping in the image is
// overwritten.
package keystore

import (
	"errors"
	"fmt"

	"fsenc/internal/crypt"
	"fsenc/internal/image"
)

var (
	// ErrNotSetUp says that there is no .fscrypt, or not all of it.
	ErrNotSetUp = errors.New("not set up for fscrypt")
	// ErrSetUp says that there is a .fscrypt already.
	ErrSetUp = errors.New("already set up for fscrypt")
	// ErrInsecure says that anyone may replace metadata of others.
	ErrInsecure = errors.New("insecure metadata directory")
	// ErrElsewhere says that .fscrypt or a protector is kept outside the image.
	ErrElsewhere = errors.New("not in this image")
	// ErrNotFound says that no policy or protector has the name.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous says that several have it.
	ErrAmbiguous = errors.New("ambiguous")
	// ErrLastProtector says that nobody could unlock a policy any more.
	ErrLastProtector = errors.New("last protector")
	// ErrCosts says that a passphrase would take more to hash than allowed.
	ErrCosts = errors.New("hashing costs out of bounds")
	// ErrArgument says that what was asked for cannot be kept in metadata.
	ErrArgument = errors.New("not possible in fscrypt metadata")

	// ErrWrongSecret says that a passphrase or raw key is not a protector's.
	// It is also crypt.ErrWrongKey.
	ErrWrongSecret error = wrongSecret{}
)

type wrongSecret struct{}

func (wrongSecret) Error() string        { return "wrong passphrase or key" }
func (wrongSecret) Is(target error) bool { return target == crypt.ErrWrongKey }

// Damage is a file or entry of the metadata that cannot be used.
type Damage struct {
	Path string // from the root of the filesystem, bytes as stored
	Ino  image.Ino
	Err  error
}

func (d Damage) Error() string { return fmt.Sprintf("%q: %v", d.Path, d.Err) }

// Unwrap returns Err.
func (d Damage) Unwrap() error { return d.Err }
