package ext4

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
)

func TestHashXattr(t *testing.T) {
	value := make([]byte, 40)
	for i := range value {
		value[i] = byte(i)
	}
	if h := hashXattr("c", value); h != 0x06060665 {
		t.Errorf("hash of \"c\": %#x, want 0x06060665", h)
	}
}

func testXattrs() []xattr {
	list := []xattr{
		{index: xattrUser, name: "b", value: []byte("value"), size: 5},
		{index: xattrEncryption, name: "c", value: make([]byte, 40), size: 40},
		{index: xattrUser, name: "aa", ino: 77, size: 9000, hash: 0x1234},
		{index: xattrSystem, name: "data"},
		{index: xattrACLAccess, value: []byte{1, 0, 0, 0}, size: 4},
		{index: xattrUser, name: "empty"},
	}
	slices.SortFunc(list, xattrOrder)
	return list
}

func TestXattrRoundTrip(t *testing.T) {
	want := testXattrs()
	if want[0].name != "b" || want[len(want)-1].index != xattrEncryption {
		t.Fatalf("order: %v", want)
	}
	for _, first := range []int{0, xattrBlockHeader} {
		need := xattrListEnd
		for i := range want {
			need += want[i].entrySize() + want[i].valueRoom()
		}
		if !xattrsFit(want, need) || xattrsFit(want, need-1) {
			t.Errorf("xattrsFit is not exact at %d bytes", need)
		}
		area := bytes.Repeat([]byte{0xee}, first+need)
		buildXattrs(area, first, want)
		got, err := parseXattrs(area, first)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("first %d: %v, %v, want %v", first, got, err, want)
		}
	}
}

func TestParseDamagedXattrs(t *testing.T) {
	tests := []struct {
		what string
		edit func(area []byte)
	}{
		{"name past the end", func(a []byte) { a[offXeNameLen] = 255 }},
		{"value past the end", func(a []byte) { le.PutUint16(a[offXeValueOffs:], 126) }},
		{"value over the list", func(a []byte) { le.PutUint16(a[offXeValueOffs:], 20) }},
		{"value over the end of the list", func(a []byte) { le.PutUint16(a[offXeValueOffs:], 40) }},
		{"values over each other", func(a []byte) { copy(a[offXeValueOffs:offXeValueOffs+2], a[20+offXeValueOffs:]) }},
		{"huge value", func(a []byte) { le.PutUint32(a[offXeValueSize:], 0xffffffff) }},
		{"huge value in an inode", func(a []byte) { a[offXeValueInum] = 9; le.PutUint32(a[offXeValueSize:], 1<<24+1) }},
		{"NUL in name", func(a []byte) { a[offXeName] = 0 }},
		{"no end", func(a []byte) { copy(a[40:], bytes.Repeat([]byte{4, 1, 0, 0}, 22)) }},
	}
	for _, tt := range tests {
		area := make([]byte, 128)
		buildXattrs(area, 0, []xattr{
			{index: 1, name: "abc", value: []byte("12345678"), size: 8},
			{index: 1, name: "abd", value: []byte("12345678"), size: 8},
		})
		tt.edit(area)
		if list, err := parseXattrs(area, 0); err == nil {
			t.Errorf("%s: parsed as %v", tt.what, list)
		}
	}
}

// What parses and fits is built again and parses to the same.
func FuzzXattrs(f *testing.F) {
	area := make([]byte, 256)
	buildXattrs(area, 0, testXattrs())
	f.Add(bytes.Clone(area), 0)
	buildXattrs(area, xattrBlockHeader, testXattrs())
	f.Add(bytes.Clone(area), xattrBlockHeader)
	f.Fuzz(func(t *testing.T, area []byte, first int) {
		if first < 0 || first > len(area) || len(area) > 65536 {
			return
		}
		area = bytes.Clone(area)
		list, err := parseXattrs(area, first)
		if err != nil || !xattrsFit(list, len(area)-first) {
			return
		}
		list = cloneXattrs(list)
		buildXattrs(area, first, list)
		again, err := parseXattrs(area, first)
		if err != nil || len(again) != len(list) {
			t.Fatalf("%v, again %v: %v", list, again, err)
		}
		for i := range list {
			if !list[i].is(again[i].index, again[i].name) || !bytes.Equal(list[i].value, again[i].value) {
				t.Fatalf("%v, again %v", list[i], again[i])
			}
		}
	})
}

// Entries of a block are sorted and hashed, whatever their order was; h_hash
// is 0, for "not shared", if an entry has no hash.
func TestFillXattrBlock(t *testing.T) {
	fs := &FS{bs: 1024}
	list := testXattrs()
	slices.Reverse(list)
	b := &xattrBlock{raw: make([]byte, fs.bs), list: list}
	fs.fillXattrBlock(b)
	got, err := parseXattrs(b.raw, xattrBlockHeader)
	if err != nil || !slices.IsSortedFunc(got, xattrOrder) || len(got) != len(list) {
		t.Errorf("%v, %v", got, err)
	}
	if n := b.refcount(); n != 1 {
		t.Errorf("reference count %d", n)
	}
	for _, x := range got {
		if want := hashXattr(x.name, x.value); x.ino == 0 && x.hash != want {
			t.Errorf("hash of %q is %#x, want %#x", x.name, x.hash, want)
		}
	}
	if h := le.Uint32(b.raw[offXhHash:]); h == 0 || h != hashXattrs(got) {
		t.Errorf("hash of the block is %#x", h)
	}
	if h := hashXattrs([]xattr{{hash: 5}, {hash: 0}}); h != 0 {
		t.Errorf("hash of a block that cannot be shared is %#x", h)
	}
}
