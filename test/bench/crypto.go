package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"path"
	"strconv"
	"strings"
)

// crypto compares the ciphers with OpenSSL, with the libraries that have them
// and with portable code, and keys with what is wanted of them. All sides
// count CPU time of one thread, so that other work on the machine matters less.
func (b *bench) crypto() error {
	for _, f := range []func() error{b.aes, b.adiantum, b.sm4, b.hctr2, b.keySetUp, b.keyCache} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// result is the best of the runs of one Go benchmark.
type result struct {
	mb     float64 // MB a second, 0 if it is not about bytes
	ns     float64 // an operation
	allocs float64 // an operation
}

type results map[string]result

const modes = "./internal/crypt/modes/"

// sets are the code paths beside the portable one, as package isa names them.
var sets = []string{"aes-ni", "vaes-avx2", "vaes-avx512"}

// aes runs the comparison of XTS and CBC with openssl speed that lies beside
// the kernels. "one" is a call for each unit, as openssl speed measures.
func (b *bench) aes() error {
	out, err := exec.CommandContext(b.ctx, modes+"bench.sh", strconv.Itoa(b.rounds)).Output()
	if err != nil {
		return fmt.Errorf("bench.sh: %w", err)
	}
	speed := make(map[string]float64)
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) >= 3 && f[2] == "MB/s" {
			if speed[f[0]], err = strconv.ParseFloat(f[1], 64); err != nil {
				return fmt.Errorf("bench.sh: %w", err)
			}
		}
	}
	for _, set := range sets {
		for _, unit := range []string{"4096", "512"} {
			for _, dir := range []string{"encrypt", "decrypt"} {
				ours := speed[strings.Join([]string{"BenchmarkUnits", set, dir, unit, "one"}, "/")]
				b.faster("AES-256-XTS", set+", "+dir+" "+unit, ours, "openssl", speed["openssl/"+dir+"/"+unit], barXTS(set, unit))
			}
		}
	}
	for _, set := range sets {
		b.faster("AES-128-CBC", set+", decrypt 4096", speed["BenchmarkCBC/"+set+"/decrypt"], "openssl", speed["openssl/cbc/decrypt"], 0.8)
	}
	return nil
}

func barXTS(set, unit string) float64 {
	switch {
	case unit == "512":
		return 0.8
	case set == "aes-ni":
		return 1
	}
	return 1.5
}

func (b *bench) adiantum() error {
	r, err := b.goBench(modes+"adiantum", "Adiantum", "200ms")
	for _, unit := range []string{"4096", "512"} {
		for _, dir := range []string{"encrypt", "decrypt"} {
			b.faster("Adiantum", dir+" "+unit, r["Adiantum/"+dir+"/"+unit].mb, "library, encrypt", r["Adiantum/library/"+unit].mb, 1)
		}
	}
	return err
}

func (b *bench) sm4() error {
	r, err := b.goBench(modes+"sm4xts", "SM4XTS", "200ms")
	for _, unit := range []string{"4096", "512"} {
		for _, dir := range []string{"encrypt", "decrypt"} {
			b.faster("SM4-XTS", dir+" "+unit, r["SM4XTS/"+dir+"/"+unit].mb, "library, prepared keys", r["SM4XTS/library-prepared/"+unit].mb, 1)
		}
	}
	return err
}

// hctr2 compares names with the portable code of the same package.
func (b *bench) hctr2() error {
	r, err := b.goBench(modes+"hctr2", "Names/(generic|aes|vaes)", "200ms")
	for _, set := range sets {
		for _, size := range []string{"16", "64", "255"} {
			for _, dir := range []string{"encrypt", "decrypt"} {
				ours := r["Names/"+set+"/"+dir+"/"+size]
				if ours.allocs > 0 {
					return fmt.Errorf("HCTR2 of %s bytes allocates", size)
				}
				b.faster("AES-256-HCTR2", set+", "+dir+" "+size, ours.mb, "portable Go", r["Names/generic/"+dir+"/"+size].mb, 2)
			}
		}
	}
	return err
}

const keysWanted = 500_000 // a second

// keySetUp derives and expands the key of a file again and again.
func (b *bench) keySetUp() error {
	r, err := b.goBench("./internal/crypt", "KeySetUp", "200ms")
	for _, mode := range []string{"AES-256-XTS", "AES-128-CBC", "AES-256-CTS", "AES-256-HCTR2"} {
		k := r["KeySetUp/"+mode]
		if k.ns == 0 {
			continue
		}
		if k.allocs > 0 {
			return fmt.Errorf("key set-up for %s allocates", mode)
		}
		perSecond := 1e9 / k.ns
		bar := 0.0
		if mode == "AES-256-XTS" || mode == "AES-128-CBC" {
			bar = 1
		}
		b.report.row(row{Name: "key set-up", Ours: mode, Value: perSecond, Unit: "a second", Peer: "wanted",
			PeerValue: keysWanted, Ratio: perSecond / keysWanted, Bar: bar, AtLeast: true})
	}
	return err
}

// keyCache asks the cache for a million keys, each of another nonce, and
// compares the memory with that for a thousand.
func (b *bench) keyCache() error {
	binary, err := b.testBinary("./internal/crypt")
	if err != nil {
		return err
	}
	resident := func(n string) (int64, error) {
		s, err := b.command(binary, "-test.run", "^$", "-test.bench", "Cache/miss", "-test.benchtime", n+"x")
		return s.resident, err
	}
	few, err := resident("1000")
	if err != nil {
		return err
	}
	most, err := resident("1000000")
	if err != nil {
		return err
	}
	const mib = 1 << 20
	b.report.row(row{Name: "key cache", Ours: "1,000,000 nonces, resident", Value: float64(most) / mib, Unit: "MiB",
		Peer: "1,000 nonces", PeerValue: float64(few) / mib, Ratio: float64(most) / float64(few), Bar: 1.1})
	return nil
}

// faster reports a speed beside that of a peer.
func (b *bench) faster(name, label string, ours float64, who string, theirs, bar float64) {
	if ours == 0 { // this processor does not have the instructions
		return
	}
	b.report.row(row{Name: name, Ours: label, Value: ours, Unit: "MB/s", Peer: who, PeerValue: theirs,
		Ratio: ours / theirs, Bar: bar, AtLeast: true})
}

// testBinary compiles the benchmarks of a package.
func (b *bench) testBinary(pkg string) (string, error) {
	out := b.path(path.Base(pkg) + ".test")
	return out, b.sh("go", "test", "-c", "-o", out, pkg)
}

// goBench runs benchmarks that report CPU time and takes the best of each.
func (b *bench) goBench(pkg, pattern, benchtime string) (results, error) {
	binary, err := b.testBinary(pkg)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(b.ctx, binary, "-test.run", "^$", "-test.bench", pattern,
		"-test.benchtime", benchtime, "-test.count", strconv.Itoa(b.rounds)).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pkg, err)
	}
	return parseBench(out), nil
}

// parseBench reads lines such as "BenchmarkX/a-2  100  5.0 cpu-ns/op  0 allocs/op".
func parseBench(out []byte) results {
	all := make(results)
	for line := range bytes.Lines(out) {
		f := strings.Fields(string(line))
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		name = name[:max(strings.LastIndex(name, "-"), 0)] // without the number of cores
		best, seen := all[name]
		var r result
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				continue
			}
			switch f[i+1] {
			case "MB/cpu-s":
				r.mb = v
			case "cpu-ns/op":
				r.ns = v
			case "allocs/op":
				r.allocs = v
			}
		}
		if !seen || r.ns < best.ns {
			all[name] = r
		}
	}
	return all
}
