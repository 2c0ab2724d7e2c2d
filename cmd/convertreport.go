package cmd

import (
	"errors"
	"fmt"

	"fsenc/internal/convert"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/txn"
)

// jsonConversion is a plan, or what became of it, in JSON.
type jsonConversion struct {
	header
	Image     string       `json:"image"`
	Paths     []jsonPath   `json:"paths"`
	Policies  []jsonPolicy `json:"policies"`
	Target    *jsonPolicy  `json:"new_policy,omitempty"`
	Files     uint64       `json:"files"`
	Dirs      uint64       `json:"dirs"`
	Symlinks  uint64       `json:"symlinks"`
	Others    uint64       `json:"others"`
	Skipped   uint64       `json:"skipped"`
	Names     uint64       `json:"names"`
	Inline    uint64       `json:"inline"`
	MovedOut  uint64       `json:"moved_out"`
	Format    string       `json:"inline_contents,omitempty"` // of what is inside of inodes
	Bytes     int64        `json:"bytes"`
	NeedBytes int64        `json:"need_bytes"`
	FreeBytes int64        `json:"free_bytes"`
	Journal   string       `json:"journal"`
	State     string       `json:"state"` // planned; begun; done; done, not verified; nothing to do
	Verified  bool         `json:"verified"`
}

func (v *conversion) result(state string) error {
	t := v.plan.Totals
	if !v.app.json() {
		return v.text(state)
	}
	r := jsonConversion{
		header: headerOf(v.command), Image: v.path, Files: t.Files, Dirs: t.Dirs, Symlinks: t.Links,
		Others: t.Others, Skipped: t.Skipped, Names: t.Names, Inline: t.Inline, MovedOut: t.MovedOut, Format: v.plan.Super().Inline, Bytes: t.Bytes, NeedBytes: t.NeedBytes,
		FreeBytes: t.FreeBytes, Journal: v.log, State: state, Verified: state == "done",
		Policies: []jsonPolicy{}, Paths: []jsonPath{},
	}
	for _, p := range v.plan.Policies {
		r.Policies = append(r.Policies, policyJSON(p, v.plan.Super().BlockSize))
	}
	if v.plan.Target != nil {
		p := policyJSON(*v.plan.Target, v.plan.Super().BlockSize)
		r.Target = &p
	}
	for _, p := range v.plan.Tops {
		r.Paths = append(r.Paths, pathOf(p.Path))
	}
	return v.app.emit(r)
}

// text prints the result after the plan, which went to stderr, or stands for
// the result of a dry run.
func (v *conversion) text(state string) error {
	if state == "planned" {
		return v.describe(v.app.out.Write)
	}
	t := v.plan.Totals
	verb := map[convert.Op]string{convert.Encrypt: "encrypted", convert.Decrypt: "decrypted", convert.Rekey: "rekeyed"}[v.plan.Op]
	var err error
	switch state {
	case "nothing to do":
		_, err = fmt.Fprintf(v.app.out, "nothing to do: %s as wanted already\n", plural(t.Skipped, "inode"))
	case "begun":
		_, err = fmt.Fprintf(v.app.out, "begun, nothing converted: fsenc resume %s goes on\n", v.app.operand())
	default:
		verified := "read back from the image, every name decodes and every inode has its new form"
		if state != "done" {
			verified = "no: fsenc fsck " + v.app.operand() + " does it"
		}
		_, err = fmt.Fprintf(v.app.out, "%s %s, %s, %s, %s of contents\nverified: %s\n", verb,
			plural(t.Files, "file"), plural(t.Dirs, "directory"), plural(t.Links, "symlink"), iec(t.Bytes), verified)
		err = errors.Join(err, v.howToTest())
	}
	return err
}

// describe prints what is going to be done.
func (v *conversion) describe(write func([]byte) (int, error)) error {
	t, sb := v.plan.Totals, v.plan.Super()
	tab := newTable(writerFunc(write))
	tab.row("image:", v.path)
	tab.row("filesystem:", sb.Kind+", "+uuid(sb.UUID))
	if sb.Layout != "" {
		tab.row("layout:", sb.Layout)
	}
	for _, top := range v.plan.Tops {
		tab.row(v.plan.Op.String()+":", top.Path)
	}
	tab.row("contains:", fmt.Sprintf("%s, %s, %s, %s", plural(t.Files, "file"), plural(t.Dirs, "directory"),
		plural(t.Links, "symlink"), iec(t.Bytes)))
	if t.Inline > 0 {
		tab.row("inside of inodes:", plural(t.Inline, "file")+", "+sb.Inline)
	}
	if t.MovedOut > 0 {
		tab.row("out of inodes:", plural(t.MovedOut, "file")+", into blocks: "+v.whyOut())
	}
	if t.Skipped > 0 {
		tab.row("left alone:", plural(t.Skipped, "inode")+", as wanted already")
	}
	for _, p := range v.plan.Policies {
		tab.row("policy:", policyWords(p, sb.BlockSize))
	}
	if v.plan.Target != nil {
		tab.row("new policy:", policyWords(*v.plan.Target, sb.BlockSize))
	}
	if t.SharedBytes > 0 {
		tab.row("shared:", fmt.Sprintf("%s, %s, are copied first; who else has them keeps the plaintext", plural(uint64(len(v.plan.Shared)), "extent"), iec(t.SharedBytes)))
	}
	tab.row("space:", fmt.Sprintf("%s at most, %s free", iec(t.NeedBytes), iec(t.FreeBytes)))
	if v.copy != nil {
		tab.row("copy:", v.o.copyTo+" gets the result, "+v.path+" stays as it is")
		return tab.flush()
	}
	tab.row("journal:", fmt.Sprintf("%s, %s, contents by %s", v.log, v.journalSize(), v.plan.Method()))
	tab.row("undo:", "possible until it is finished: fsenc undo "+v.app.operand())
	if v.plan.Op == convert.Decrypt {
		tab.row("note:", "the journal holds plaintext while this runs; it is overwritten in the end")
	}
	if v.plan.Op != convert.Decrypt && !v.file.Device() {
		tab.row("note:", "what the host keeps outside of the file (flash, snapshots) is not reached: --copy-to writes a new one")
	}
	return tab.flush()
}

// whyOut tells why files cannot stay inside of their inodes.
func (v *conversion) whyOut() string {
	to := v.plan.Policies[0]
	if v.plan.Target != nil {
		to = *v.plan.Target
	}
	switch sb := v.plan.Super(); {
	case sb.Inline == "":
		return "there is no encrypted_inline_data"
	case !feature.KeepsInline(sb, to):
		return "only with inode numbers in the IV is " + sb.Inline + " read by all mounts"
	}
	return "empty, or no room beside the context"
}

func policyWords(p policy.Policy, blockSize int) string {
	return fmt.Sprintf("v%d, %s, %s, key %s", p.Version, policyModes(p), policyFlags(p, blockSize), p.KeySpec())
}

// journalSize is about how large the journal becomes.
func (v *conversion) journalSize() string {
	n := int64(8 << 20)
	if v.plan.Method() == txn.Journal {
		n += min(3*64<<20, 2*v.plan.Totals.Bytes)
	}
	return "up to about " + iec(n)
}

// writerFunc makes a function an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
