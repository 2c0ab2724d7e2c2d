// Command kernel lets the running kernel judge a converted image: it mounts
// the image from before and the one from after, gives the second the master
// key, and compares everything below a directory. It needs root.
package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"fsenc/internal/image/imagetest/manifest"
	"fsenc/test/linux"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: kernel BEFORE.img AFTER.img KEYFILE DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "kernel:", err)
		os.Exit(1)
	}
}

func run(before, after, keyFile, dir string) error {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	want, err := mounted(before, nil)
	if err != nil {
		return err
	}
	got, err := mounted(after, func(root string) error {
		if err := list("without the key", filepath.Join(root, dir)); err != nil {
			return err
		}
		if _, err := linux.AddKey(root, key); err != nil {
			return err
		}
		return list("with the key", filepath.Join(root, dir))
	})
	if err != nil {
		return err
	}
	want, got = manifest.Below(want, dir), manifest.Below(got, dir)
	if diff := manifest.Compare(want, got, manifest.Encryption); len(diff) > 0 {
		for _, d := range diff {
			fmt.Println(" ", d)
		}
		return errors.New("the trees differ")
	}
	fmt.Printf("the kernel finds all %d inodes and names of /%s as they were: contents, owners, modes, times\n", len(got), path.Clean(dir))
	return nil
}

// mounted mounts an image read-only, calls f, and walks the tree.
func mounted(image string, f func(root string) error) (tree []manifest.Entry, err error) {
	dir, err := os.MkdirTemp("", "fsenc-demo-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	m, err := linux.MountImage(image, dir, "ext4", true, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Unmount()) }()
	if f != nil {
		if err := f(dir); err != nil {
			return nil, err
		}
	}
	return linux.Walk(dir)
}

func list(when, dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	fmt.Println(when + ":")
	for _, n := range names {
		fmt.Println("   ", n.Name())
	}
	return nil
}
