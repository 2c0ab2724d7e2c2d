package cmd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/keystore"
)

// policyFlags are the flags that make a policy.
type policyFlagSet struct {
	contents    string
	filenames   string
	padding     int
	directKey   bool
	ivInoLblk64 bool
	ivInoLblk32 bool
	dataUnit    int
	flags       *pflag.FlagSet
}

func (o *policyFlagSet) register(f *pflag.FlagSet) {
	f.StringVar(&o.contents, "contents", "AES-256-XTS", "encrypt contents with `MODE`")
	f.StringVar(&o.filenames, "filenames", "AES-256-CTS", "encrypt names with `MODE`")
	f.IntVar(&o.padding, "padding", 32, "pad names to a multiple of `N` bytes: 4, 8, 16 or 32")
	f.BoolVar(&o.directKey, "direct-key", false, "one key per mode, nonce in the IV (Adiantum)")
	f.BoolVar(&o.ivInoLblk64, "iv-ino-lblk-64", false, "one key per mode, inode number in the IV")
	f.BoolVar(&o.ivInoLblk32, "iv-ino-lblk-32", false, "one key per mode, hash of the inode number in the IV")
	f.IntVar(&o.dataUnit, "data-unit-size", 0, "encrypt contents in units of `N` bytes instead of blocks")
	o.flags = f
}

// changed names a flag that was given, empty if none was.
func (o *policyFlagSet) changed() string {
	for _, name := range []string{"contents", "filenames", "padding", "direct-key", "iv-ino-lblk-64", "iv-ino-lblk-32", "data-unit-size"} {
		if o.flags.Changed(name) {
			return name
		}
	}
	return ""
}

// policy builds the policy that the flags describe, for the key with id.
func (o *policyFlagSet) policy(id policy.Identifier) (policy.Policy, error) {
	p := policy.Policy{Version: 2, Identifier: id}
	var err error
	if p.Contents, err = policy.ParseMode(o.contents); err != nil {
		return p, usagef("--contents: %v", err)
	}
	if p.Filenames, err = policy.ParseMode(o.filenames); err != nil {
		return p, usagef("--filenames: %v", err)
	}
	switch o.padding {
	case 4, 8, 16, 32:
		for 4<<p.Flags < o.padding {
			p.Flags++
		}
	default:
		return p, usagef("--padding: %d is none of 4, 8, 16, 32", o.padding)
	}
	for _, f := range []struct {
		set bool
		bit uint8
	}{{o.directKey, policy.FlagDirectKey}, {o.ivInoLblk64, policy.FlagIVInoLblk64}, {o.ivInoLblk32, policy.FlagIVInoLblk32}} {
		if f.set {
			p.Flags |= f.bit
		}
	}
	if o.dataUnit != 0 {
		for 1<<p.Log2DataUnitSize < o.dataUnit {
			p.Log2DataUnitSize++
		}
		if 1<<p.Log2DataUnitSize != o.dataUnit {
			return p, usagef("--data-unit-size: %d is no power of two", o.dataUnit)
		}
	}
	return p, nil
}

// encryptOptions are the flags of encrypt-dir.
type encryptOptions struct {
	convertOptions
	policy policyFlagSet
	wipe   bool
}

func newEncryptDir(a *app) *cobra.Command {
	var o encryptOptions
	c := &cobra.Command{
		Use:     "encrypt-dir IMAGE PATH...",
		GroupID: groupConvert,
		Short:   "Encrypt directories and all they contain, in place",
		Long: "Encrypt each directory PATH inside an image with everything below it: names, file\n" +
			"contents and symlink targets. The plan is shown first; nothing is written before it\n" +
			"is confirmed. The key is a policy of the image's .fscrypt (--key-id), or a raw master\n" +
			"key (--key-file). An interruption loses nothing: fsenc resume or fsenc undo goes on\n" +
			"from where it was. Afterwards free blocks, slack and the filesystem's journal are\n" +
			"zeroed, so that no plaintext of the tree is left in the image.",
		Args:              operands("IMAGE", "PATH..."),
		ValidArgsFunction: a.completePaths(&o.keys, true),
		RunE:              func(_ *cobra.Command, args []string) error { return a.encryptDir(&o, args[0], args[1:]) },
	}
	f := c.Flags()
	o.register(f)
	o.policy.register(f)
	f.BoolVar(&o.wipe, "wipe", true, "zero what may hold remains of the plaintext")
	return c
}

// register adds the flags that all conversions have.
func (o *convertOptions) register(f *pflag.FlagSet) {
	o.keys.register(f)
	f.StringVar(&o.log, "journal", "", "keep the journal in `FILE` instead of IMAGE.fsenc")
	f.BoolVar(&o.initOnly, "init-only", false, "record the plan and mark the image; fsenc resume does the work")
}

func (a *app) encryptDir(o *encryptOptions, image string, paths []string) error {
	if err := checkPaths(paths...); err != nil {
		return err
	}
	if _, err := o.policy.policy(policy.Identifier{}); err != nil {
		return err
	}
	x, err := a.openWriting(image, &o.keys)
	if err != nil {
		return err
	}
	defer x.Close()
	pol, err := x.choosePolicy(&o.policy)
	if err != nil {
		return err
	}
	tops, err := x.tops(paths)
	if err != nil {
		return err
	}
	log, err := logPath(image, o.log)
	if err != nil {
		return err
	}
	opts := convert.Options{Keys: x.ring, Wipe: o.wipe, OutsideLinks: a.forced(convert.OutsideLinks)}
	p, err := convert.PlanEncrypt(a.ctx, x.fs, tops, pol, opts)
	if err != nil {
		return a.refusals(err)
	}
	return (&conversion{access: x, command: "encrypt-dir", plan: p, log: log, opts: opts}).carryOut(o.initOnly)
}

// refusals lists all that stands in the way of a plan before it becomes the
// error.
func (a *app) refusals(err error) error {
	var r *convert.RefusedError
	if !errors.As(err, &r) {
		return err
	}
	for _, one := range r.Refusals[1:] {
		a.say("", "%s: %s: inode %d: %s", a.image, escapeString(one.Path), one.Ino, one.Why)
	}
	if check := r.Check(); check != "" {
		return refuse(check, err)
	}
	return err
}

// choosePolicy finds out which key to encrypt with, and makes sure that it is
// in the ring.
func (x *access) choosePolicy(flags *policyFlagSet) (policy.Policy, error) {
	store, err := keystore.Load(x.fs)
	if err != nil && !errors.Is(err, keystore.ErrNotSetUp) {
		return policy.Policy{}, err
	}
	id, err := x.chosenID(store)
	if err != nil {
		return policy.Policy{}, err
	}
	if store != nil {
		known, err := store.Policy(id)
		if err == nil {
			return x.knownPolicy(known, flags)
		}
		if !errors.Is(err, keystore.ErrNotFound) {
			return policy.Policy{}, err
		}
	}
	for _, key := range x.ring.Keys() {
		if strings.HasPrefix(key.Identifier().String(), id) {
			return flags.policy(key.Identifier())
		}
	}
	return policy.Policy{}, &hinted{
		fmt.Errorf("%w: no policy %q in .fscrypt, and none of the given keys has that identifier", crypt.ErrNoKey, id),
		"fsenc key list IMAGE shows the policies, fsenc key add IMAGE makes one",
	}
}

// chosenID is the key identifier, or the start of it, that the flags name.
func (x *access) chosenID(store *keystore.Store) (string, error) {
	keys := x.ring.Keys()
	switch {
	case x.k.keyID != "":
		return x.k.keyID, nil
	case len(keys) == 1:
		return keys[0].Identifier().String(), nil
	case len(keys) > 1:
		return "", usagef("several keys were given: say with --key-id which one to encrypt with")
	case store != nil && len(store.Policies) == 1:
		return store.Policies[0].ID, nil
	}
	e := usagef("which key to encrypt with? say --key-id or --key-file")
	e.hint = "fsenc key add IMAGE makes a key, fsenc key list IMAGE shows those that are there"
	return "", e
}

// knownPolicy takes modes and padding from the metadata: fscrypt refuses a
// directory that differs from it.
func (x *access) knownPolicy(known *keystore.Policy, flags *policyFlagSet) (policy.Policy, error) {
	p := known.Policy()
	if name := flags.changed(); name != "" {
		want, err := flags.policy(p.Identifier)
		if err != nil {
			return p, err
		}
		if want != p {
			e := usagef("--%s: .fscrypt says %s, %s for the policy %s", name, policyModes(p), policyFlags(p, x.fs.Super().BlockSize), known.ID)
			e.hint = "leave the flag away, or give a key that .fscrypt does not know with --key-file"
			return p, e
		}
	}
	if _, err := x.ring.For(p); err == nil {
		return p, nil
	}
	return p, x.unlockPolicy(p)
}
