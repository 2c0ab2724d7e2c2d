// Package kdf derives the keys of fscrypt from master keys.
//
// Version 2 policies use HKDF-SHA512 (RFC 5869) without salt, version 1 ones
// AES-128-ECB under the nonce. SipHash-2-4 gives the hashes of inode numbers
// and of names in casefolded directories; SP 800-108 in counter mode with
// AES-256-CMAC is what the hardware behind hardware-wrapped keys does, as the
// kernel's tests emulate it. Integers are little-endian unless said otherwise.
//
// The derivations are those of the kernel's fs/crypto (6.12, hardware-wrapped
// keys 6.16). The vectors come from OpenSSL and xfstests' fscrypt-crypt-util.
package kdf
