package keystore

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// unknown appends fields that no version has: one each of the wire types.
func unknown(b []byte) []byte {
	b = protowire.AppendTag(b, 90, protowire.VarintType)
	b = protowire.AppendVarint(b, 300)
	b = protowire.AppendTag(b, 91, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, 1)
	b = protowire.AppendTag(b, 92, protowire.BytesType)
	b = protowire.AppendString(b, "new")
	b = protowire.AppendTag(b, 93, protowire.StartGroupType)
	b = protowire.AppendTag(b, 93, protowire.EndGroupType)
	b = protowire.AppendTag(b, 94, protowire.Fixed32Type)
	return protowire.AppendFixed32(b, 1)
}

// Fields that fsenc does not know survive an edit, wherever they are.
func TestUnknownFieldsSurvive(t *testing.T) {
	v := vectors(t)[0]
	m, err := parseMessage(bytes.Clone(v.Protectors[0].File))
	must(t, err)
	for _, num := range []protowire.Number{numCosts, numProtectorWrap} {
		m.setData(num, unknown(bytes.Clone(m.data(num))))
	}
	file := unknown(m.bytes())

	files := vectorTree(t)
	files[".fscrypt/protectors/"+v.Protectors[0].FileName] = file
	policyFile := unknown(bytes.Clone(v.Policies[0].File))
	files[".fscrypt/policies/"+v.Policies[0].FileName] = policyFile
	img := newImage(t, "1k", writeTree(t, files))
	s := img.load()
	p, err := s.Protector("one")
	must(t, err)
	u, err := s.UnlockProtector(p, v.Protectors[0].secret())
	must(t, err)
	defer u.Wipe()
	must(t, s.ChangeSecret(u, []byte("new"), Costs{}))
	pol, err := s.Policy(v.Policies[0].FileName)
	must(t, err)
	key, err := s.UnlockPolicy(pol, u)
	must(t, err)
	raw, err := s.AddProtector(NewProtector{Source: SourceRawKey, Name: "raw"}, make([]byte, RawKeySize))
	must(t, err)
	must(t, s.AddProtectorToPolicy(pol, key, raw))

	s = img.load()
	p, err = s.Protector("one")
	must(t, err)
	got := p.msg.bytes()
	if len(got) != len(file) || bytes.Equal(got, file) || bytes.Count(got, unknown(nil)) != 3 {
		t.Errorf("protector after the edit: %x, before %x", got, file)
	}
	pol, err = s.Policy(v.Policies[0].FileName)
	must(t, err)
	rest, ok := bytes.CutSuffix(pol.msg.bytes(), unknown(nil))
	if !ok || !bytes.HasPrefix(rest, v.Policies[0].File) || len(pol.Protectors()) != 2 {
		t.Errorf("policy after the edit: %x, before %x", pol.msg.bytes(), policyFile)
	}
	must(t, s.DetachProtector(pol, raw.ID, false))
	pol, err = img.load().Policy(pol.ID)
	must(t, err)
	if !bytes.Equal(pol.msg.bytes(), policyFile) {
		t.Errorf("policy after both edits: %x, before %x", pol.msg.bytes(), policyFile)
	}
}

// As protobuf has it: the last number counts, messages merge, a field of
// another type is an unknown one.
func TestMessage(t *testing.T) {
	var m message
	m.setVarint(3, 7)
	m.setData(1, []byte("one"))
	m.setVarint(9, 0)
	m.add(5, []byte("a"))
	m.setVarint(7, math.MaxUint64)
	m.add(5, []byte("b"))
	want := "\x0a\x03one" + "\x18\x07" + "\x2a\x01a\x2a\x01b" + "\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
	if got := string(m.bytes()); got != want {
		t.Errorf("fields are %x, want %x", got, want)
	}
	m.removeNth(5, 0)
	m.setVarint(7, 0)
	if got := string(m.bytes()); got != "\x0a\x03one\x18\x07\x2a\x01b" {
		t.Errorf("after removing: %x", got)
	}

	m, err := parseMessage([]byte("\x18\x01\x1a\x02xx\x18\x02\x2a\x02\x08\x05\x2a\x02\x10\x06"))
	must(t, err)
	if m.varint(3) != 2 || string(m.data(3)) != "xx" || m.varint(4) != 0 || m.data(4) != nil {
		t.Errorf("3 is %d and %q", m.varint(3), m.data(3))
	}
	sub, err := m.sub(5)
	must(t, err)
	if sub.varint(1) != 5 || sub.varint(2) != 6 {
		t.Errorf("merged message: %d, %d", sub.varint(1), sub.varint(2))
	}
	m.setVarint(3, 9)
	if got := string(m.bytes()); got != "\x18\x09\x1a\x02xx\x2a\x02\x08\x05\x2a\x02\x10\x06" {
		t.Errorf("after setting: %x", got)
	}
	for _, bad := range []string{"\x08", "\x0a\x05abc", "\x00\x01", "\x0c", "\x0f", "\x0b\x08\x01", "\x09\x01"} {
		if m, err := parseMessage([]byte(bad)); err == nil {
			t.Errorf("%x is parsed to %v", bad, m)
		}
	}
}

func TestCosts(t *testing.T) {
	for _, c := range []struct {
		costs Costs
		lanes uint8 // 0: refused
	}{
		{Costs{1, 8, 1, true}, 1},
		{Costs{1, 8 * 255, 255, true}, 255},
		{Costs{1, 1 << 20, 258, false}, 2}, // the low 8 bits, as old versions had it
		{Costs{1, 1 << 20, -1, false}, 255},
		{Costs{1, 1 << 20, 258, true}, 0},
		{Costs{1, 1 << 20, 256, false}, 0},
		{Costs{1, 1 << 20, 0, true}, 0},
		{Costs{0, 8, 1, true}, 0},
		{Costs{1 << 32, 8, 1, true}, 0},
		{Costs{-1, 8, 1, true}, 0},
		{Costs{1, 7, 1, true}, 0},
		{Costs{1, 15, 2, true}, 0},
		{Costs{1, 1 << 32, 1, true}, 0},
	} {
		err := c.costs.check()
		if c.lanes == 0 && !errors.Is(err, ErrCosts) || c.lanes != 0 && (err != nil || c.costs.lanes() != c.lanes) {
			t.Errorf("%+v: %v, %d lanes", c.costs, err, c.costs.lanes())
		}
	}
}

// A file cannot make fsenc take all memory, or hash for days.
func TestLimits(t *testing.T) {
	l := DefaultLimits()
	if l.MemoryKiB > 4<<20 || l.MemoryKiB > physicalKiB() || l.MemoryKiB < 16<<10 {
		t.Errorf("limits %+v on a machine with %d KiB", l, physicalKiB())
	}
	p, err := parseProtector(vectors(t)[0].Protectors[0].File)
	must(t, err)
	for _, c := range []struct {
		costs Costs
		names string
	}{
		{Costs{1, math.MaxUint32, 1, true}, "4294967295 KiB of memory"},
		{Costs{1, 2 << 20, 1, true}, "2097152 KiB of memory, more than the 1048576 KiB allowed"},
		{Costs{math.MaxUint32, 8, 1, true}, "4294967295 passes over 8 KiB"},
		{Costs{1 << 13, 1 << 20, 1, true}, "8192 passes over 1048576 KiB"},
	} {
		s := &Store{Limits: Limits{MemoryKiB: 1 << 20, WorkKiB: 1 << 30}}
		p.Costs = c.costs
		start := time.Now()
		_, err := s.UnlockProtector(p, []byte("x"))
		if !errors.Is(err, ErrCosts) || !strings.Contains(err.Error(), c.names) || time.Since(start) > time.Second {
			t.Errorf("%+v after %v: %v", c.costs, time.Since(start), err)
		}
	}
}

// A measured figure is about what was asked for.
func TestCalibrate(t *testing.T) {
	for _, target := range []time.Duration{time.Millisecond, 200 * time.Millisecond} {
		c := Calibrate(target)
		must(t, c.check())
		if err := DefaultLimits().allow(c); err != nil || c.MemoryKiB > usualMemoryKiB || !c.TruncationFixed {
			t.Errorf("costs %+v: %v", c, err)
		}
		if took := c.measure(); took > 20*target+100*time.Millisecond {
			t.Errorf("%+v for %v take %v", c, target, took)
		}
	}
}

// The codec takes what it can and gives it back as it was.
func FuzzFiles(f *testing.F) {
	for _, v := range vectors(f) {
		for _, p := range v.Policies {
			f.Add([]byte(p.File))
		}
		for _, p := range v.Protectors {
			f.Add([]byte(p.File))
		}
		f.Add(unknown(bytes.Clone(v.Protectors[0].File)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		if p, err := parsePolicy(b); err == nil {
			if !bytes.Equal(p.msg.bytes(), before) {
				t.Errorf("policy %x becomes %x", before, p.msg.bytes())
			}
			p.Policy()
		}
		p, err := parseProtector(b)
		if err != nil {
			return
		}
		once, err := p.encode()
		if err != nil {
			t.Fatalf("encode %+v: %v", p, err)
		}
		again, err := parseProtector(bytes.Clone(once))
		if err != nil {
			t.Fatalf("%x was encoded and is not taken: %v", once, err)
		}
		if twice, err := again.encode(); err != nil || !bytes.Equal(once, twice) || again.ID != p.ID || again.Costs != p.Costs {
			t.Errorf("%x is encoded as %x, then as %x, %v", before, once, twice, err)
		}
		if !bytes.Equal(b, before) {
			t.Errorf("the file's bytes changed from %x to %x", before, b)
		}
	})
}

func FuzzLink(f *testing.F) {
	for _, s := range []string{"UUID=1234\nPATH=/\n", "PATH=/mnt", "UUID=\n", "=\n=", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLink(b)
		if err == nil && (l.UUID == "" && l.Path == "" || strings.ContainsAny(l.UUID+l.Path, "\n\x00")) {
			t.Errorf("%q is taken as %+v", b, l)
		}
	})
}
