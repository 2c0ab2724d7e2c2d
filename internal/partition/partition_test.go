package partition

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"fsenc/internal/store/storetest"
)

func golden(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".img.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	img, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

const linux = "0fc63daf-8483-4772-8e79-3d69d8477de4"

// What testdata/make.sh asked sfdisk for.
var tables = map[string][]Partition{
	"gpt": {
		{1, "boot", linux, 64 * 512, 200 * 512}, {2, "userdata", linux, 300 * 512, 1000 * 512},
		{3, "2", linux, 1400 * 512, 50 * 512}, {4, "twin", linux, 1500 * 512, 50 * 512},
		{5, "twin", linux, 1600 * 512, 51 * 512}, {6, "last", linux, 1700 * 512, 52 * 512},
	},
	"mbr": {
		{1, "", "83", 10 * 512, 100 * 512}, {2, "", "82", 200 * 512, 300 * 512},
		{5, "", "83", 610 * 512, 20 * 512}, {6, "", "83", 700 * 512, 30 * 512},
		{7, "", "da", 800 * 512, 40 * 512},
	},
	"gpt4k": {{1, "big", linux, 16 * 4096, 20 * 4096}},
}

func compare(t *testing.T, img []byte, want []Partition) {
	t.Helper()
	got, err := Read(storetest.NewMem(img))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}

func TestRead(t *testing.T) {
	for name, want := range tables {
		t.Run(name, func(t *testing.T) { compare(t, golden(t, name), want) })
	}
}

func TestBackupTable(t *testing.T) {
	for name, off := range map[string]int{"header": 512 + 40, "array": 1024 + 60} {
		img := golden(t, "gpt")
		img[off] ^= 1
		compare(t, img, tables["gpt"])
		img[len(img)-512+40] ^= 1
		if _, err := Read(storetest.NewMem(img)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: both tables damaged: %v", name, err)
		}
	}
}

func TestGPTWithoutMBR(t *testing.T) {
	img := golden(t, "gpt")
	clear(img[:512])
	compare(t, img, tables["gpt"])
}

func TestFind(t *testing.T) {
	s := storetest.NewMem(golden(t, "gpt"))
	for spec, want := range map[string]int{"1": 1, "userdata": 2, "2": 2, "last": 6} {
		if p, err := Find(s, spec); err != nil || p.Number != want {
			t.Errorf("%q: %v, %v, want %d", spec, p, err, want)
		}
	}
	for spec, text := range map[string]string{
		"7": "1 (boot), 2 (userdata)", "": "no such partition", "twin": "4 (twin), 5 (twin)",
	} {
		if _, err := Find(s, spec); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", spec, err)
		}
	}
	part, err := Find(s, "userdata")
	if err != nil || part.Size != 1000*512 {
		t.Errorf("size %d, %v", part.Size, err)
	}
}

func TestDamagedTables(t *testing.T) {
	cut := golden(t, "gpt")
	if _, err := Read(storetest.NewMem(cut[:1400*512])); !errors.Is(err, ErrDamaged) {
		t.Errorf("truncated disk: %v", err)
	}
	alone := golden(t, "gpt")
	clear(alone[512:])
	if _, err := Read(storetest.NewMem(alone)); !errors.Is(err, ErrDamaged) {
		t.Errorf("protective MBR alone: %v", err)
	}
	loop := golden(t, "mbr")
	link := mbr(loop[600*512:][:512])
	copy(link.entry(1)[8:12], make([]byte, 4)) // the first link points to itself
	if _, err := Read(storetest.NewMem(loop)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "no end") {
		t.Errorf("endless chain: %v", err)
	}
	for name, img := range map[string][]byte{
		"empty": nil, "zeros": make([]byte, 8192), "signature alone": append(make([]byte, 510), 0x55, 0xaa),
	} {
		if _, err := Read(storetest.NewMem(img)); !errors.Is(err, ErrNoTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExplain(t *testing.T) {
	at := func(off int, magic string) []byte {
		img := make([]byte, 256<<10)
		copy(img[off:], magic)
		img[100<<10] = 1
		return img
	}
	for want, img := range map[string][]byte{
		"an empty file":                       nil,
		"all zeros":                           make([]byte, 1<<20),
		"Android sparse":                      at(0, "\x3a\xff\x26\xed\x01\x00"),
		"qcow2":                               at(0, "QFI\xfb\x00\x00\x00\x03"),
		"VHD image":                           at(256<<10-512, "conectix"),
		"cryptsetup open":                     at(0, "LUKS\xba\xbe\x00\x02"),
		"vgchange":                            at(512, "LABELONE"),
		"metadata 1.2":                        at(4096, mdMagic),
		"metadata 1.0":                        at(248<<10, mdMagic),
		"metadata 0.90":                       at(192<<10, mdMagic),
		"dm-verity":                           at(0, "verity\x00\x00"),
		"gzip":                                at(0, "\x1f\x8b\x08"),
		"--partition: 1, 2, 5":                golden(t, "mbr"),
		"--partition: 1 (boot), 2 (userdata)": golden(t, "gpt"),
	} {
		if got := Explain(storetest.NewMem(img)); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := Explain(storetest.NewMem(at(5, "x"))); got != "" {
		t.Errorf("unknown bytes: %q", got)
	}
}

func TestSealed(t *testing.T) {
	img := make([]byte, 16<<10)
	copy(img[8<<10:], "verity\x00\x00")
	if got := Sealed(storetest.NewMem(img), 8<<10); got != "dm-verity" {
		t.Errorf("hash tree behind the filesystem: %q", got)
	}
	if got := Sealed(storetest.NewMem(img), 16<<10); got != "" {
		t.Errorf("filesystem over all: %q", got)
	}
	copy(img[len(img)-64:], "AVBf")
	if got := Sealed(storetest.NewMem(img), 16<<10); got != "Android Verified Boot" {
		t.Errorf("footer: %q", got)
	}
}

func FuzzRead(f *testing.F) {
	for name := range tables {
		img := golden(f, name)
		f.Add(img[:16<<10], img[len(img)-(17<<10):])
	}
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		img := bytes.Join([][]byte{head, make([]byte, 32<<10), tail}, nil)
		if len(img) > 1<<20 {
			return
		}
		s := storetest.NewMem(img)
		parts, err := Read(s)
		if err != nil && !errors.Is(err, ErrNoTable) && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		for _, p := range parts {
			if p.Off < 0 || p.Size < 0 || p.Off+p.Size > s.Size() {
				t.Fatalf("%+v is not inside %d bytes", p, s.Size())
			}
		}
		Explain(s)
	})
}

func TestName(t *testing.T) {
	b := []byte("F\x00\xfc\x00\x3d\xd8\x27\xdc\x00\x00x\x00")
	if got := name(b); got != "Fü🐧" {
		t.Errorf("%q", got)
	}
}
