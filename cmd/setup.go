package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/keystore"
	"fsenc/internal/survey"
)

// setupOptions are the flags of setup.
type setupOptions struct {
	features   []string
	noMetadata bool
	allUsers   bool
	remove     bool
	keys       keyFlags // with remove, to move contents out of inodes
	anyFeature bool     // with remove: none was named
}

func newSetup(a *app) *cobra.Command {
	var o setupOptions
	c := &cobra.Command{
		Use:     "setup IMAGE",
		GroupID: groupSetup,
		Short:   "Prepare an image for encryption, or take that back",
		Long: "Set the features that encryption needs and make the directory .fscrypt that keys\n" +
			"are kept in, as fscrypt setup does. Setting a feature makes older kernels and boot\n" +
			"loaders refuse the filesystem; which ones is said before anything is written.\n\n" +
			"With --remove the features that no inode needs any more are cleared, and .fscrypt is\n" +
			"removed when no tree is encrypted. Clearing encrypted_inline_data moves contents out\n" +
			"of inodes first, which needs the keys.",
		Args:              operands("IMAGE"),
		ValidArgsFunction: completeImage,
		RunE: func(c *cobra.Command, args []string) error {
			if o.remove {
				o.anyFeature = !c.Flags().Changed("feature")
				return a.unsetup(&o, args[0])
			}
			return a.setup(&o, args[0])
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.features, "feature", []string{feature.Encrypt}, "set each `FEATURE` of the list: encrypt, stable_inodes, encrypted_inline_data; with --remove clear those, all if none is named")
	f.BoolVar(&o.noMetadata, "no-metadata", false, "leave .fscrypt alone: keys are kept elsewhere")
	f.BoolVar(&o.allUsers, "all-users", false, "let every user keep keys in .fscrypt, not just the owner of the root directory")
	f.BoolVar(&o.remove, "remove", false, "clear what no inode needs any more")
	o.keys.register(f)
	return c
}

// setupResult is what setup did, in JSON.
type setupResult struct {
	header
	Image    string   `json:"image"`
	DryRun   bool     `json:"dry_run"`
	Set      []string `json:"set"`
	Cleared  []string `json:"cleared"`
	Metadata string   `json:"metadata"` // made, removed, kept, none
	MovedOut uint64   `json:"moved_out,omitempty"`
	Warnings []string `json:"warnings"`
}

func (a *app) setup(o *setupOptions, path string) error {
	img, err := a.openImage(path, probe.Options{Write: true})
	if err != nil {
		return err
	}
	defer img.Close()
	sb := img.fs.Super()
	if err := feature.Check(sb, o.features); err != nil {
		return err
	}
	r := setupResult{header: headerOf("setup"), Image: path, DryRun: a.flags.dryRun, Set: missing(sb, o.features),
		Cleared: []string{}, Metadata: "none", Warnings: feature.Warnings(sb, o.features)}
	_, err = keystore.Load(img.fs)
	switch {
	case err == nil:
		r.Metadata = "kept"
	case !errors.Is(err, keystore.ErrNotSetUp) && !o.noMetadata:
		return err
	case !o.noMetadata:
		r.Metadata = "made"
	}
	if len(r.Set) == 0 && r.Metadata != "made" {
		return a.setupDone(r)
	}
	for _, w := range r.Warnings {
		a.warn("%s", w)
	}
	if !a.flags.dryRun {
		if err := a.confirm("Set up " + escapeString(path) + " for encryption?"); err != nil {
			return err
		}
	}
	if err := a.edit(img, func(fs image.FS) error { return setUp(fs, r, o.allUsers) }); err != nil {
		return err
	}
	return a.setupDone(r)
}

// missing lists the features that are not set yet.
func missing(sb image.Super, features []string) []string {
	out := []string{}
	for _, f := range features {
		if !slices.Contains(sb.Features, f) && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// setUp stages what r says. Metadata belongs to who owns the root directory.
func setUp(fs image.FS, r setupResult, allUsers bool) error {
	if len(r.Set) > 0 {
		if err := fs.SetFeatures(r.Set, nil); err != nil {
			return err
		}
	}
	if r.Metadata != "made" {
		return nil
	}
	root, err := fs.Stat(fs.Root())
	if err != nil {
		return err
	}
	return keystore.Setup(fs, keystore.SetupOptions{AllUsers: allUsers, UID: root.UID, GID: root.GID})
}

func (a *app) setupDone(r setupResult) error {
	if a.json() {
		return a.emit(r)
	}
	var done []string
	if len(r.Set) > 0 {
		done = append(done, "set "+strings.Join(r.Set, ", "))
	}
	if len(r.Cleared) > 0 {
		done = append(done, "cleared "+strings.Join(r.Cleared, ", "))
	}
	switch r.Metadata {
	case "made", "removed":
		done = append(done, r.Metadata+" .fscrypt")
	}
	text := strings.Join(done, ", ")
	switch {
	case text == "":
		text = "nothing to do: set up already"
		if r.Command == "setup --remove" {
			text = "nothing to do: nothing is set up"
		}
	case r.DryRun:
		text = "would have " + text
	}
	_, err := fmt.Fprintln(a.out, text)
	return err
}

// unsetup clears what no inode needs.
func (a *app) unsetup(o *setupOptions, path string) error {
	x, err := a.openWriting(path, &o.keys)
	if err != nil {
		return err
	}
	defer x.Close()
	img := x.opened
	sb := img.fs.Super()
	if o.anyFeature {
		o.features = feature.Settable(sb.Kind)
	} else if err := feature.Check(sb, o.features); err != nil {
		return err
	}
	s, err := survey.Take(a.ctx, img.fs)
	if err != nil {
		return err
	}
	if s.FirstDamage != nil {
		return fmt.Errorf("what the inodes need is not certain: %w", s.FirstDamage)
	}
	r, kept, err := planRemoval(img.fs, s, o)
	if err != nil {
		return err
	}
	r.Image, r.DryRun = path, a.flags.dryRun
	if kept != nil && len(r.Cleared) == 0 {
		return &refusal{err: fmt.Errorf("%w: %w", errRefused, kept), hint: "fsenc info IMAGE shows what is encrypted, fsenc decrypt-dir decrypts it"}
	}
	if len(r.Cleared) == 0 && r.Metadata != "removed" {
		return a.setupDone(r)
	}
	if kept != nil {
		a.note("%v: it stays", kept)
	}
	for _, w := range r.Warnings {
		a.warn("%s", w)
	}
	return x.carryOutRemoval(r)
}

// carryOutRemoval asks and does what r says. Contents leave the inodes before
// the feature that tells of them does: what is interrupted can be begun again.
func (x *access) carryOutRemoval(r setupResult) error {
	a := x.app
	var inline []image.Ino
	if slices.Contains(r.Cleared, feature.EncryptedInlineData) {
		var err error
		if inline, err = x.inlineFiles(); err != nil {
			return err
		}
	}
	if r.MovedOut = uint64(len(inline)); r.MovedOut > 0 {
		a.note("the contents of %s move out of the inode into blocks (%s)", plural(r.MovedOut, "file"), x.fs.Super().Inline)
	}
	if !a.flags.dryRun {
		if err := a.confirm("Take the setup of " + escapeString(r.Image) + " back?"); err != nil {
			return err
		}
		if err := x.moveOut(inline); err != nil {
			return err
		}
	}
	if err := a.edit(x.opened, func(fs image.FS) error { return takeBack(fs, r) }); err != nil {
		return err
	}
	return a.setupDone(r)
}

// planRemoval finds out what can go. kept says why something has to stay, nil
// if all can go.
func planRemoval(fs image.FS, s *survey.Survey, o *setupOptions) (r setupResult, kept error, err error) {
	sb := fs.Super()
	r = setupResult{header: headerOf("setup --remove"), Set: []string{}, Cleared: []string{}, Metadata: "none", Warnings: []string{}}
	for _, f := range o.features {
		switch {
		case !slices.Contains(sb.Features, f):
		case f == feature.Encrypt && sb.Inline != "" && !slices.Contains(o.features, feature.EncryptedInlineData):
			kept = fmt.Errorf("the feature %s is needed by %s", f, feature.EncryptedInlineData)
		case f != feature.EncryptedInlineData && neededBy(s, f) > 0:
			kept = fmt.Errorf("the feature %s is needed by %s", f, plural(neededBy(s, f), "inode"))
		default:
			r.Cleared = append(r.Cleared, f)
		}
	}
	store, err := keystore.Load(fs)
	if errors.Is(err, keystore.ErrNotSetUp) {
		return r, kept, nil
	}
	if err != nil {
		return r, kept, err
	}
	r.Metadata = "kept"
	if !o.noMetadata && s.Encrypted() == 0 && kept == nil {
		r.Metadata = "removed"
		if n := len(store.Policies) + len(store.Protectors); n > 0 {
			r.Warnings = append(r.Warnings, fmt.Sprintf(".fscrypt goes with %s and %s: backups that need these keys can no longer be read",
				plural(len(store.Policies), "policy"), plural(len(store.Protectors), "protector")))
		}
	}
	return r, kept, nil
}

// neededBy counts the inodes that a feature is for.
func neededBy(s *survey.Survey, name string) uint64 {
	var n uint64
	for _, u := range s.Policies {
		inos := u.Policy.Flags&(policy.FlagIVInoLblk64|policy.FlagIVInoLblk32) != 0
		if name != feature.StableInodes || inos {
			n += u.Dirs + u.Files + u.Links
		}
	}
	return n
}

// takeBack stages what r says.
func takeBack(fs image.FS, r setupResult) error {
	if r.Metadata == "removed" {
		store, err := keystore.Load(fs)
		if err != nil {
			return err
		}
		if err := store.RemoveAll(); err != nil {
			return err
		}
	}
	if len(r.Cleared) == 0 {
		return nil
	}
	return fs.SetFeatures(nil, r.Cleared)
}
