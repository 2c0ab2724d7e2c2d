package ext4

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/store"
	"fsenc/test/mkimage"
)

// tryOpen opens the image at path and returns the error of that.
func tryOpen(t *testing.T, path string, o Options) error {
	t.Helper()
	f, err := store.OpenFile(path, o.Write)
	must(t, err)
	defer f.Close()
	_, err = Open(f, o)
	return err
}

// What keeps an image from being written, and whether it can still be read.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		debugfs string
		write   error  // for writing
		read    error  // for reading
		says    string // in the error for writing
	}{
		{"incompat bit 29", "feature FEATURE_I29", image.ErrUnsupported, image.ErrUnsupported, "FEATURE_I29"},
		{"incompat bit 11", "feature FEATURE_I11", image.ErrUnsupported, image.ErrUnsupported, "FEATURE_I11"},
		{"dirdata", "feature dirdata", image.ErrUnsupported, image.ErrUnsupported, "dirdata"},
		{"journal_dev", "feature journal_dev", image.ErrUnsupported, image.ErrUnsupported, "journal_dev"},
		{"ro_compat bit 20", "feature FEATURE_R20", image.ErrUnsupported, nil, "FEATURE_R20"},
		{"shared_blocks", "feature shared_blocks", image.ErrUnsupported, nil, "shared_blocks"},
		{"read-only", "feature read-only", image.ErrUnsupported, nil, "read-only"},
		{"compat bit 20", "feature FEATURE_C20", image.ErrUnsupported, nil, "FEATURE_C20"},
		{"snapshot_bitmap", "feature snapshot_bitmap", image.ErrUnsupported, nil, "snapshot_bitmap"},
		{"needs_recovery", "feature needs_recovery", image.ErrNeedsRecovery, image.ErrNeedsRecovery, "replayed"},
		{"orphan_present", "feature orphan_present", image.ErrNeedsRecovery, image.ErrNeedsRecovery, "orphan"},
		{"last orphan", "ssv last_orphan 11", image.ErrNeedsRecovery, image.ErrNeedsRecovery, "orphan"},
		{"errors", "ssv state 2", image.ErrNeedsRecovery, nil, "errors"},
		{"not valid", "ssv state 0", image.ErrNeedsRecovery, nil, "unmounted"},
		{"orphans in recovery", "ssv state 5", image.ErrNeedsRecovery, nil, "unmounted"},
		{"encryption level", "ssv encryption_level 1", image.ErrUnsupported, image.ErrUnsupported, "encryption level 1"},
		{"revision 0", "ssv rev_level 0", image.ErrUnsupported, image.ErrUnsupported, "revision 0"},
		{"Hurd", "ssv creator_os 1", image.ErrUnsupported, image.ErrUnsupported, "Hurd"},
		{"external journal", "ssv journal_inum 0", image.ErrUnsupported, image.ErrUnsupported, "external journal"},
		{"too many blocks", "ssv blocks_count 16385", image.ErrCorrupt, image.ErrCorrupt, "16385 blocks"},
		{"inode size", "ssv inode_size 192", image.ErrCorrupt, image.ErrCorrupt, "inode size 192"},
		{"groups", "ssv blocks_per_group 8", image.ErrCorrupt, image.ErrCorrupt, "group"},
		{"first data block", "ssv first_data_block 0", image.ErrCorrupt, image.ErrCorrupt, "first data block 0"},
		{"inodes", "ssv inodes_count 12", image.ErrCorrupt, image.ErrCorrupt, "12 inodes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := mkimage.Make(t, mkimage.Row{Name: "refuse", Size: 16 << 20, Args: []string{"-b", "1024", "-O", "encrypt"}})
			e2tool(t, path, "debugfs", "-w", "-R", tt.debugfs)
			err := tryOpen(t, path, Options{Write: true})
			if !errors.Is(err, tt.write) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("for writing: %v, want %v with %q", err, tt.write, tt.says)
			}
			if err := tryOpen(t, path, Options{}); !errors.Is(err, tt.read) {
				t.Errorf("for reading: %v, want %v", err, tt.read)
			}
			err = tryOpen(t, path, Options{AllowDirty: true})
			if dirty := errors.Is(tt.read, image.ErrNeedsRecovery); dirty && err != nil || !dirty && !errors.Is(err, tt.read) {
				t.Errorf("for reading what is dirty: %v", err)
			}
		})
	}
}

// A journal with something in it: the image is copied while it is mounted.
func TestRefuseLive(t *testing.T) {
	for _, tt := range []struct {
		row  string
		want error
	}{{"def4k", image.ErrNeedsRecovery}, {"nojnl", image.ErrNeedsRecovery}} {
		t.Run(tt.row, func(t *testing.T) {
			path := makeRow(t, tt.row)
			copied := filepath.Join(t.TempDir(), "live.img")
			mkimage.Mounted(t, path, true, func(dir string) {
				must(t, os.WriteFile(filepath.Join(dir, "new"), []byte("new"), 0o644))
				d, err := os.Open(dir)
				must(t, err)
				defer d.Close()
				must(t, d.Sync())
				b, err := os.ReadFile(path)
				must(t, err)
				must(t, os.WriteFile(copied, b, 0o644))
			})
			if err := tryOpen(t, copied, Options{Write: true}); !errors.Is(err, tt.want) {
				t.Errorf("a live image: %v, want %v", err, tt.want)
			}
			if err := tryOpen(t, path, Options{Write: true}); err != nil {
				t.Errorf("after the unmount: %v", err)
			}
		})
	}
}

// A journal that has kept an error, and one that is not empty though the
// superblock does not say so.
func TestRefuseJournal(t *testing.T) {
	for off, says := range map[int]string{offJErrno: "errors", offJStart: "not empty"} {
		path := makeRow(t, "b1k")
		edit(t, path, func(fs *FS) {
			in, err := fs.inode(inoJournal)
			must(t, err)
			p, _, err := fs.blockAt(in, 0)
			must(t, err)
			block := make([]byte, fs.bs)
			must(t, fs.readBlock(p, block))
			binary.BigEndian.PutUint32(block[off:], 7)
			must(t, fs.writeBlock(p, block))
		})
		err := tryOpen(t, path, Options{Write: true})
		if !errors.Is(err, image.ErrNeedsRecovery) || !strings.Contains(err.Error(), says) {
			t.Errorf("byte %#x of the journal: %v", off, err)
		}
	}
}

// The multiple mount protection block: clean, fsck, in use, damaged.
func TestRefuseMMP(t *testing.T) {
	path := makeRow(t, "mmp")
	for _, tt := range []struct {
		magic, seq uint32
		want       error
	}{
		{mmpMagic, mmpSeqClean, nil},
		{mmpMagic, mmpSeqFsck, image.ErrInUse},
		{mmpMagic, 0x1234, image.ErrInUse},
		{0, mmpSeqClean, image.ErrCorrupt},
	} {
		setMMP(t, path, tt.magic, tt.seq)
		for _, write := range []bool{false, true} {
			if err := tryOpen(t, path, Options{Write: write}); !errors.Is(err, tt.want) {
				t.Errorf("magic %#x, sequence %#x, write %v: %v, want %v", tt.magic, tt.seq, write, err, tt.want)
			}
		}
	}
}

func setMMP(t *testing.T, path string, magic, seq uint32) {
	t.Helper()
	f, err := store.OpenFile(path, true)
	must(t, err)
	defer f.Close()
	fs, err := Open(f, Options{AllowDirty: true})
	must(t, err)
	p := image.Pblk(fs.sb.mmpBlock())
	block := make([]byte, fs.bs)
	must(t, fs.readBlock(p, block))
	le.PutUint32(block[offMMPMagic:], magic)
	le.PutUint32(block[offMMPSeq:], seq)
	le.PutUint32(block[offMMPChecksum:], fs.mmpChecksum(block))
	must(t, fs.writeBlock(p, block))
}

// What is no ext4 at all.
func TestUnknown(t *testing.T) {
	for _, size := range []int64{0, 1, 1024, 2047, 2048, 1 << 20} {
		path := filepath.Join(t.TempDir(), "zero.img")
		must(t, os.WriteFile(path, make([]byte, size), 0o644))
		if err := tryOpen(t, path, Options{}); !errors.Is(err, image.ErrUnknown) {
			t.Errorf("%d zeros: %v", size, err)
		}
	}
}
