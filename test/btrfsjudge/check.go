package btrfsjudge

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// CheckShadow lets btrfs check look for errors, checksums of data included, in
// the shadow of an image, which it puts into dir for that long.
func CheckShadow(dir string, img []byte) error {
	b := bytes.Clone(img)
	if err := Shadow(b); err != nil {
		return err
	}
	name := filepath.Join(dir, "shadow")
	defer os.Remove(name)
	if err := os.WriteFile(name, b, 0o600); err != nil {
		return err
	}
	if out, err := exec.Command("btrfs", "check", "--check-data-csum", name).CombinedOutput(); err != nil {
		return fmt.Errorf("btrfs check: %w\n%s", err, out)
	}
	return nil
}
