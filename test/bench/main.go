// Command bench measures fsenc beside its peers on this machine, one after
// the other in one run, and prints the ratios that BENCHMARKS.md records.
//
// It needs root, e2fsprogs and a kernel with ext4 encryption. The tree that is
// converted is the Go source tree, some ten thousand files.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"fsenc/test/linux"
)

func main() {
	bin := flag.String("fsenc", "bin/fsenc", "the program to measure")
	rounds := flag.Int("rounds", 3, "runs of each; the best counts")
	tree := flag.String("tree", filepath.Join(runtime.GOROOT(), "src"), "the tree to convert")
	flag.Parse()
	if err := run(*bin, *tree, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run of all measurements in a scratch directory.
type bench struct {
	bin, tree, dir, key string
}

func run(bin, tree string, rounds int) error {
	dir, err := os.MkdirTemp("", "fsenc-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{bin: bin, tree: tree, dir: dir, key: filepath.Join(dir, "key")}
	raw := make([]byte, 64)
	for i := range raw {
		raw[i] = byte(i + 1)
	}
	if err := os.WriteFile(b.key, raw, 0o600); err != nil {
		return err
	}
	if err := b.makeImages(); err != nil {
		return err
	}
	var kernel, ours []time.Duration
	var rss int64
	for range rounds {
		k, err := b.kernelCopy(raw)
		if err != nil {
			return fmt.Errorf("cp -a: %w", err)
		}
		o, r, err := b.encryptDir()
		if err != nil {
			return fmt.Errorf("encrypt-dir: %w", err)
		}
		kernel, ours, rss = append(kernel, k), append(ours, o), max(rss, r)
	}
	files, inodes, bytes := count(tree)
	best, peer := slices.Min(ours), slices.Min(kernel)
	fmt.Printf("tree: %d files, %d inodes, %d MiB\n", files, inodes, bytes>>20)
	fmt.Printf("encrypt-dir           %v\n", best.Round(time.Millisecond))
	fmt.Printf("kernel's cp -a, sync  %v\n", peer.Round(time.Millisecond))
	fmt.Printf("ratio                 %.2f\n", best.Seconds()/peer.Seconds())
	fmt.Printf("resident              %d MiB, %d allowed\n", rss>>20, (64<<20+200*inodes)>>20)
	return nil
}

// makeImages makes an empty image for the kernel and one with the tree for us.
func (b *bench) makeImages() error {
	for _, name := range []string{"empty.img", "plain.img"} {
		path := filepath.Join(b.dir, name)
		if err := sh("truncate", "-s", "1G", path); err != nil {
			return err
		}
		if err := sh("/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "encrypt", path); err != nil {
			return err
		}
	}
	return b.mounted("plain.img", func(dir string) error { return sh("cp", "-a", b.tree, filepath.Join(dir, "tree")) })
}

func (b *bench) mounted(name string, f func(dir string) error) error {
	m, err := linux.MountImage(filepath.Join(b.dir, name), filepath.Join(b.dir, "mnt"), "ext4", false, "")
	if err != nil {
		return err
	}
	err = f(m.Dir)
	if e := m.Unmount(); err == nil {
		err = e
	}
	return err
}

// fresh copies an image for one run and waits until that is on the disk.
func (b *bench) fresh(name string) error {
	if err := sh("cp", "--sparse=always", filepath.Join(b.dir, name), filepath.Join(b.dir, "run.img")); err != nil {
		return err
	}
	return sh("sync")
}

// kernelCopy is cp -a of the tree into an encrypted directory, and sync.
func (b *bench) kernelCopy(raw []byte) (d time.Duration, err error) {
	if err := b.fresh("empty.img"); err != nil {
		return 0, err
	}
	err = b.mounted("run.img", func(dir string) error {
		id, err := linux.AddKey(dir, raw)
		if err != nil {
			return err
		}
		secret := filepath.Join(dir, "secret")
		if err := os.Mkdir(secret, 0o755); err != nil {
			return err
		}
		if err := linux.SetPolicy(secret, linux.PolicyV2{Contents: 1, Filenames: 4, Flags: 3, Identifier: id}); err != nil {
			return err
		}
		start := time.Now()
		if err := sh("cp", "-a", b.tree, filepath.Join(secret, "tree")); err != nil {
			return err
		}
		if err := sh("sync", "-f", secret); err != nil {
			return err
		}
		d = time.Since(start)
		return nil
	})
	return d, err
}

// encryptDir is fsenc encrypt-dir of the same tree in place.
func (b *bench) encryptDir() (time.Duration, int64, error) {
	if err := b.fresh("plain.img"); err != nil {
		return 0, 0, err
	}
	cmd := exec.Command(b.bin, "encrypt-dir", filepath.Join(b.dir, "run.img"), "/tree", "--key-file", b.key, "--padding", "32", "--yes")
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, err
	}
	d := time.Since(start)
	return d, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10, nil
}

func count(tree string) (files, inodes, bytes int64) {
	err := filepath.WalkDir(tree, func(_ string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inodes++
		if e.Type().IsRegular() {
			files++
			st, err := e.Info()
			if err != nil {
				return err
			}
			bytes += st.Size()
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return files, inodes, bytes
}

func sh(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
