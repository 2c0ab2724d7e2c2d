package store_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"fsenc/internal/store"
	"fsenc/internal/store/storetest"
)

func TestSection(t *testing.T) {
	m := storetest.NewMem([]byte("0123456789"))
	s := store.Section(m, 2, 5)
	p := make([]byte, 4)
	if n, err := s.ReadAt(p, 1); n != 4 || err != nil || string(p) != "3456" {
		t.Errorf("%d, %v, %q", n, err, p)
	}
	if n, err := s.ReadAt(p, 3); n != 2 || err != io.EOF {
		t.Errorf("over the end: %d, %v", n, err)
	}
	if n, err := s.ReadAt(p, 5); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if _, err := s.ReadAt(p, -1); !errors.Is(err, store.ErrRange) {
		t.Errorf("before the start: %v", err)
	}
	if _, err := s.WriteAt([]byte("abc"), 3); !errors.Is(err, store.ErrRange) {
		t.Errorf("write over the end: %v", err)
	}
	if err := s.Zero(4, 2); !errors.Is(err, store.ErrRange) {
		t.Errorf("zero over the end: %v", err)
	}
	if _, err := s.WriteAt([]byte("ab"), 3); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Zero(0, 1), s.Sync()); err != nil || s.Size() != 5 {
		t.Errorf("size %d, %v", s.Size(), err)
	}
	if want := []byte("01\x0034ab789"); !bytes.Equal(m.Bytes(), want) {
		t.Errorf("%q, want %q", m.Bytes(), want)
	}
}
