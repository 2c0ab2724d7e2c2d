package fsck

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

func TestInOrder(t *testing.T) {
	for _, workers := range []int{1, 2, 9} {
		var got []uint64
		work := func(_ int, i uint64) uint64 {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
			return i * i
		}
		if err := inOrder(workers, upTo(300), work, func(v uint64) error { got = append(got, v); return nil }); err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if v != uint64(i*i) {
				t.Fatalf("%d workers: %d at %d", workers, v, i)
			}
		}
		if len(got) != 300 {
			t.Errorf("%d results", len(got))
		}
		stop := errors.New("stop")
		calls := 0
		err := inOrder(workers, upTo(1<<40), work, func(v uint64) error {
			if calls++; v == 100 {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || calls != 11 {
			t.Errorf("%v after %d results", err, calls)
		}
	}
}

// The first inode in number has the nonce, whatever the order of adding.
func TestReusedNonces(t *testing.T) {
	var n nonces
	var all []nonceOf
	for i := range 2000 {
		var raw policy.Nonce
		for k := range raw {
			raw[k] = byte(rand.Uint32())
		}
		all = append(all, newNonceOf(raw, image.Ino(10+i)))
	}
	again := func(ino, of int) {
		x := all[of-10]
		x.ino = image.Ino(ino)
		all = append(all, x)
	}
	again(5000, 10)
	again(4000, 10)
	again(3000, 500)
	near := all[7]
	near.low ^= 1
	near.ino = 6000
	all = append(all, near)
	rand.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	n.add(all[:700])
	n.add(all[700:])
	want := []reuse{{3000, 500}, {4000, 10}, {5000, 10}}
	if got := n.reused(3); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestMarks(t *testing.T) {
	m := make(marks)
	inos := []image.Ino{1, 31, 32, 4095, 4096, 1 << 31}
	for i, ino := range inos {
		m.set(ino, mark{policy: uint32(i), used: true})
		if i%2 == 0 {
			m.met(ino)
		}
	}
	m.met(1 << 40) // an entry may lead anywhere
	for i, ino := range inos {
		if v := m.get(ino); v.policy != uint32(i) || m.isNamed(ino) != (i%2 == 0) {
			t.Errorf("inode %d: %+v, named %v", ino, v, m.isNamed(ino))
		}
	}
	n := 0
	for ino, v := range m.all() {
		if n++; !slices.Contains(inos, ino) || inos[v.policy] != ino {
			t.Errorf("inode %d: %+v", ino, v)
		}
	}
	if n != len(inos) || m.get(2).used || m.get(1<<40).used {
		t.Errorf("%d inodes", n)
	}
}
