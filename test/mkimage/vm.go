package mkimage

import (
	"strings"
	"testing"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/vm"
	"fsenc/test/vm/job"
)

// BuildVM makes and fills the images of rows that need the virtual machine,
// in one boot, and returns their paths and trees.
func BuildVM(t testing.TB, rows []Row) (images []string, trees [][]manifest.Entry) {
	t.Helper()
	var mounts []job.Mount
	for i, r := range rows {
		images = append(images, Make(t, r))
		mounts = append(mounts,
			job.Mount{Disk: i, Type: "ext4", Fill: []job.Fill{{Dir: "secret", Tree: r.Tree}, {Dir: "plain", Tree: r.Tree}}},
			job.Mount{Disk: i, Type: "ext4", ReadOnly: true, Walk: true})
	}
	results := InVM(t, images, mounts)
	for i, r := range rows {
		trees = append(trees, results[2*i+1].Tree)
		if out, err := Check(images[i]); err != nil {
			t.Fatalf("%s: the kernel left a filesystem that e2fsck complains of: %v\n%s", r.Name, err, out)
		}
	}
	return images, trees
}

// InVM boots the machine once and fails the test for every mount that went
// another way than it should.
func InVM(t testing.TB, images []string, mounts []job.Mount) []job.Result {
	t.Helper()
	a, err := vm.Run(t.Context(), t.TempDir(), images, mounts)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Linux %s in the virtual machine", a.Kernel)
	for i, r := range a.Results {
		switch m := mounts[i]; {
		case m.Refused && r.Err == "":
			t.Errorf("%s, mount %d: the kernel mounts what it should refuse", images[m.Disk], i)
		case !m.Refused && r.Err != "":
			t.Fatalf("%s, mount %d: %s\n%s", images[m.Disk], i, r.Err, strings.Join(r.Log, "\n"))
		}
	}
	return a.Results
}
