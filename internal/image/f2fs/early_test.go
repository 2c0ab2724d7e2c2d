package f2fs

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
)

// freshMem is a store in memory whose pages are written at once, and whose memory
// is spoilt then: nobody may still look at it.
type freshMem struct {
	*storetest.Mem
	given [][]byte
}

func (m *freshMem) WriteFresh(p []byte, off int64) error {
	m.given = append(m.given, p)
	_, err := m.WriteAt(p, off)
	return err
}

func (m *freshMem) WriteEarly() error {
	for _, p := range m.given {
		clear(p)
	}
	m.given = nil
	return nil
}

func (m *freshMem) Spare() []byte { return nil }

// What is let go of before Flush is read as edited, can be edited again, and is
// part of the checkpoint; without one the old one stands.
func TestFlushEarly(t *testing.T) {
	for _, name := range some {
		t.Run(name, func(t *testing.T) {
			mem := &freshMem{Mem: storetest.NewMem(imagetest.GoldenBytes(t, name))}
			fs, err := Open(mem, image.Options{Write: true})
			if err != nil {
				t.Fatal(err)
			}
			before := all(t, fs)
			dir, err := fs.Mkdir(fs.Root(), []byte("new"), image.NewFile{Perm: 0o700})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 40 {
				if _, err := fs.Create(dir, fmt.Appendf(nil, "file %d", i), bytes.Repeat([]byte{byte(i)}, 200*i), image.NewFile{Perm: 0o600}); err != nil {
					t.Fatal(err)
				}
				if i%3 > 0 {
					if err := fs.FlushEarly(i%3 == 1); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := fs.FlushEarly(true); err != nil {
				t.Fatal(err)
			}
			if n := len(fs.dirty) + len(fs.kept); n != 0 {
				t.Errorf("%d blocks are kept", n)
			}
			edited := all(t, fs)
			if len(edited) != len(before)+41 {
				t.Errorf("%d inodes, want %d and 41", len(edited), len(before))
			}
			if d := cmp.Diff(before, all(t, open(t, mem.Mem))); d != "" {
				t.Errorf("before the checkpoint the tree differs (-want +got):\n%s", d)
			}
			if err := fs.Flush(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(edited, all(t, open(t, mem.Mem))); d != "" {
				t.Errorf("the tree differs (-edited +flushed):\n%s", d)
			}
			fsck(t, mem.Bytes())
		})
	}
}

// A segment that was filled and freed again since the last checkpoint may be taken
// by a log of the other kind: its summary says so.
func TestSegmentChangesKind(t *testing.T) {
	fs := open(t, storetest.NewMem(imagetest.GoldenBytes(t, "f2fs-full")))
	if !fs.openNext(logColdNode) {
		t.Fatal("no free section")
	}
	first := fs.alloc.open[logColdNode].seg
	section := first / fs.geo.perSec
	for range segBlocks {
		p, err := fs.allocBlock(logColdNode, 9, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		fs.clearBlock(p)
	}
	fs.alloc.open[logColdNode] = openSection{}
	fs.alloc.from = section
	if !fs.openNext(logColdData) || fs.alloc.open[logColdData].seg != first {
		t.Fatal("it is not taken again")
	}
	if _, err := fs.allocBlock(logColdData, 9, 0, 0); err != nil {
		t.Fatal(err)
	}
	if kind, typ := fs.segment(first).kind(), fs.sums[first][offSumFooter]; kind != logColdData || typ != sumTypeData {
		t.Errorf("kind %d, summary of type %d", kind, typ)
	}
}

// The count of free sections is kept while sections are opened.
func TestFreeSections(t *testing.T) {
	fs := open(t, storetest.NewMem(imagetest.GoldenBytes(t, "f2fs-full")))
	for log := range logs {
		counted := fs.freeSections()
		fs.alloc.sections = -1
		if again := fs.freeSections(); again != counted {
			t.Errorf("%d are free, counted anew %d", counted, again)
		}
		if !fs.openNext(log) {
			break
		}
	}
}
