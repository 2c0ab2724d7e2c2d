// Package mkimage makes the images that the kernel tests convert: every layout
// of mke2fs and mkfs.f2fs that fsenc works with, filled by the kernel. It needs
// root, e2fsprogs and f2fs-tools.
package mkimage

import "fsenc/test/linux"

// Row is one layout.
type Row struct {
	Name string
	Size int64 // bytes
	Args []string
	Ext  []string   // -E options, beside the hash seed
	Then [][]string // commands after mke2fs; the image is their last argument
	Tree linux.Tree // what the layout can hold

	// Populate lets mke2fs -d fill the image instead of the kernel.
	Populate bool
	// VM tells that this needs the virtual machine's kernel: the machine's
	// own may lack the feature.
	VM bool
}

const mib = 1 << 20

func row(name string, sizeMiB int64, blockSize int, features string, args ...string) Row {
	r := Row{Name: name, Size: sizeMiB * mib, Tree: linux.Tree{BlockSize: blockSize}}
	r.Args = append([]string{"-b", map[int]string{1024: "1024", 2048: "2048", 4096: "4096"}[blockSize]}, args...)
	if features != "" {
		r.Args = append(r.Args, "-O", features)
	}
	return r
}

func (r Row) with(change func(*Row)) Row {
	change(&r)
	return r
}

func bigXattr(size int) func(*Row) { return func(r *Row) { r.Tree.BigXattr = size } }

func triple(r *Row) { r.Tree.Triple = true }

func populated(r *Row) { r.Populate, r.Tree.NotMounted = true, true }

func hash(algorithm, flags string) func(*Row) {
	return func(r *Row) {
		r.Then = [][]string{
			{"tune2fs", "-E", "hash_alg=" + algorithm},
			{"debugfs", "-w", "-R", "ssv flags " + flags},
		}
	}
}

// Rows are the layouts. None has the encrypt feature but "preset": setting it
// is part of what is tested.
var Rows = []Row{
	row("def4k", 128, 4096, ""),
	row("preset", 64, 4096, "encrypt"),
	row("b1k", 64, 1024, ""),
	row("b2k", 64, 2048, ""),
	row("nojnl", 64, 4096, "^has_journal"),
	row("nocsum", 64, 4096, "^metadata_csum,uninit_bg"),
	row("nocsum0", 64, 4096, "^metadata_csum,^uninit_bg"),
	row("ext2ish", 64, 4096, "^has_journal,^extent,^metadata_csum,^64bit,^flex_bg,^huge_file,^dir_nlink,^extra_isize,^uninit_bg"),
	row("ext3ish", 64, 1024, "^extent,^64bit,^flex_bg").with(triple),
	row("i128", 64, 4096, "", "-I", "128"),
	row("i128x", 64, 1024, "^metadata_csum,^extent,^64bit", "-I", "128").with(triple),
	row("i512", 64, 4096, "inline_data", "-I", "512"),
	row("i1024", 64, 4096, "inline_data,ea_inode", "-I", "1024").with(bigXattr(9000)),
	row("inl", 64, 4096, "inline_data"),
	row("inl1k", 64, 1024, "inline_data,^extent,^64bit").with(triple),
	row("d1k", 32, 1024, "inline_data").with(populated),
	row("d1k512", 32, 1024, "inline_data", "-I", "512").with(populated),
	row("big", 256, 4096, "bigalloc", "-C", "16384"),
	row("big1k", 256, 1024, "bigalloc,inline_data", "-C", "65536"),
	row("metabg", 600, 1024, "meta_bg,^resize_inode,^flex_bg"),
	row("sp2", 600, 1024, "sparse_super2"),
	row("nosparse", 600, 1024, "^sparse_super,^resize_inode"),
	row("no64", 64, 4096, "^64bit"),
	row("seed", 64, 4096, "metadata_csum_seed"),
	row("ofile", 64, 4096, "orphan_file"),
	row("fc", 64, 4096, "fast_commit"),
	row("eai", 64, 4096, "ea_inode").with(bigXattr(20000)),
	row("large", 64, 1024, "large_dir"),
	row("stable", 64, 4096, "stable_inodes"),
	row("nodirx", 64, 4096, "^dir_index"),
	row("noft", 64, 1024, "^filetype"),
	row("mmp", 64, 4096, "mmp"),
	row("nogdt", 64, 4096, "^resize_inode"),
	row("hash-legacy-signed", 32, 1024, "").with(hash("legacy", "1")),
	row("hash-legacy-unsigned", 32, 1024, "").with(hash("legacy", "2")),
	row("hash-half_md4-signed", 32, 1024, "").with(hash("half_md4", "1")),
	row("hash-half_md4-unsigned", 32, 1024, "").with(hash("half_md4", "2")),
	row("hash-tea-signed", 32, 1024, "").with(hash("tea", "1")),
	row("hash-tea-unsigned", 32, 1024, "").with(hash("tea", "2")),
}

// VMRows are the layouts that need the virtual machine.
var VMRows = []Row{
	row("quota", 64, 1024, "quota,project").with(func(r *Row) {
		r.VM, r.Tree.Projects = true, true
		r.Ext = []string{"quotatype=usrquota:grpquota:prjquota"}
	}),
	row("verity", 128, 4096, "verity").with(func(r *Row) { r.VM, r.Tree.Verity = true, true }),
	row("casefold", 128, 4096, "casefold").with(func(r *Row) { r.VM, r.Tree.Casefold = true, true }),
}
