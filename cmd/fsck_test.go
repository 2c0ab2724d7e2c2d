package cmd

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"fsenc/internal/image/imagetest"
)

// broken NAME FAULT... writes the golden image with each of the faults that
// its manifest describes, as NAME.FAULT.img.
func broken(t *testing.T, ts *testscript.TestScript, args []string) {
	base, m := imagetest.GoldenBytes(t, args[0]), imagetest.Manifest(t, args[0])
	for _, fault := range args[1:] {
		found := false
		for _, b := range m.Broken {
			if b.Name == fault {
				found = true
				write(ts, args[0]+"."+fault+".img", imagetest.Break(t, slices.Clone(base), b))
			}
		}
		if !found {
			ts.Fatalf("%s has no fault %q", args[0], fault)
		}
	}
}

// A cancelled check has the code of fsck(8), not that of the other commands.
func TestFsckCancelled(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	a := newApp(nil, null, null)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a.ctx = ctx
	if code := a.run([]string{"fsck", imagetest.Golden(t, "ext4-check")}); code != fsckCancelled {
		t.Errorf("exit code %d, want %d", code, fsckCancelled)
	}
}
