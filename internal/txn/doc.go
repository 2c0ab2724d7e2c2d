// Package txn is a store that stages writes and commits them through a redo
// log, so that an image changes in steps that happen whole or not at all.
//
// A Tx lies over the home store, the image. What is written to it stays in
// memory; Commit writes it to the log, makes the log durable, and only then
// writes it home. Home itself is synced after several commits, an epoch: until
// then their records stay in the log. Whatever a power cut leaves, Open and
// Recover bring home to the state of the last commit by replaying the epoch.
// The log is a second store, beside the image.
//
// # Three kinds of change
//
// Metadata is staged with WriteAt and logged byte for byte, in units of 32
// bytes and never with its neighbours: the log of an encryption must not hold
// the plaintext of inodes that merely share a block with a changed one.
//
// File contents are staged with Rewrite: a range whose new bytes the caller's
// Transform computes from the old ones. They pass through memory piece by
// piece, on all cores, so a commit may cover much. With Checksum the log keeps only a
// checksum of each old 512-byte sector; after a crash a sector that still has
// it is old, any other is new, and the transform computes what is missing. That
// needs a transformation in which every sector of a torn data unit can be
// computed on its own (XTS), and spares writing the data twice. With Journal
// the new bytes themselves are logged, which any transformation can use.
//
// What goes to a place that nothing refers to yet is staged with WriteFresh, and
// needs no log: it is written home while the record is written, and durable before
// the state page is. WriteEarly begins with that before the commit, so that a commit
// may cover more than fits into memory; it waits until the commit before counts,
// which may have freed these places.
//
// # The log
//
// Integers are little-endian, offsets in bytes. Checksums are XXH64.
//
//	0      header, one page: magic, version, id, what image it belongs to
//	4096   state page of even commits
//	8192   state page of odd commits
//	12288  plan, as the caller gave it to Create
//	...    records, from the next multiple of 4096
//
// A state page names the epoch up to the record of its commit and holds the
// caller's position. State page and record are written together and synced
// once: the commit exists if the checksums of the epoch hold. The first record
// of an epoch does not overwrite the epoch before, so that a torn commit leaves
// its predecessor, which may be replayed any number of times.
//
// # The mark
//
// Between the first and the last commit the image carries a mark that makes
// kernels and checkers refuse it, and the id of the log. Begin and End commit
// the change of the mark as guarded writes: their old bytes are logged too,
// and recovery replays them only over sectors that hold either version. So a
// log that was left behind by a crash just before its removal never touches an
// image that has moved on, and one that never began is recognised as such.
// Beside the id the mark tells the epoch and the commit that the image has, so
// that an older copy of the image or of the log is not taken for the one that
// belongs to the other.
package txn
