// Package image holds what the filesystem packages have in common: the types
// of numbers and records, the errors, and FS, the one interface through which
// the rest of fsenc reads and edits a filesystem.
//
// image knows nothing of keys: names, targets and contents are bytes as they
// lie on disk, and an encryption context is an opaque byte string. It imports
// internal/store only.
package image

import "time"

// Ino is an inode number as stat(2) shows it.
type Ino uint64

// Lblk is a block number within a file, in units of the filesystem block.
type Lblk uint64

// Pblk is a block number within the image, in units of the filesystem block.
type Pblk uint64

// FileType is the type of an inode or of a directory entry.
type FileType uint8

// The file types, numbered as ext4 and f2fs number them in directory entries.
const (
	TypeUnknown FileType = iota
	TypeRegular
	TypeDirectory
	TypeChar
	TypeBlock
	TypeFifo
	TypeSocket
	TypeSymlink
)

// Encrypts reports whether inodes of type t carry a context in an encrypted
// tree. Device nodes, fifos and sockets never do; only their names are
// encrypted.
func (t FileType) Encrypts() bool {
	return t == TypeRegular || t == TypeDirectory || t == TypeSymlink
}

// String returns the word that manifests and JSON output use.
func (t FileType) String() string {
	switch t {
	case TypeRegular:
		return "file"
	case TypeDirectory:
		return "dir"
	case TypeChar:
		return "chardev"
	case TypeBlock:
		return "blockdev"
	case TypeFifo:
		return "fifo"
	case TypeSocket:
		return "socket"
	case TypeSymlink:
		return "symlink"
	}
	return "unknown"
}

// Attr is what an inode says about itself, contents and names left out.
type Attr struct {
	Ino        Ino
	Type       FileType
	Mode       uint32 // st_mode with the type bits
	UID, GID   uint32
	ProjectID  uint32
	Links      uint32
	Size       int64 // i_size: of an encrypted symlink, 2 + ciphertext length
	AllocBytes int64 // space charged to the inode
	Atime      time.Time
	Mtime      time.Time
	Ctime      time.Time
	Crtime     time.Time // zero where the filesystem keeps none
	RdevMajor  uint32
	RdevMinor  uint32
	Generation uint32

	// Flags are as FS_IOC_GETFLAGS gives them.
	Flags uint32

	Encrypted bool // the inode is marked encrypted
	Casefold  bool // names in the directory fold
	Verity    bool // the file has a Merkle tree
	Inline    bool // contents lie inside the inode, where encryption forbids it
	Reserved  bool // an inode of the filesystem itself, never user data
}

// Extent maps Len blocks of a file from Lblk to the image from Pblk.
type Extent struct {
	Lblk      Lblk
	Pblk      Pblk
	Len       uint64
	Unwritten bool // allocated, reads as zeros

	// Plain tells, of an extent of an encrypted file, that it is not.
	Plain bool

	// Shift is what has to be added to the Lblk of a block to have the number
	// that it is encrypted under, in blocks: 0 where that is the Lblk.
	Shift int64

	// Context is the extent's own context as stored, "" where the contents of
	// a file have the key of the inode's.
	Context string

	// OldKey tells that the key for that context is derived as an older series of
	// the proposal did.
	OldKey bool

	// Packed tells how a compressed extent is stored, nil for all others.
	Packed *Packed
}

// Stored returns where the bytes of the extent lie: of a packed one its stream.
func (x Extent) Stored() []Extent {
	if x.Packed != nil {
		return x.Packed.Stream
	}
	return []Extent{x}
}

// Packed is how a compressed extent is stored. It maps blocks of the file to
// a part of what the stream unpacks to; its Pblk is where the stream begins.
type Packed struct {
	Method string   // "zlib", "lz4", ...: for messages
	Stream []Extent // whole blocks, in order; encrypted as their Lblk, Shift and Context say
	Skip   int64    // bytes of the unpacked stream before the extent
	Size   int64    // bytes that the stream unpacks to
}

// Unpacker is what a filesystem with compressed extents has beside FS.
type Unpacker interface {
	// Unpack returns the Size bytes that the blocks of the stream, decrypted,
	// hold. The error wraps ErrCorrupt, or ErrUnsupported for a method.
	Unpack(p *Packed, stream []byte) ([]byte, error)
}

// Dirent is a directory entry. "." and ".." are never reported and never set.
type Dirent struct {
	Name []byte // as stored: ciphertext in an encrypted directory
	Ino  Ino
	Type FileType

	// Hash and MinorHash are the two numbers that the kernel puts into the
	// no-key name of the entry. When a directory that is encrypted and
	// casefolded is set they are also what is stored with the name, as
	// Super.LowHash says.
	Hash, MinorHash uint32

	// Misplaced tells, of an entry that ReadDir lists, that Lookup does not
	// find it: the directory's index leads elsewhere.
	Misplaced bool
}

// Xattr is an extended attribute, without the encryption context.
type Xattr struct {
	Name  string // with its prefix: "user.foo", "system.posix_acl_access"
	Value []byte // as getxattr(2) gives it
}

// Super is what the superblock says, for display and for the rules of policies.
type Super struct {
	Kind       string // "ext4", "f2fs", "btrfs"
	Layout     string // version of the layout where it is not the released one
	Inline     string // format of encrypted contents inside of inodes, "" if the feature is not set
	UUID       [16]byte
	Label      string
	BlockSize  int   // bytes
	AllocUnit  int   // bytes: cluster size
	SizeBytes  int64 // of the filesystem
	FreeBytes  int64
	Inodes     uint64
	FreeInodes uint64
	InodeSize  int // bytes
	Features   []string

	// What decides whether a policy can be used.
	Encrypt        bool // the feature that encryption needs is set
	StableInodes   bool // inode numbers never change
	Preallocates   bool // extents may be unwritten
	Casefold       bool
	NamedInodes    bool // inodes hold the names that directories have for them
	LowHash        bool // the hash of a casefolded name is its low 32 bits alone
	RootPolicy     bool // the root directory can have a policy
	MaxFileBits    int  // position of the highest bit of s_maxbytes-1
	SubBlockUnits  bool
	MaxLinkRoom    int // L of the fscrypt spec, section 9: target limit is L-3
	JournalState   string
	LastMounted    string
	LastWrite      time.Time
	BootLoaderHint string // what was found that boots from this image, if anything
}

// NewFile describes an inode to be made by FS.Create and FS.Mkdir.
type NewFile struct {
	Perm     uint32 // permission bits with sticky, setuid, setgid
	UID, GID uint32
	Time     time.Time // all four timestamps
}

// Options say what a filesystem is opened for.
type Options struct {
	// Write demands everything that editing needs: a clean image, and no
	// feature that is not understood. What fsenc does not know, or what has to
	// be recovered first, is then refused before anything is touched.
	Write bool

	// AllowUnfinished opens an image that carries the mark of an interrupted
	// conversion.
	AllowUnfinished bool

	// AllowDirty opens, for display only, an image that needs recovery. What
	// is read may be old.
	AllowDirty bool
}

// FS reads and edits one filesystem.
//
// Reading is safe for concurrent use while nothing is edited. Edits are
// staged in the store that the filesystem was opened on, from one goroutine;
// what an implementation caches (bitmaps, counters, superblock) reaches the
// store with Flush. An error of an edit leaves the staged state undefined:
// the caller drops the transaction and opens the filesystem again.
//
// Every error about damage wraps ErrCorrupt and tells inode and block.
type FS interface {
	Super() Super
	Root() Ino

	// LostFound is the inode of the directory that the checker fills, 0 if
	// there is none.
	LostFound() (Ino, error)

	// Stat returns the attributes of a used inode, ErrNotExist for a free one.
	Stat(Ino) (Attr, error)

	// Inodes calls f for each used inode in ascending order, reserved ones
	// included, and stops at its first error. A damaged inode is reported
	// through its second argument, with the rest of Attr as far as read.
	Inodes(f func(Attr, error) error) error

	// Context returns the stored encryption context, nil if there is none.
	// It does not depend on the inode's flag.
	Context(Ino) ([]byte, error)

	// ReadDir calls f for each entry of a directory in stored order and stops
	// at its first error. The name is valid until f returns.
	ReadDir(dir Ino, f func(Dirent) error) error

	// Lookup finds one stored name, through the index where there is one.
	Lookup(dir Ino, name []byte) (Dirent, error)

	// ReadLink returns the i_size bytes that a symlink stores.
	ReadLink(Ino) ([]byte, error)

	// Extents returns the mapping of a regular file in ascending order, nil
	// for a file that is inline.
	Extents(Ino) ([]Extent, error)

	// DataExtents returns the part of the mapping whose blocks are encrypted
	// when the file is: all that is written. Behind the end of file that is
	// the tree of a verity file, or what a crash left and nothing reads.
	DataExtents(Ino) ([]Extent, error)

	// Inline returns the contents of a file that keeps them in the inode; of an
	// encrypted one, with Super.Inline, the ciphertext: whole cipher blocks.
	Inline(Ino) ([]byte, error)

	// Xattrs returns all extended attributes but the encryption context.
	Xattrs(Ino) ([]Xattr, error)

	// ReadBlocks reads whole blocks; WriteBlocks stages them.
	ReadBlocks(p []byte, at Pblk) error
	WriteBlocks(p []byte, at Pblk) error

	// Places calls f for each piece of the store that holds some of the n
	// blocks from at on: the n bytes at off hold the blocks from the skip-th on.
	// A filesystem that keeps copies reports each of them.
	Places(at Pblk, n uint64, f func(skip uint64, off, n int64) error) error

	// CostContext, CostDir, CostLink and CostUninline return an upper bound
	// of the bytes that the edit of the same name will allocate, without
	// making it, or the reason why it is impossible.
	CostContext(ino Ino, size int) (int64, error)
	CostDir(dir Ino, nameLens []int, encrypted bool) (int64, error)
	CostLink(ino Ino, size int, encrypted bool) (int64, error)
	CostUninline(ino Ino) (int64, error)

	// SetContext stores the context and marks the inode encrypted; nil
	// removes both, without a trace in slack.
	SetContext(ino Ino, context []byte) error

	// SetDir replaces all entries but "." and ".." and lays the directory out
	// again, with an index where it had or wants one; encrypted tells which
	// form the directory is going to have. An inline directory may become a
	// block first. Nothing of the old names remains in the directory's blocks.
	//
	// The entries are those of ReadDir, in its order, under other names: a
	// filesystem that keeps names in the inodes they name changes them there too.
	SetDir(dir Ino, entries []Dirent, encrypted bool) error

	// SetLink replaces what a symlink stores; encrypted tells the form.
	SetLink(ino Ino, stored []byte, encrypted bool) error

	// Uninline moves the contents of an inline file to its first block.
	Uninline(ino Ino) error

	// Mkdir, Create, SetFile and Remove edit unencrypted directories: they
	// are what .fscrypt is kept with. Create and SetFile replace contents
	// whole. Remove takes a file or an empty directory.
	Mkdir(dir Ino, name []byte, n NewFile) (Ino, error)
	Create(dir Ino, name []byte, data []byte, n NewFile) (Ino, error)
	SetFile(ino Ino, data []byte) error
	Remove(dir Ino, name []byte) error

	// SetFeatures sets and clears features by name: "encrypt",
	// "stable_inodes", ...
	SetFeatures(set, clear []string) error

	// SetUnfinished marks the image so that every kernel and checker refuses
	// it, and keeps id in it; the zero id removes both. While the image is
	// marked it is called before each Flush, with ids that tell how far a
	// conversion has come: where nothing else was edited, Flush then stages
	// just those bytes and what has a checksum of them.
	SetUnfinished(id [16]byte) error

	// Unfinished returns the id, zero if the image is not marked; MarkOffset
	// is where in the store those 16 bytes are.
	Unfinished() [16]byte
	MarkOffset() int64

	// Residue calls f for each range of bytes that the filesystem does not
	// use and that may hold remains of files: free blocks, free inode slots,
	// the journal's log. Zeroing them changes nothing for the filesystem.
	Residue(f func(off, n int64) error) error

	// Flush stages whatever is cached.
	Flush() error
}

// InlineEncrypter is what a filesystem has beside FS that can keep encrypted
// contents inside of inodes.
type InlineEncrypter interface {
	// FitsInline reports whether stored bytes, whole cipher blocks, have room
	// in a regular file that is inline, beside a context of contextSize bytes.
	// It does not ask for the feature.
	FitsInline(ino Ino, stored, contextSize int) (bool, error)

	// SetInline replaces what an inline file stores, zeros behind it. The size
	// of the file stays. Nil makes room for a context, after which the new
	// contents are set; where contexts lie elsewhere it may do nothing.
	SetInline(ino Ino, stored []byte) error
}

// Versioned is what a filesystem has beside FS that keeps an older state of
// itself, which a kernel falls back to if the newest is damaged.
type Versioned interface {
	// Settle makes the next Flush overwrite the older state with the newest, so
	// that nothing refers to what Residue reports.
	Settle() error
}

// Slack is what a filesystem has beside FS in which directories and symlinks have
// blocks of their own.
type Slack interface {
	// WipeSlack zeroes what no entry covers in the blocks of a directory, or
	// follows the target in the block of a symlink, where removed names and
	// what the block held before may remain. Other inodes it leaves alone.
	WipeSlack(Ino) error
}

// Gaps is what a filesystem has beside FS in which inodes of all types share blocks.
type Gaps interface {
	// WipeGaps zeroes what no item covers in those blocks, in all that were not
	// written since Generation was that; a damaged one is left alone. It calls done
	// after each, which may commit what is staged.
	WipeGaps(since uint64, done func() error) error

	// Generation numbers what the next Flush is going to write.
	Generation() uint64
}

// Moving is what a filesystem has beside FS that never overwrites an inode: each
// that is edited is written anew elsewhere, and what that frees can be used only
// after the next Flush.
type Moving interface {
	// CheckMoves reports with ErrNoSpace that there is no room for a conversion
	// that edits so many inodes and allocates so many bytes.
	CheckMoves(inodes uint64, added int64) error
}

// Caching is what a filesystem has beside FS that keeps edits in memory until
// Flush.
type Caching interface {
	// Pending is about how many bytes Flush is going to stage.
	Pending() int64
}

// Early is what a filesystem has beside Moving and Caching that can let go of
// edits before Flush.
type Early interface {
	// FlushEarly begins to write blocks of files to their new places, and with
	// them all inodes. What is edited again after that moves again.
	FlushEarly(inodes bool) error
}
