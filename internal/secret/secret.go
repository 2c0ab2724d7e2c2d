// Package secret owns the memory that key bytes lie in.
//
// The memory is mapped outside the Go heap, so that the collector neither
// moves nor copies it; it is locked against swapping as far as the process's
// limit allows, left out of core dumps, and empty in a forked child. Sizes are
// bytes. The calls are those of mmap(2), mlock(2), madvise(2) and prctl(2).
//
// What the package cannot help are copies that others make: a string, an
// append that grows, the round keys inside a cipher.
package secret

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

// ErrTooLong is returned when a reader holds more than the caller allows.
var ErrTooLong = errors.New("secret is too long")

// Buffer is a piece of secret memory. Hold it by pointer, and keep the pointer
// as long as what Bytes returned is in use. The nil Buffer is empty, and
// wiping it does nothing.
//
// A Buffer is not safe for concurrent use while it is wiped or truncated.
type Buffer struct {
	mem  []byte
	home *slab
}

// Alloc returns n zero bytes, n being at least 1. It fails only if the system
// gives no memory at all: memory that could not be locked is used as it is,
// and Locked tells.
func Alloc(n int) (*Buffer, error) {
	if n < 1 {
		return nil, fmt.Errorf("allocate %d bytes of secret memory: not a size", n)
	}
	mem, home, err := all.take(n)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes of secret memory: %w", n, err)
	}
	return &Buffer{mem, home}, nil
}

// Move copies src to secret memory and clears src, also when it fails.
func Move(src []byte) (*Buffer, error) {
	defer clear(src)
	b, err := Alloc(len(src))
	if err != nil {
		return nil, err
	}
	copy(b.mem, src)
	return b, nil
}

// Random returns n bytes from the system's generator.
func Random(n int) (*Buffer, error) {
	b, err := Alloc(n)
	if err != nil {
		return nil, err
	}
	if _, err := rand.Read(b.mem); err != nil {
		b.Wipe()
		return nil, err
	}
	return b, nil
}

// Bytes returns the memory itself, nil after Wipe. An append to it makes a
// copy in ordinary memory.
func (b *Buffer) Bytes() []byte {
	if b == nil {
		return nil
	}
	return b.mem
}

// Len is the number of bytes, 0 after Wipe.
func (b *Buffer) Len() int { return len(b.Bytes()) }

// Locked reports whether the memory is kept from being swapped out.
func (b *Buffer) Locked() bool { return b != nil && b.home != nil && b.home.locked }

// Truncate clears all but the first n bytes and gives them up. n must not be
// more than Len.
func (b *Buffer) Truncate(n int) {
	clear(b.mem[n:])
	b.mem = b.mem[:n]
}

// Wipe clears the memory and gives it back. Further calls do nothing.
func (b *Buffer) Wipe() {
	if b == nil || b.home == nil {
		return
	}
	all.give(b.mem, b.home)
	b.mem, b.home = nil, nil
}

// Format prints a word in place of the bytes, whatever the verb.
func (b *Buffer) Format(s fmt.State, _ rune) {
	// A State reports its write errors to whoever called fmt.
	_, _ = io.WriteString(s, "[secret]")
}
