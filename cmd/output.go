package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// header begins every JSON object of a result. Fields are only ever added.
type header struct {
	Fsenc   int    `json:"fsenc"`
	Command string `json:"command"`
}

func headerOf(command string) header { return header{1, command} }

// emit prints one line of JSON on stdout.
func (a *app) emit(v any) error { return a.emitTo(a.out, v) }

func (a *app) emitTo(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// jsonName is a name in JSON: text, and the bytes where it is not UTF-8.
type jsonName struct {
	Name      string `json:"name"`
	NameBytes []byte `json:"name_bytes,omitempty"`
}

func nameOf(b []byte) jsonName {
	s, raw := jsonText(b)
	return jsonName{s, raw}
}

// jsonPath is a path in JSON, as jsonName.
type jsonPath struct {
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"`
}

func pathOf(p string) jsonPath {
	s, raw := jsonText([]byte(p))
	return jsonPath{s, raw}
}

// jsonText returns bytes as JSON text; bad UTF-8 is escaped, and then the
// bytes come along.
func jsonText(b []byte) (string, []byte) {
	if utf8.Valid(b) {
		return string(b), nil
	}
	return escape(b), b
}

// escape makes a stranger's bytes printable: control characters, what turns
// the direction of text around and bad UTF-8 become \xNN, and so does a
// backslash that could be taken for the start of one.
func escape(b []byte) string {
	var s strings.Builder
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if mustEscape(r, n, b[i:]) {
			for _, c := range b[i : i+n] {
				fmt.Fprintf(&s, `\x%02x`, c)
			}
		} else {
			s.Write(b[i : i+n])
		}
		i += n
	}
	return s.String()
}

func escapeString(s string) string { return escape([]byte(s)) }

// clean makes a message printable. Names in it are escaped already, or will
// be: backslashes stay as they are.
func clean(s string) string {
	parts := strings.Split(s, `\`)
	for i, p := range parts {
		parts[i] = escapeString(p)
	}
	return strings.Join(parts, `\`)
}

func mustEscape(r rune, n int, b []byte) bool {
	switch {
	case r == utf8.RuneError && n == 1, r < 0x20, r >= 0x7f && r < 0xa0:
		return true
	case r == '\\':
		return len(b) > 3 && b[1] == 'x' && isHex(b[2]) && isHex(b[3])
	case r == 0x2028, r == 0x2029, r == 0x200e, r == 0x200f, r == 0x61c:
		return true
	}
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// units of IEC sizes.
var units = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// iec formats a number of bytes: "512 B", "1.5 GiB".
func iec(n int64) string {
	if n < 0 {
		return "-" + iec(-n)
	}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}

// exact adds the number of bytes to an IEC size.
func exact(n int64) string {
	if n < 1024 {
		return iec(n)
	}
	return fmt.Sprintf("%s (%d bytes)", iec(n), n)
}

// plural is "1 file", "2 files".
func plural[N int | int64 | uint64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if base, ok := strings.CutSuffix(one, "y"); ok && !strings.HasSuffix(base, "e") {
		one = base + "ie"
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// utc formats a time to the second; stamp keeps the nanoseconds.
func utc(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000000000 UTC")
}

// jsonTime is a time in JSON, empty where the filesystem keeps none.
func jsonTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// table prints rows in aligned columns. Cells are escaped here.
type table struct {
	w *tabwriter.Writer
}

func newTable(w io.Writer, head ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	if len(head) > 0 {
		t.row(head...)
	}
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = escapeString(c)
	}
	// tabwriter reports errors of its writer again on flush.
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t *table) flush() error { return t.w.Flush() }

// sizeValue is a number of bytes given on the command line.
type sizeValue int64

// sizeSuffixes are powers of 1024, and sectors of 512 bytes.
var sizeSuffixes = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"s", 512}, {"B", 1},
}

// Set implements pflag.Value.
func (v *sizeValue) Set(s string) error {
	factor := int64(1)
	for _, u := range sizeSuffixes {
		if base, ok := strings.CutSuffix(s, u.suffix); ok {
			s, factor = base, u.factor
			break
		}
	}
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil || n < 0 || n > (1<<63-1)/factor {
		return fmt.Errorf("not a number of bytes")
	}
	*v = sizeValue(n * factor)
	return nil
}

// String implements pflag.Value.
func (v *sizeValue) String() string { return strconv.FormatInt(int64(*v), 10) }

// Type implements pflag.Value.
func (v *sizeValue) Type() string { return "bytes" }
