package main

import (
	"fmt"
	"os"
	"path/filepath"

	"fsenc/test/linux"
)

// big compares encrypt-dir of one large file with dd, which reads and rewrites
// the same number of bytes of the same image and computes nothing.
func (b *bench) big() error {
	image, err := b.image("big")
	if err != nil {
		return err
	}
	for _, v := range []struct {
		name string
		cold bool
	}{{"big", false}, {"big cold", true}} {
		ready := func() (string, error) {
			run, err := b.fresh(image)
			if err == nil && v.cold {
				err = evict(run)
			}
			return run, err
		}
		ours := side{label: "encrypt-dir", run: func() (sample, error) {
			run, err := ready()
			if err != nil {
				return sample{}, err
			}
			return b.fsenc("encrypt-dir", run, dirInImage)
		}}
		dd := side{label: "dd bs=1M conv=notrunc,fsync", run: func() (sample, error) {
			run, err := ready()
			if err != nil {
				return sample{}, err
			}
			return b.command("dd", "if="+run, "of="+run, "bs=1M", fmt.Sprintf("count=%d", b.scale.bytes>>20), "conv=notrunc,fsync")
		}}
		runs, err := b.race(v.name, ours, peer{dd, 1.6})
		if err != nil {
			return err
		}
		b.resident(v.name, ours.label, runs, residentBase)
	}
	return nil
}

// luks compares encrypt-dir of one large file with cryptsetup encrypting a
// device of that size in place: the same cipher, the default resilience of
// each, which is checksums. The header is in a file of its own, and the
// derivation of the key from the passphrase costs nothing.
func (b *bench) luks() error {
	image, err := b.image("big")
	if err != nil {
		return err
	}
	ours := side{label: "encrypt-dir", run: func() (sample, error) { return b.encryptDir(image) }}
	_, err = b.race("luks", ours,
		peer{side{label: "cryptsetup reencrypt --encrypt", run: func() (sample, error) { return b.reencrypt(image) }}, 0.3},
		peer{side{label: "with --sector-size 4096", run: func() (sample, error) { return b.reencrypt(image, "--sector-size", "4096") }}, 0})
	return err
}

func (b *bench) reencrypt(image string, args ...string) (sample, error) {
	run, err := b.fresh(image)
	if err != nil {
		return sample{}, err
	}
	if err := os.Truncate(run, b.scale.bytes); err != nil {
		return sample{}, err
	}
	if err := settle(run); err != nil {
		return sample{}, err
	}
	header := b.path("header")
	defer os.Remove(header)
	if err := os.WriteFile(header, make([]byte, 16<<20), 0o600); err != nil {
		return sample{}, err
	}
	all := append([]string{"reencrypt", "--encrypt", "--type", "luks2", "--batch-mode", "--header", header, "--key-file", b.key,
		"--cipher", "aes-xts-plain64", "--key-size", "512", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}, args...)
	s, err := b.command("cryptsetup", append(all, run)...)
	if err != nil {
		return s, err
	}
	return s, b.sh("cryptsetup", "luksDump", header)
}

// extract compares reading a large encrypted file with cp from the mounted
// image. The copy counts when it is on the disk. The plain copy has no cipher
// at all: a bound for kernels whose AES is faster than this one's.
func (b *bench) extract() error {
	secret, err := b.image("big-secret")
	if err != nil {
		return err
	}
	plain, err := b.image("big")
	if err != nil {
		return err
	}
	for _, v := range []struct {
		name string
		cold bool
	}{{"extract", false}, {"extract cold", true}} {
		ready := func(image string) error {
			if err := os.RemoveAll(b.path("out")); err != nil || !v.cold {
				return err
			}
			return evict(image)
		}
		_, err := b.race(v.name,
			side{label: "extract", run: func() (sample, error) {
				if err := ready(secret); err != nil {
					return sample{}, err
				}
				return b.extractOnce(secret)
			}},
			peer{side{label: "cp from the mount, with key", run: func() (sample, error) {
				if err := ready(secret); err != nil {
					return sample{}, err
				}
				return b.copyOut(secret, true)
			}}, 1},
			peer{side{label: "cp from the mount, plain", run: func() (sample, error) {
				if err := ready(plain); err != nil {
					return sample{}, err
				}
				return b.copyOut(plain, false)
			}}, 0})
		if err != nil {
			return err
		}
	}
	return os.RemoveAll(b.path("out"))
}

func (b *bench) extractOnce(image string) (sample, error) {
	out := b.path("out")
	return clock(func() error {
		if _, err := b.fsenc("extract", image, dirInImage, "-C", out); err != nil {
			return err
		}
		return settle(filepath.Join(out, dirInImage, "big"))
	})
}

// copyOut is cp of the large file from the mounted image.
func (b *bench) copyOut(image string, encrypted bool) (s sample, err error) {
	out := b.path("out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return s, err
	}
	err = b.mounted(image, func(root string) error {
		if encrypted {
			if _, err := linux.AddKey(root, b.raw); err != nil {
				return err
			}
		}
		s, err = clock(func() error {
			if err := b.sh("cp", filepath.Join(root, dirInImage, "big"), out); err != nil {
				return err
			}
			return settle(filepath.Join(out, "big"))
		})
		return err
	})
	return s, err
}
