// Command bench measures fsenc beside its peers on this machine, in turn and in
// one run, and prints the ratios that BENCHMARKS.md records. It exits with 1
// when a ratio misses its bar.
//
//	go run ./test/bench                 everything
//	go run ./test/bench -list           what there is
//	go run ./test/bench tree big fsck   some of it
//
// It needs root, e2fsprogs, f2fs-tools, btrfs-progs, openssl, cryptsetup, a kernel with ext4 encryption, and
// 20 GB for a moment in the scratch directory, which should not be in memory.
// Peers and fsenc start with what they read in the page cache, unless the row
// says cold; what they write counts until it is on the disk.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// measurement is one subject of comparison, chosen by its name.
type measurement struct {
	name, about string
	images      []string // that it uses; see images.go
	run         func(*bench) error
}

// all is in the order in which they run: what shares images is together.
var all = []measurement{
	{"tree", "encrypt the Go source tree, beside cp -a into an encrypted directory", nil, (*bench).tree},
	{"big", "encrypt a large file, beside dd over the same bytes", []string{"big"}, (*bench).big},
	{"luks", "encrypt a large file, beside cryptsetup reencrypt", []string{"big"}, (*bench).luks},
	{"extract", "extract a large file, beside cp from the mounted image", []string{"big", "big-secret"}, (*bench).extract},
	{"many", "encrypt very many small files, time for each beside few", []string{"few", "many"}, (*bench).many},
	{"fsck", "check an image of very many files, beside e2fsck -fn", []string{"many", "many-secret"}, (*bench).fsck},
	{"names", "encrypt a directory of very many names, beside few", []string{"few-names", "many-names"}, (*bench).names},
	{"sparse", "encrypt a sparse file of 1 TiB in an image of 8 TiB", nil, (*bench).sparse},
	{"f2fs", "encrypt the Go source tree on f2fs, beside the same tree on ext4", nil, (*bench).f2fs},
	{"btrfs", "encrypt the Go source tree on btrfs, beside the same tree on ext4", nil, (*bench).btrfs},
	{"btrfs-extract", "extract the Go source tree from btrfs, beside btrfs restore", nil, (*bench).btrfsExtract},
	{"btrfs-extents", "keys at hand for a file of 100,000 extents", nil, (*bench).btrfsExtents},
	{"inline-space", "blocks of 10,000 small files on f2fs, with encrypted inline data beside without", nil, (*bench).inlineSpace},
	{"crypto", "ciphers and keys on one core, beside OpenSSL and libraries", nil, (*bench).crypto},
}

// bench is one run of measurements in a scratch directory.
type bench struct {
	ctx    context.Context
	bin    string // fsenc
	source string // the tree of the measurement "tree"
	dir    string // scratch
	raw    []byte // the master key, and the file that holds it
	key    string
	rounds int
	scale  scale
	keep   bool
	report *report
}

// scale is how large the large things are.
type scale struct {
	bytes int64 // of the large file
	many  int   // files, names
	few   int
}

func main() {
	b := &bench{report: &report{}}
	flag.StringVar(&b.bin, "fsenc", "bin/fsenc", "the program to measure")
	flag.StringVar(&b.source, "tree", goSource(), "the tree to convert")
	flag.IntVar(&b.rounds, "rounds", 3, "times that each side runs; the best counts")
	flag.BoolVar(&b.report.json, "json", false, "print a JSON object a line")
	dir := flag.String("dir", os.TempDir(), "where the scratch directory is made")
	gib := flag.Float64("gib", 4, "GiB of the large file")
	flag.IntVar(&b.scale.many, "many", 1_000_000, "files, or names, that are very many")
	flag.BoolVar(&b.keep, "keep", false, "leave the scratch directory with its images")
	list := flag.Bool("list", false, "list the measurements")
	flag.Parse()
	b.scale.bytes, b.scale.few = int64(*gib*(1<<30)), b.scale.many/100
	if *list {
		for _, m := range all {
			fmt.Printf("%-14s %s\n", m.name, m.about)
		}
		return
	}
	// Ctrl-C ends the command that runs; what is mounted is then unmounted.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	b.ctx = ctx
	missed, err := b.runAll(*dir, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || missed > 0 {
		os.Exit(1)
	}
}

// runAll makes the scratch directory and runs the measurements that are named,
// or all, and returns how many bars were missed.
func (b *bench) runAll(parent string, names []string) (missed int, err error) {
	chosen, err := choose(names)
	if err != nil {
		return 0, err
	}
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return 0, err
	}
	if b.dir, err = os.MkdirTemp(parent, "fsenc-bench"); err != nil {
		return 0, err
	}
	if !b.keep {
		defer func() { err = joinRemove(err, b.dir) }()
	}
	if err := b.makeKey(); err != nil {
		return 0, err
	}
	if err := b.report.begin(b.dir); err != nil {
		return 0, err
	}
	for i, m := range chosen {
		start := time.Now()
		if err := m.run(b); err != nil {
			return b.report.missed, fmt.Errorf("%s: %w", m.name, err)
		}
		b.report.progress("%s took %v", m.name, time.Since(start).Round(time.Second))
		if !b.keep {
			b.dropImages(m, chosen[i+1:])
		}
	}
	b.report.end()
	return b.report.missed, nil
}

func joinRemove(err error, dir string) error {
	if e := os.RemoveAll(dir); err == nil {
		return e
	}
	return err
}

// choose finds measurements by name; no names choose all of them.
func choose(names []string) ([]measurement, error) {
	for _, n := range names {
		if !slices.ContainsFunc(all, func(m measurement) bool { return m.name == n }) {
			return nil, fmt.Errorf("no measurement %q; -list lists them", n)
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(m measurement) bool { return !slices.Contains(names, m.name) }), nil
}

// makeKey writes the master key of all measurements.
func (b *bench) makeKey() error {
	b.raw = make([]byte, 64)
	for i := range b.raw {
		b.raw[i] = byte(i + 1)
	}
	b.key = filepath.Join(b.dir, "key")
	return os.WriteFile(b.key, b.raw, 0o600)
}

// goSource is the Go source tree, empty if the go command cannot tell.
func goSource() string {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return ""
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src")
}
