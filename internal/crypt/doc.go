// Package crypt makes of a master key and a context the ciphers of a file: its
// contents, the names in a directory, the target of a symlink.
//
// A MasterKey is what the user brings; Contents and Names belong to one inode
// and are safe for several goroutines. What they hold of keys is wiped by
// Close. The rules are those of the kernel's fs/crypto (6.12; hardware-wrapped
// keys 6.16; keys of extents as proposed for btrfs in May 2026). The package
// knows no filesystem: where a context or a ciphertext lies is not its matter.
package crypt
