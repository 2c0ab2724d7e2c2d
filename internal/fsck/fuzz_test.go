package fsck_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"fsenc/internal/crypt"
	"fsenc/internal/extract"
	"fsenc/internal/fsck"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/image/probe"
	"fsenc/internal/store/storetest"
	"fsenc/internal/tree"
	"fsenc/test/goldenkeys"
)

// FuzzImage damages an image and reads all of it: nothing may panic or run on.
// One image has checksums, the other none, so that damage gets deeper. The
// input is a list of edits: le32 offset, one byte of length, that many bytes.
func FuzzImage(f *testing.F) {
	const name, bare = "ext4-check", "ext4-indirect"
	base, m := imagetest.GoldenBytes(f, name), imagetest.Manifest(f, name)
	bareBase, bareKeys := imagetest.GoldenBytes(f, bare), goldenkeys.Ring(f, imagetest.Manifest(f, bare))
	f.Add(true, []byte{0, 4, 0, 0, 1, 0xff})
	for _, b := range m.Broken {
		var edits []byte
		for _, p := range b.Patch {
			edits = binary.LittleEndian.AppendUint32(edits, uint32(p.Offset))
			edits = append(append(edits, byte(len(p.New))), p.New...)
		}
		f.Add(false, edits)
	}
	keys := goldenkeys.Ring(f, m)
	f.Fuzz(func(t *testing.T, second bool, edits []byte) {
		img, keys := bytes.Clone(base), keys
		if second {
			img, keys = bytes.Clone(bareBase), bareKeys
		}
		for len(edits) > 5 {
			off, n := binary.LittleEndian.Uint32(edits)%uint32(len(img)), int(edits[4])
			edits = edits[5:]
			n = min(n, len(edits))
			copy(img[off:], edits[:n])
			edits = edits[n:]
		}
		readAll(t, img, keys)
	})
}

func readAll(t *testing.T, img []byte, keys *crypt.Keyring) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	fs, err := probe.Open(storetest.NewMem(img), probe.Options{AllowDirty: true, AllowUnfinished: true})
	if err != nil {
		return
	}
	if _, err := fsck.Check(ctx, fs, fsck.Options{Keys: keys}); ctx.Err() != nil {
		t.Fatalf("check: %v", err)
	}
	tr := tree.New(fs, keys)
	defer tr.Close()
	// An image may claim a file of exabytes, all hole.
	limit := &limited{left: 64 << 20, stop: cancel}
	if _, err := extract.ToTar(ctx, tr, []tree.Node{tr.Root()}, limit, extract.Options{}); ctx.Err() != nil && limit.left > 0 {
		t.Fatalf("extract: %v", err)
	}
}

// limited takes so many bytes and then stops the extraction.
type limited struct {
	left int
	stop func()
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left <= 0 {
		l.stop()
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}
