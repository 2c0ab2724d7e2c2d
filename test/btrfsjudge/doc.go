// Package btrfsjudge reads encrypted btrfs images for tests, and shares no code
// with what it judges: its own superblock, chunks, trees, checksums, keys and
// ciphers, from the same description of the format.
//
// It knows what tests make: one device, single, DUP, RAID0 with one stripe, v2
// policies with AES-256-XTS and AES-256-CTS and keys for each file, in the layout
// of the series v6 of February 2026.
package btrfsjudge
