package cmd

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/survey"
)

func newInfo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "info IMAGE",
		GroupID: groupRead,
		Short:   "Show filesystem, features, journal and policies of an image",
		Long: "Show what filesystem IMAGE holds, its features, the state of its journal, which\n" +
			"policies are in use for how much, and whether a conversion is unfinished. No key\n" +
			"is needed.",
		Args:              operands("IMAGE"),
		ValidArgsFunction: completeImage,
		RunE:              func(_ *cobra.Command, args []string) error { return a.info(args[0]) },
	}
}

func (a *app) info(path string) error {
	img, err := a.openImage(path, probe.Options{AllowUnfinished: true, AllowDirty: true})
	if err != nil {
		return err
	}
	defer img.Close()
	s, err := survey.Take(a.ctx, img.fs)
	if err != nil {
		return err
	}
	if s.FirstDamage != nil {
		a.note("warning: %s damaged, the first: %v", plural(s.Damaged, "inode"), s.FirstDamage)
	}
	if a.json() {
		return a.infoJSON(img.fs, s)
	}
	return a.infoText(img.fs, s)
}

// jsonPolicy is a policy in JSON.
type jsonPolicy struct {
	Version    uint8  `json:"policy_version"`
	Key        string `json:"key"`
	Contents   string `json:"contents"`
	Filenames  string `json:"filenames"`
	Padding    int    `json:"padding"`
	Method     string `json:"method"`
	DataUnit   int    `json:"data_unit_size"`
	FlagsValue uint8  `json:"flags"`
}

// jsonUsage is a policy and what it is used for.
type jsonUsage struct {
	jsonPolicy
	Dirs     uint64 `json:"dirs"`
	Files    uint64 `json:"files"`
	Symlinks uint64 `json:"symlinks"`
	Bytes    int64  `json:"bytes"`
}

func usagesJSON(list []survey.Usage, blockSize int) []jsonUsage {
	out := make([]jsonUsage, 0, len(list))
	for _, u := range list {
		out = append(out, jsonUsage{policyJSON(u.Policy, blockSize), u.Dirs, u.Files, u.Links, u.Bytes})
	}
	return out
}

// jsonSuper is a superblock in JSON.
type jsonSuper struct {
	Filesystem   string   `json:"filesystem"`
	Layout       string   `json:"layout,omitempty"`
	Inline       string   `json:"inline_contents,omitempty"`
	UUID         string   `json:"uuid"`
	Label        string   `json:"label"`
	BlockSize    int      `json:"block_size"`
	AllocUnit    int      `json:"allocation_unit"`
	Size         int64    `json:"size"`
	Free         int64    `json:"free"`
	Inodes       uint64   `json:"inodes"`
	FreeInodes   uint64   `json:"free_inodes"`
	InodeSize    int      `json:"inode_size"`
	Features     []string `json:"features"`
	Encrypt      bool     `json:"encrypt"`
	StableInodes bool     `json:"stable_inodes"`
	Casefold     bool     `json:"casefold"`
	SubBlock     bool     `json:"sub_block_units"`
	MaxFileBits  int      `json:"max_file_bits"`
	MaxLink      int      `json:"max_link"`
	Journal      string   `json:"journal"`
	LastMounted  string   `json:"last_mounted,omitempty"`
	LastWrite    string   `json:"last_write,omitempty"`
	BootLoader   string   `json:"boot_loader,omitempty"`
	Unfinished   string   `json:"unfinished,omitempty"`
}

func superJSON(fs image.FS) jsonSuper {
	sb := fs.Super()
	unfinished := ""
	if id := fs.Unfinished(); id != ([16]byte{}) {
		unfinished = hex.EncodeToString(id[:])
	}
	return jsonSuper{
		sb.Kind, sb.Layout, sb.Inline, uuid(sb.UUID), sb.Label, sb.BlockSize, sb.AllocUnit, sb.SizeBytes, sb.FreeBytes,
		sb.Inodes, sb.FreeInodes, sb.InodeSize, sb.Features, sb.Encrypt, sb.StableInodes, sb.Casefold,
		sb.SubBlockUnits, sb.MaxFileBits, sb.MaxLinkRoom - linkOverhead, sb.JournalState, sb.LastMounted,
		jsonTime(sb.LastWrite), sb.BootLoaderHint, unfinished,
	}
}

// linkOverhead is what an encrypted symlink needs besides its target, in bytes.
const linkOverhead = 3

func (a *app) infoJSON(fs image.FS, s *survey.Survey) error {
	return a.emit(struct {
		header
		jsonSuper
		Encrypted uint64      `json:"encrypted_inodes"`
		Damaged   uint64      `json:"damaged_inodes"`
		Policies  []jsonUsage `json:"policies"`
	}{headerOf("info"), superJSON(fs), s.Encrypted(), s.Damaged, usagesJSON(s.Policies, fs.Super().BlockSize)})
}

func (a *app) infoText(fs image.FS, s *survey.Survey) error {
	t := newTable(a.out)
	for _, row := range superRows(fs.Super()) {
		t.row(row...)
	}
	if id := fs.Unfinished(); id != ([16]byte{}) {
		t.row("unfinished:", fmt.Sprintf("a conversion was interrupted (%x): run fsenc resume or fsenc undo", id))
	}
	if s.Damaged > 0 {
		t.row("damaged:", plural(s.Damaged, "inode")+": run fsenc fsck")
	}
	t.row("encrypted:", fmt.Sprintf("%d of %s", s.Encrypted(), plural(s.Inodes, "inode")))
	err := t.flush()
	if len(s.Policies) == 0 {
		return err
	}
	_, werr := fmt.Fprintln(a.out)
	return errors.Join(err, werr, a.policyTable(s.Policies, fs.Super().BlockSize))
}

// superRows is the table of what the superblock says.
func superRows(sb image.Super) [][]string {
	kind := sb.Kind
	if sb.Layout != "" {
		kind += " (" + sb.Layout + ")"
	}
	blocks := exact(int64(sb.BlockSize))
	if sb.AllocUnit != sb.BlockSize {
		blocks += ", clusters of " + exact(int64(sb.AllocUnit))
	}
	rows := [][]string{
		{"filesystem:", kind},
		{"uuid:", uuid(sb.UUID)},
		{"label:", or(sb.Label, "-")},
		{"size:", exact(sb.SizeBytes)},
		{"free:", exact(sb.FreeBytes)},
		{"blocks:", blocks},
		{"inodes:", fmt.Sprintf("%d of %d bytes, %d free", sb.Inodes, sb.InodeSize, sb.FreeInodes)},
		{"features:", strings.Join(sb.Features, " ")},
		{"journal:", or(sb.JournalState, "-")},
		{"last mounted:", or(sb.LastMounted, "-")},
		{"last write:", utc(sb.LastWrite)},
		{"encrypt feature:", yesNo(sb.Encrypt)},
	}
	if sb.Inline != "" {
		rows = append(rows, []string{"inline contents:", sb.Inline})
	}
	if sb.BootLoaderHint != "" {
		rows = append(rows, []string{"boot loader:", sb.BootLoaderHint})
	}
	return rows
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// uuid formats 16 bytes as blkid does.
func uuid(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
