// Package convert changes how a tree is encrypted, in place: from plaintext to
// a policy and back.
//
// It joins what the layers below keep apart: an image.FS, which moves bytes,
// and internal/crypt, which makes ciphers of keys and contexts.
//
// # How a conversion flows
//
//	PlanEncrypt, PlanDecrypt   read the tree, refuse what cannot be converted,
//	                           list the inodes to convert; nothing is written
//	Begin                      plan to the log, then the mark into the image
//	Run                        batch after batch: contents and metadata of the
//	                           next inodes staged, then committed by txn
//	                           then wipe, then clear the mark
//	Open, Resume               recover the last commit; Run goes on from there,
//	                           in either direction
//	Verify                     read the result back from the image
//
// The list of inodes is in an order in which every inode follows what lies
// below it: files and symlinks by their place on the disk, then directories,
// children before parents. A conversion is a boundary in that list: what is
// before it has its new form, what is behind its old one. A large file may lie
// on the boundary, with its own boundary in blocks. Run moves the boundary up
// or, to undo, down; each commit records where it is. That is the whole state,
// so a crash while undoing can be resumed and the other way round.
//
// The new nonces are a permutation of the inode numbers under a key drawn for
// the conversion and kept in the plan: they are distinct and unpredictable, and
// need no room in the log.
//
// While the boundary is inside, the image carries a mark that kernels and
// checkers refuse: contents are overwritten in place, so a tree half way is not
// one that a kernel could read.
package convert
