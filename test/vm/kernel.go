// Package vm runs jobs on Debian's kernel in a virtual machine: what the
// machine's own kernel lacks is judged there. It needs qemu-system-x86_64,
// apt-get and dpkg-deb, and the Go toolchain. Emulation in software takes some
// ten seconds for a boot.
package vm

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// metaPackage depends on the kernel that Debian serves at the moment.
const metaPackage = "linux-image-amd64"

// wanted are the modules that the machine loads, with those they depend on.
// Both code paths of a cipher are there where the kernel has two.
var wanted = []string{
	"virtio_pci", "virtio_blk", "ext4", "f2fs", "quota_v2", "quota_v1",
	"aesni_intel", "xts", "cts", "ecb", "essiv", "adiantum", "nhpoly1305", "chacha_generic",
	"sha512_generic", "sha512_ssse3", "crc32c_generic", "crc32c_intel", "crc32_generic",
}

// keepDirs are the parts of a kernel package that hold them.
var keepDirs = []string{"arch/x86/crypto/", "crypto/", "fs/ext4/", "fs/f2fs/", "fs/jbd2/", "fs/quota/", "fs/mbcache.ko", "lib/", "drivers/virtio/", "drivers/block/"}

// kernel is an unpacked kernel package.
type kernel struct {
	image   string            // bzImage
	modules map[string]string // name to file
}

// Cache returns the directory, ignored by git, that downloads are kept in.
func Cache() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", ".cache")
}

// Fetch downloads and unpacks Debian's kernel unless the cache has it.
func Fetch() error {
	_, err := fetch()
	return err
}

func fetch() (*kernel, error) {
	pkg, err := kernelPackage()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(Cache(), 0o755); err != nil {
		return nil, err
	}
	// Tests of several packages may want the kernel at the same time.
	lock, err := os.OpenFile(filepath.Join(Cache(), "kernel.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, err
	}
	dir := filepath.Join(Cache(), pkg)
	if k, err := find(dir); err == nil {
		return k, nil
	}
	if err := download(pkg, dir); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", pkg, err)
	}
	return find(dir)
}

// kernelPackage returns the newest kernel package that apt knows; without a
// package list it takes one that the cache has.
func kernelPackage() (string, error) {
	out, err := exec.Command("apt-cache", "depends", metaPackage).Output()
	if err == nil {
		for line := range strings.Lines(string(out)) {
			if _, pkg, ok := strings.Cut(strings.TrimSpace(line), "Depends: linux-image-"); ok {
				return "linux-image-" + pkg, nil
			}
		}
	}
	cached, _ := filepath.Glob(filepath.Join(Cache(), "linux-image-*"))
	if len(cached) > 0 {
		return filepath.Base(cached[len(cached)-1]), nil
	}
	return "", fmt.Errorf("apt-cache knows no %s: run apt-get update", metaPackage)
}

func download(pkg, dir string) error {
	tmp, err := os.MkdirTemp(Cache(), "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	get := exec.Command("apt-get", "download", pkg)
	get.Dir = tmp
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download: %w: %s", err, out)
	}
	debs, _ := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("apt-get download left %d packages", len(debs))
	}
	into := filepath.Join(tmp, "kernel")
	if err := unpack(debs[0], into); err != nil {
		return err
	}
	return os.Rename(into, dir)
}

// unpack puts the kernel and the modules that may be wanted into one folder.
func unpack(deb, into string) error {
	if err := os.Mkdir(into, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return errors.Join(extract(out, into), cmd.Wait())
}

func extract(r io.Reader, into string) error {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !keep(h.Name) {
			continue
		}
		f, err := os.Create(filepath.Join(into, path.Base(h.Name)))
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, t); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
}

func keep(name string) bool {
	if strings.HasPrefix(path.Base(name), "vmlinuz-") {
		return true
	}
	_, module, ok := strings.Cut(name, "/kernel/")
	return ok && strings.HasSuffix(name, ".ko") &&
		slices.ContainsFunc(keepDirs, func(dir string) bool { return strings.HasPrefix(module, dir) })
}

func find(dir string) (*kernel, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	k := &kernel{modules: make(map[string]string)}
	for _, e := range list {
		full := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), "vmlinuz-") {
			k.image = full
		}
		if name, ok := strings.CutSuffix(e.Name(), ".ko"); ok {
			k.modules[strings.ReplaceAll(name, "-", "_")] = full
		}
	}
	if k.image == "" {
		return nil, fmt.Errorf("no kernel in %s", dir)
	}
	return k, nil
}

// order returns the files of the wanted modules, each after those it needs.
func (k *kernel) order() ([]string, error) {
	var files []string
	done := make(map[string]bool)
	var add func(name string) error
	add = func(name string) error {
		if done[name] {
			return nil
		}
		done[name] = true
		file := k.modules[name]
		if file == "" {
			return fmt.Errorf("the kernel package has no module %s", name)
		}
		needs, err := dependencies(file)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return fmt.Errorf("%s needs: %w", name, err)
			}
		}
		files = append(files, file)
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// dependencies reads "depends=" of a module's .modinfo section.
func dependencies(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("%s has no .modinfo", file)
	}
	data, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(data, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(strings.ReplaceAll(string(list), "-", "_"), ","), nil
		}
	}
	return nil, nil
}
