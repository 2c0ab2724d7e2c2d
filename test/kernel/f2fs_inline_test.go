package kernel

import (
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
)

// largestInline is the largest payload of an encrypted inode with extra
// attributes and inline xattrs, in bytes.
const largestInline = 3440

// unreadable judges what a kernel without encrypted_inline_data makes of an
// image that has it: it mounts it, has all names, and will not open a file
// whose contents are in the inode.
func (c *f2fsCase) unreadable(t *testing.T) {
	t.Helper()
	before := make(map[string]*manifest.Entry)
	for i := range c.before {
		before[c.before[i].Path] = &c.before[i]
	}
	var rest, want []manifest.Entry
	refused := make(map[string]bool)
	for _, e := range c.results[0].Tree {
		if e.Err == "" {
			rest = append(rest, e)
			continue
		}
		refused[e.Path] = true
		b := before[e.Path]
		if b == nil || b.Type != manifest.File || b.Size > largestInline || !strings.Contains(e.Err, "structure needs cleaning") {
			t.Errorf("%q: %s", e.Path, e.Err)
		}
	}
	const least = 100
	if len(refused) < least {
		t.Errorf("the kernel refuses %d files, want %d or more", len(refused), least)
	}
	for _, e := range c.before {
		if !refused[e.Path] {
			want = append(want, e)
		}
	}
	same(t, "what the kernel reads", want, rest, manifest.Encryption)
	log := strings.Join(c.results[0].Log, "\n")
	if !strings.Contains(log, "should not have inline_data") {
		t.Errorf("the kernel says:\n%s", log)
	}
}
