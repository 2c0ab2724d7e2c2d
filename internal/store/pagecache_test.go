package store_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
)

// What the cache says is what the store has, whatever was read and written
// before, and however often pages were forgotten.
func TestPageCache(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	mem := storetest.NewMem(make([]byte, 40<<20+700))
	for i := 0; i < len(mem.Bytes()); i += 512 {
		mem.Bytes()[i] = byte(r.Uint32())
	}
	c := store.NewPageCache(mem)
	size := mem.Size()
	for range 20000 {
		n := 1 + r.IntN(5000)
		off := r.Int64N(size - int64(n))
		switch r.IntN(4) {
		case 0:
			p := bytes.Repeat([]byte{byte(r.Uint32())}, n)
			if err := c.Write(p, off); err != nil {
				t.Fatal(err)
			}
		case 1:
			got, err := c.Copy(off, n)
			if err != nil || !bytes.Equal(got, mem.Bytes()[off:][:n]) {
				t.Fatalf("copy of %d bytes at %d: %v", n, off, err)
			}
			clear(got) // it is the caller's
		default:
			got := make([]byte, n)
			if err := c.Read(got, off); err != nil || !bytes.Equal(got, mem.Bytes()[off:][:n]) {
				t.Fatalf("%d bytes at %d: %v", n, off, err)
			}
		}
	}
	for _, n := range []int{2, 20000} {
		if _, err := c.Copy(size-1, n); err == nil {
			t.Errorf("%d bytes from the last on", n)
		}
	}
}
