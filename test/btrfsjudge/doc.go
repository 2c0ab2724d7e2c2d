// Package btrfsjudge reads encrypted btrfs images for tests, and shares no code
// with what it judges: its own superblocks, chunks, trees, checksums, keys,
// ciphers and decompression, from the same description of the format.
//
// It knows the layout of the series v6 of February 2026 with v2 policies, one or
// several devices of the profiles single, DUP, RAID0, RAID1 and RAID10, and reads
// names and contents in the modes of AES. Of inodes in other modes it checks all
// but what they hold.
//
// What it says of references, free space and block groups is nothing: that is
// what btrfs check tells of a shadow.
package btrfsjudge
