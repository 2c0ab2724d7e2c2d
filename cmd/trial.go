package cmd

import (
	"fmt"
	"strings"

	"fsenc/internal/convert"
)

// howToTest names the commands that let a real kernel judge.
func (v *conversion) howToTest() error {
	img, sb := operand(v.path), v.plan.Super()
	if v.o.copyTo != "" {
		img = operand(v.o.copyTo)
	}
	if sb.Kind == "btrfs" && v.plan.Op != convert.Decrypt {
		_, err := fmt.Fprintf(v.app.out, "test it: fsenc fsck --content %s%s (no released kernel reads %s)\n", img, v.app.windowFlags(), sb.Layout)
		return err
	}
	unlock := ""
	if v.plan.Op != convert.Decrypt {
		unlock = " && fscryptctl add_key /mnt < KEYFILE"
		if !v.k.raw() {
			unlock = " && fscrypt unlock /mnt" + operand(v.plan.Tops[0].Path)
		}
	}
	_, err := fmt.Fprintf(v.app.out, "test it: %s%s\n", v.checkAndMount(img, sb.Kind), unlock)
	return err
}

// checkAndMount is how to do both with an image, or with the part of it that the
// filesystem lies in.
func (v *conversion) checkAndMount(img, kind string) string {
	check := map[string]string{"ext4": "e2fsck -fn", "f2fs": "fsck.f2fs --dry-run", "btrfs": "btrfs check"}[kind]
	ro := ""
	if v.plan.Op == convert.Decrypt {
		ro = ",ro"
	}
	w := v.section
	switch {
	case w.off == 0 && w.size == v.file.Size():
		return fmt.Sprintf("%s %[2]s && mount -o loop%s %[2]s /mnt", check, img, ro)
	case kind == "ext4": // its checker takes an offset with the name
		return fmt.Sprintf("%s '%s?offset=%d' && mount -o loop,offset=%[3]d,sizelimit=%d%s %s /mnt",
			check, strings.Trim(img, "'"), w.off, w.size, ro, img)
	}
	return fmt.Sprintf("L=$(losetup -f --show -o %d --sizelimit %d %s) && %s $L && mount -o rw%s $L /mnt", w.off, w.size, img, check, ro)
}
