package golden

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"testing"

	"fsenc/internal/image/imagetest"
	"fsenc/test/btrfsjudge"
)

var le = binary.LittleEndian

const (
	header  = 101 // bytes of a block before its first key
	itemLen = 25
	nodeLen = 33
)

// wound is an image under the knife.
type wound struct {
	*testing.T
	b      []byte
	blocks []btrfsjudge.Block
}

// block is a block of a tree, the first of a level.
func (w *wound) block(tree uint64, level int) btrfsjudge.Block {
	w.Helper()
	i := slices.IndexFunc(w.blocks, func(b btrfsjudge.Block) bool { return b.Tree == tree && b.Level == level })
	if i < 0 {
		w.Fatalf("tree %d has no block of level %d", tree, level)
	}
	return w.blocks[i]
}

func (w *wound) edit(tree uint64, level int, f func(b []byte)) { w.block(tree, level).Edit(w.b, f) }

// item edits the first item of a type in the first leaf of a tree that has one.
func (w *wound) item(tree uint64, kind byte, f func(data []byte)) {
	w.Helper()
	for _, b := range w.blocks {
		if b.Tree != tree || b.Level > 0 {
			continue
		}
		for i := range int(le.Uint32(b.Copies[0][96:])) {
			if b.Copies[0][header+itemLen*i+8] == kind {
				b.Edit(w.b, func(p []byte) {
					e := p[header+itemLen*i:]
					f(p[header+le.Uint32(e[17:]):][:le.Uint32(e[21:])])
				})
				return
			}
		}
	}
	w.Fatalf("tree %d has no item of type %d", tree, kind)
}

const topTree = 5

// wounds are what no command may fall for. Checksums are right, but for the
// first.
var wounds = []struct {
	name string
	cut  func(w *wound)
}{
	{"checksum", func(w *wound) {
		for _, c := range w.block(topTree, 1).Copies {
			c[200] ^= 1
		}
	}},
	{"checksum of a leaf", func(w *wound) {
		for _, c := range w.block(topTree, 0).Copies {
			c[200] ^= 1
		}
	}},
	{"a node that leads to itself", func(w *wound) {
		b := w.block(topTree, 1)
		b.Edit(w.b, func(p []byte) { le.PutUint64(p[header+17:], b.At) })
	}},
	{"a node that leads to itself and says that it is a leaf's parent", func(w *wound) {
		b := w.block(topTree, 1)
		b.Edit(w.b, func(p []byte) {
			for i := range int(le.Uint32(p[96:])) {
				copy(p[header+nodeLen*i+17:], le.AppendUint64(le.AppendUint64(nil, b.At), le.Uint64(p[80:])))
			}
		})
	}},
	{"a leaf twice", func(w *wound) {
		w.edit(topTree, 1, func(p []byte) { copy(p[header+nodeLen+17:][:16], p[header+17:][:16]) })
	}},
	{"keys of a node out of order", func(w *wound) {
		w.edit(topTree, 1, func(p []byte) { le.PutUint64(p[header+nodeLen:], 1) })
	}},
	{"keys of a leaf out of order", func(w *wound) {
		w.edit(topTree, 0, func(p []byte) {
			first, second := p[header:][:17], p[header+itemLen:][:17]
			for i := range first {
				first[i], second[i] = second[i], first[i]
			}
		})
	}},
	{"an item past the leaf", func(w *wound) {
		w.edit(topTree, 0, func(p []byte) { le.PutUint32(p[header+17:], 1<<31) })
	}},
	{"an item over its neighbour", func(w *wound) {
		w.edit(topTree, 0, func(p []byte) { le.PutUint32(p[header+itemLen+21:], 4000) })
	}},
	{"very many items", func(w *wound) { w.edit(topTree, 0, func(p []byte) { le.PutUint32(p[96:], 1<<31) }) }},
	{"very many children", func(w *wound) { w.edit(topTree, 1, func(p []byte) { le.PutUint32(p[96:], 1<<31) }) }},
	{"a leaf that says it is a node", func(w *wound) { w.edit(topTree, 0, func(p []byte) { p[100] = 1 }) }},
	{"a node that says it is a leaf", func(w *wound) { w.edit(topTree, 1, func(p []byte) { p[100] = 0 }) }},
	{"a root item with another level", func(w *wound) {
		w.item(1, 132, func(d []byte) { d[238] = 7 }) // of the extent tree, which comes first
		w.rootItem(topTree, func(d []byte) { d[238] = 7 })
	}},
	{"a root item that leads nowhere", func(w *wound) { w.rootItem(topTree, func(d []byte) { le.PutUint64(d[176:], 1<<60) }) }},
	{"chunks that overlap", func(w *wound) { w.item(3, 228, func(d []byte) { le.PutUint64(d, 1<<40) }) }},
	{"a chunk past the device", func(w *wound) { w.item(3, 228, func(d []byte) { le.PutUint64(d[56:], 1<<50) }) }},
	{"a chunk without stripes", func(w *wound) { w.item(3, 228, func(d []byte) { le.PutUint16(d[44:], 0) }) }},
	{"the level in the superblock", func(w *wound) { btrfsjudge.EditSupers(w.b, func(sb []byte) { sb[198] = 7 }) }},
	{"the chunk tree in the superblock", func(w *wound) {
		btrfsjudge.EditSupers(w.b, func(sb []byte) { le.PutUint64(sb[88:], le.Uint64(sb[80:])) })
	}},
	{"an array that does not end", func(w *wound) { btrfsjudge.EditSupers(w.b, func(sb []byte) { le.PutUint32(sb[160:], 2000) }) }},
	{"an extent past all chunks", func(w *wound) {
		w.extent(func(d []byte) { le.PutUint64(d[21:], 1<<60) })
	}},
	{"an extent that is shorter than what the file has of it", func(w *wound) {
		w.extent(func(d []byte) { le.PutUint64(d[45:], 1<<40) })
	}},
	{"a name that is longer than its item", func(w *wound) { w.item(topTree, 84, func(d []byte) { le.PutUint16(d[27:], 1<<15) }) }},
}

// itemOf edits the last item of a type that an object has in one leaf.
func (w *wound) itemOf(tree, obj uint64, kind byte, f func(data []byte)) {
	w.Helper()
	w.slot(tree, obj, kind, func(p, e []byte) { f(p[header+le.Uint32(e[17:]):][:le.Uint32(e[21:])]) })
}

// itemKey edits the key of that item.
func (w *wound) itemKey(tree, obj uint64, kind byte, f func(key []byte)) {
	w.Helper()
	w.slot(tree, obj, kind, func(_, e []byte) { f(e[:17]) })
}

func (w *wound) slot(tree, obj uint64, kind byte, f func(p, e []byte)) {
	w.Helper()
	for _, b := range w.blocks {
		if b.Tree != tree || b.Level > 0 {
			continue
		}
		for i := int(le.Uint32(b.Copies[0][96:])) - 1; i >= 0; i-- {
			if e := b.Copies[0][header+itemLen*i:]; le.Uint64(e) == obj && e[8] == kind {
				b.Edit(w.b, func(p []byte) { f(p, p[header+itemLen*i:]) })
				return
			}
		}
	}
	w.Fatalf("tree %d, object %d: no item of type %d", tree, obj, kind)
}

// rootItem edits the item of a tree in the tree of roots.
func (w *wound) rootItem(tree uint64, f func(d []byte)) {
	w.Helper()
	b := w.block(1, 0)
	for i := range int(le.Uint32(b.Copies[0][96:])) {
		if e := b.Copies[0][header+itemLen*i:]; le.Uint64(e) == tree && e[8] == 132 {
			b.Edit(w.b, func(p []byte) { f(p[header+le.Uint32(p[header+itemLen*i+17:]):][:439]) })
			return
		}
	}
	w.Fatalf("tree %d has no root item", tree)
}

// extent edits all extents of the top-level subvolume that are not inline.
func (w *wound) extent(f func(d []byte)) {
	for _, b := range w.blocks {
		if b.Tree != topTree || b.Level > 0 {
			continue
		}
		b.Edit(w.b, func(p []byte) {
			for i := range int(le.Uint32(p[96:])) {
				e := p[header+itemLen*i:]
				if d := p[header+le.Uint32(e[17:]):][:le.Uint32(e[21:])]; e[8] == 108 && d[20] == 1 {
					f(d)
				}
			}
		})
	}
}

// Every command that meets the damage ends with a code that says so, and tells
// tree and key or block; none panics, none writes.
func TestBtrfsWounds(t *testing.T) {
	const name = "oracle/btrfs-v6-sha256-node4k"
	sound := imagetest.GoldenBytes(t, name)
	m := imagetest.Manifest(t, name)
	keys := withKeys(t, m)
	top := "/" + m.Tops[0].Path
	for _, c := range wounds {
		t.Run(c.name, func(t *testing.T) {
			w := &wound{T: t, b: bytes.Clone(sound)}
			var err error
			if w.blocks, err = btrfsjudge.Blocks(w.b); err != nil {
				t.Fatal(err)
			}
			c.cut(w)
			img := t.TempDir() + "/img"
			if err := os.WriteFile(img, w.b, 0o600); err != nil {
				t.Fatal(err)
			}
			worst := 0
			for _, args := range [][]string{
				append([]string{"ls", "-R", img, "/"}, keys...),
				append([]string{"extract", img, "/", "-C", t.TempDir()}, keys...),
				append([]string{"decrypt-dir", img, top, "--yes"}, keys...),
				append([]string{"rekey", img, top, "--yes"}, keys...),
				append([]string{"fsck", "--content", img}, keys...),
				append([]string{"fsck", "--repair", "--yes", img}, keys...),
				{"info", img},
			} {
				worst = max(worst, w.run(args))
			}
			if worst == 0 {
				t.Error("no command saw the damage")
			}
			if after, err := os.ReadFile(img); err != nil || !bytes.Equal(after, w.b) {
				t.Error("the image was changed")
			}
		})
	}
}

// run runs a command, which must end in good order. What it returns is above 0
// if the damage was seen.
func (w *wound) run(args []string) int {
	w.Helper()
	cmd := exec.Command(program, append([]string{"--non-interactive"}, args...)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		w.Fatal(err)
	}
	code := cmd.ProcessState.ExitCode()
	good := []int{10, 0}
	switch args[0] {
	case "fsck":
		good = []int{4, 8}
	case "ls": // looks at no extents
		good = []int{10, 3, 0}
	case "extract":
		good = []int{10, 3}
	case "decrypt-dir", "rekey":
		good = []int{10}
	}
	if !slices.Contains(good, code) || bytes.Contains(out, []byte("goroutine")) {
		w.Errorf("%s: exit %d: %.600s", args[0], code, out[max(0, len(out)-600):])
	}
	return code
}
