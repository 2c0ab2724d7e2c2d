package cmd

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain name":        "plain name",
		"gr\u00fc\u00df":    "gr\u00fc\u00df",
		"a\nb\x1b[2J\x7f":   `a\x0ab\x1b[2J\x7f`,
		"bad \xff\xc3 utf8": `bad \xff\xc3 utf8`,
		"c1 \u0085":         `c1 \xc2\x85`,
		"rtl \u202e":        `rtl \xe2\x80\xae`,
		`back\slash`:        `back\slash`,
		`fake \x41`:         `fake \x5cx41`,
		"nul \x00":          `nul \x00`,
	} {
		if got := escapeString(in); got != want {
			t.Errorf("escape %q: %s, want %s", in, got, want)
		}
		if twice := clean(escapeString(in)); twice != want {
			t.Errorf("clean of escaped %q: %s, want %s", in, twice, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 40: "1.0 TiB", 1<<63 - 1: "8.0 EiB"} {
		if got := iec(n); got != want {
			t.Errorf("iec(%d) = %s, want %s", n, got, want)
		}
	}
	for in, want := range map[string]int64{"0": 0, "512": 512, "1s": 512, "4K": 4096, "2MiB": 2 << 20, "0x10": 16, "1T": 1 << 40} {
		var v sizeValue
		if err := v.Set(in); err != nil || int64(v) != want {
			t.Errorf("size %q = %d, %v, want %d", in, v, err, want)
		}
	}
	for _, in := range []string{"", "-1", "1X", "K", "9223372036854775807K", "1.5M"} {
		var v sizeValue
		if err := v.Set(in); err == nil {
			t.Errorf("size %q is taken as %d", in, v)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for in, want := range map[string][]string{
		"pass show disk":      {"pass", "show", "disk"},
		"  a\t b\n":           {"a", "b"},
		`cat 'my file' "x y"`: {"cat", "my file", "x y"},
		`a\ b "c\"d\\e" '\n'`: {"a b", `c"d\e`, `\n`},
		`echo '' ""`:          {"echo", "", ""},
		`$HOME ~ * ; | "a;b"`: {"$HOME", "~", "*", ";", "|", "a;b"},
		`"tail\n" trailing\`:  {`tail\n`, `trailing\`},
	} {
		got, err := splitWords(in)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("splitWords(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", " ", `'open`, `"open`} {
		if got, err := splitWords(in); err == nil {
			t.Errorf("splitWords(%q) = %q", in, got)
		}
	}
}

func TestDecodeKeys(t *testing.T) {
	raw := []byte{0, 0xff, 0x10, 0xfb, 0xf0, 1}
	for _, e := range []struct {
		text   string
		decode func([]byte) ([]byte, error)
	}{
		{"00ff10fbf001\n", decodeHex}, {"00 FF 10\r\nfb f0 01", decodeHex},
		{"AP8Q+/AB\n", decodeBase64}, {"AP8Q-_AB", decodeBase64}, {"AP8Q\n+/AB", decodeBase64},
	} {
		got, err := e.decode([]byte(e.text))
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%q decodes to %x, %v", e.text, got, err)
		}
	}
	for _, text := range []string{"0", "zz", "00f"} {
		if _, err := decodeHex([]byte(text)); err == nil || strings.Contains(err.Error(), text) {
			t.Errorf("hex %q: %v", text, err)
		}
	}
}

func TestHarmless(t *testing.T) {
	for word, want := range map[string]bool{
		"/home/ann/notes.txt": true, "/b\u00fccher/": true, "/a b": false, "/$(reboot)": false, "/a'b": false,
		"/a\nb": false, "/`x`": false, "/a;b": false, "/\xff": false, "/a*": false, "/a\\b": false, "/\u202e": false,
	} {
		if got := harmless(word); got != want {
			t.Errorf("harmless(%q) = %v", word, got)
		}
	}
}

// progress runs a meter of a form over a few ticks and returns what it shows.
func progress(t *testing.T, form string) string {
	t.Helper()
	var b bytes.Buffer
	a := &app{stderr: &b, set: settings{Progress: form, ProgressInterval: time.Hour}}
	m := a.newMeter()
	for i := range uint64(5) {
		m.update(tick{Phase: "convert", Items: i, TotalItems: 4, Bytes: int64(i) << 20, TotalBytes: 4 << 20})
	}
	m.update(tick{Phase: "wipe"})
	m.finish()
	return b.String()
}

func TestProgressForms(t *testing.T) {
	want := "fsenc:   0% convert  0/4 inodes\nfsenc: wipe\nfsenc: wipe\n"
	if got := progress(t, "line"); got != want {
		t.Errorf("lines of progress:\n%swant:\n%s", got, want)
	}
	for _, form := range []string{"none", "auto"} {
		if got := progress(t, form); got != "" {
			t.Errorf("progress %s shows %q", form, got)
		}
	}
	for line := range strings.Lines(progress(t, "json")) {
		var got struct {
			Fsenc int
			Event string
			Phase string
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.Fsenc != 1 || got.Event != "progress" || got.Phase == "" {
			t.Errorf("progress in JSON: %q, %v", line, err)
		}
	}
}

func TestPlural(t *testing.T) {
	for want, got := range map[string]string{
		"1 key": plural(1, "key"), "2 keys": plural(2, "key"), "0 files": plural(0, "file"),
		"3 directories": plural(3, "directory"), "2 policies": plural(2, "policy"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
