package ext4

import (
	"slices"
	"strings"
	"testing"
	"time"

	"fsenc/internal/image"
	"fsenc/internal/image/imagetest"
	"fsenc/internal/store/storetest"
	"fsenc/test/mkimage"
)

// What Super tells is what dumpe2fs prints.
func TestSuper(t *testing.T) {
	for _, r := range allRows() {
		path := mkimage.Make(t, r)
		fs, _ := openFile(t, path, Options{})
		s := fs.Super()
		features := ""
		for line := range strings.Lines(e2tool(t, path, "dumpe2fs", "-h")) {
			if list, ok := strings.CutPrefix(line, "Filesystem features:"); ok {
				features = strings.Join(strings.Fields(list), " ")
			}
		}
		if got := strings.Join(s.Features, " "); got != features {
			t.Errorf("%s: features %q, dumpe2fs prints %q", r.Name, got, features)
		}
		bits := map[int]int{1024: 42, 2048: 43, 4096: 44}[s.BlockSize]
		if !slices.Contains(s.Features, "huge_file") {
			bits = 41
		}
		if s.MaxFileBits != bits || s.MaxLinkRoom != s.BlockSize || s.SizeBytes != r.Size || s.Kind != "ext4" {
			t.Errorf("%s: %+v", r.Name, s)
		}
		want := "clean"
		if !slices.Contains(s.Features, "has_journal") {
			want = "none"
		}
		if s.JournalState != want {
			t.Errorf("%s: journal %q, want %q", r.Name, s.JournalState, want)
		}
	}
}

func TestJournalNeedsReplay(t *testing.T) {
	fs, err := Open(storetest.NewMem(imagetest.GoldenBytes(t, "ext4-journal")), Options{AllowDirty: true})
	must(t, err)
	if got := fs.Super().JournalState; got != "needs replay" {
		t.Errorf("journal %q", got)
	}
}

func TestBootLoaderHint(t *testing.T) {
	for _, tt := range []struct {
		dirs []string
		want string
	}{
		{nil, ""},
		{[]string{"boot"}, ""},
		{[]string{"boot", "boot/grub"}, "/boot/grub"},
		{[]string{"loader"}, "/loader"},
	} {
		path := makeRow(t, "b1k")
		edit(t, path, func(fs *FS) {
			at := map[string]image.Ino{"": inoRoot}
			for _, dir := range tt.dirs {
				i := strings.LastIndex(dir, "/")
				ino, err := fs.Mkdir(at[dir[:max(i, 0)]], []byte(dir[i+1:]), image.NewFile{Perm: 0o755, Time: time.Unix(1e9, 0)})
				must(t, err)
				at[dir] = ino
			}
			if got := fs.Super().BootLoaderHint; got != tt.want {
				t.Errorf("%v: %q, want %q", tt.dirs, got, tt.want)
			}
		})
	}
}
