package ext4

import (
	"slices"
	"testing"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

// findings opens an image, lets edit spoil it, and returns what the checks
// report, as IDs.
func findings(t *testing.T, name string, edit func(*FS)) []string {
	t.Helper()
	fs, err := Open(storetest.NewMem(imagetest.GoldenBytes(t, name)), Options{AllowDirty: true})
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(fs)
	}
	var ids []string
	report := func(f image.Finding) { ids = append(ids, f.ID) }
	fs.CheckVolume(report)
	err = fs.Inodes(func(a image.Attr, err error) error {
		fs.CheckInode(a.Ino, report)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return ids
}

func TestCheckGolden(t *testing.T) {
	for _, name := range imagetest.Names(t, "ext4-") {
		var want []string
		if name == "ext4-journal" {
			want = []string{"journal-dirty"}
		}
		if got := findings(t, name, nil); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Inodes of ext4-check that are spoilt here.
const (
	checkFile     image.Ino = 14
	checkFastLink image.Ino = 21
	checkSlowLink image.Ino = 22
)

// spoil changes an inode and stores it.
func spoil(t *testing.T, ino image.Ino, change func(*FS, *inode)) func(*FS) {
	return func(fs *FS) {
		in, err := fs.inode(ino)
		if err != nil {
			t.Fatal(err)
		}
		change(fs, in)
		if err := fs.putInode(in); err != nil {
			t.Fatal(err)
		}
	}
}

// body replaces the attributes in the inode.
func body(t *testing.T, list ...xattr) func(*FS, *inode) {
	return func(fs *FS, in *inode) {
		if !fs.setIbodyXattrs(in, list) {
			t.Fatal("no room for the attributes")
		}
	}
}

func TestCheckSpoilt(t *testing.T) {
	context := make([]byte, 40)
	word := func(change func(*super)) func(*FS) { return func(fs *FS) { change(fs.sb) } }
	for want, edit := range map[string]func(*FS){
		"context-index": spoil(t, checkFile, body(t, xattr{index: 11, name: "c", value: context})),
		"context-name":  spoil(t, checkFile, body(t, xattr{index: 9, name: "d", value: context})),
		"context-twice": spoil(t, checkFile, func(fs *FS, in *inode) {
			list, err := fs.ibodyXattrs(in)
			if err != nil {
				t.Fatal(err)
			}
			at, err := fs.allocCluster(0)
			if err != nil {
				t.Fatal(err)
			}
			b := &xattrBlock{at: at, raw: make([]byte, fs.bs)}
			buildXattrs(b.raw, xattrBlockHeader, cloneXattrs(list))
			le.PutUint32(b.raw[offXhMagic:], xattrMagic)
			le.PutUint32(b.raw[offXhRefcount:], 1)
			le.PutUint32(b.raw[offXhBlocks:], 1)
			if err := fs.writeXattrBlock(b); err != nil {
				t.Fatal(err)
			}
			in.raw.setFileACL(at)
		}),
		"symlink-form": spoil(t, checkFastLink, func(_ *FS, in *inode) { in.raw.setFlags(in.raw.flags() | flExtents) }),
		"symlink-slack": spoil(t, checkFastLink, func(_ *FS, in *inode) {
			in.raw.iblock()[iblockSize-1] = 1
		}),
		"errors-recorded": word(func(sb *super) { sb.set16(offState, stateValid|stateErrors) }),
		"not-clean":       word(func(sb *super) { sb.set16(offState, 0) }),
		"orphans":         word(func(sb *super) { sb.set32(offLastOrphan, 12) }),
		"journal-dirty":   word(func(sb *super) { sb.set32(offIncompat, sb.u32(offIncompat)|incompatRecover) }),
		"free-count":      word(func(sb *super) { sb.setFreeBlocks(sb.freeBlocks() + 1) }),
		"unfinished":      word(func(sb *super) { sb.set32(offIncompat, sb.u32(offIncompat)|incompatUnfinished) }),
		"shared-blocks":   word(func(sb *super) { sb.set32(offROCompat, sb.u32(offROCompat)|roSharedBlocks) }),
	} {
		if got := findings(t, "ext4-check", edit); !slices.Equal(got, []string{want}) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	slow := spoil(t, checkSlowLink, func(fs *FS, in *inode) {
		at, err := fs.linkBlock(in)
		if err != nil {
			t.Fatal(err)
		}
		block := make([]byte, fs.bs)
		if err := fs.readBlock(at, block); err != nil {
			t.Fatal(err)
		}
		block[in.raw.size()+1] = 1
		if err := fs.writeBlock(at, block); err != nil {
			t.Fatal(err)
		}
	})
	if got := findings(t, "ext4-check", slow); !slices.Equal(got, []string{"symlink-slack"}) {
		t.Errorf("slow link: %q", got)
	}
}
