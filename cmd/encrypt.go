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
	"fsenc/internal/image"
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
	version     int
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
	f.IntVar(&o.version, "policy-version", 2, "make a policy of version `N`; 1 is for kernels before 5.4")
	o.flags = f
}

// changed names a flag that was given, empty if none was.
func (o *policyFlagSet) changed() string {
	for _, name := range []string{"contents", "filenames", "padding", "direct-key", "iv-ino-lblk-64", "iv-ino-lblk-32", "data-unit-size", "policy-version"} {
		if o.flags.Changed(name) {
			return name
		}
	}
	return ""
}

// policy builds the policy that the flags describe, without the name of a key.
func (o *policyFlagSet) policy() (policy.Policy, error) {
	p := policy.Policy{Version: uint8(o.version)}
	if o.version != 1 && o.version != 2 {
		return p, usagef("--policy-version: %d is none of 1, 2", o.version)
	}
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

// forKey names the key in a policy: by its identifier or, in v1, by the
// descriptor that other tools would give it.
func (o *policyFlagSet) forKey(key *crypt.MasterKey) (policy.Policy, error) {
	p, err := o.policy()
	if p.Version == 1 {
		p.Descriptor = key.Descriptor()
	} else {
		p.Identifier = key.Identifier()
	}
	return p, err
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

func (a *app) encryptDir(o *encryptOptions, file string, paths []string) error {
	if err := checkPaths(paths...); err != nil {
		return err
	}
	if _, err := o.policy.policy(); err != nil {
		return err
	}
	x, err := a.openConverting(file, &o.convertOptions)
	if err != nil {
		return err
	}
	defer x.Close()
	pol, err := x.choosePolicy(&o.policy, x.k.keyID, x.ring.Keys())
	if err != nil {
		return err
	}
	tops, err := x.tops(paths)
	if err != nil {
		return err
	}
	metadata, err := keystore.Dirs(x.fs)
	if err != nil {
		return err
	}
	v := &conversion{access: x, command: "encrypt-dir", o: &o.convertOptions, tops: tops,
		opts: convert.Options{Keys: x.ring, Wipe: o.wipe, OutsideLinks: a.forced(convert.OutsideLinks), Metadata: metadata}}
	v.make = func(fs image.FS, tops []convert.Top, opts convert.Options) (*convert.Plan, error) {
		return convert.PlanEncrypt(a.ctx, fs, tops, pol, opts)
	}
	return v.run()
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
	if r.Shared {
		return &hinted{err, "--shared unshare gives the tree copies, which the others do not get; --shared whole takes the tree along in all snapshots"}
	}
	return err
}

// choosePolicy finds out which key to encrypt with, and makes sure that it is
// in the ring: the policy of .fscrypt or one of the keys that is named by id.
func (x *access) choosePolicy(flags *policyFlagSet, id string, keys []*crypt.MasterKey) (policy.Policy, error) {
	store, err := keystore.Load(x.fs)
	if err != nil && !errors.Is(err, keystore.ErrNotSetUp) {
		return policy.Policy{}, err
	}
	if id, err = chosenID(store, id, keys, flags.version); err != nil {
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
	for _, key := range keys {
		if strings.HasPrefix(keyName(key, flags.version), id) {
			return flags.forKey(key)
		}
	}
	return policy.Policy{}, &hinted{
		fmt.Errorf("%w: no policy %q in .fscrypt, and none of the given keys has that identifier", crypt.ErrNoKey, id),
		"fsenc key list IMAGE shows the policies, fsenc key add IMAGE makes one",
	}
}

// keyName is what policies of a version call a key.
func keyName(key *crypt.MasterKey, version int) string {
	if version == 1 {
		return key.Descriptor().String()
	}
	return key.Identifier().String()
}

// chosenID is the name of the key, or the start of it, that the flags give.
func chosenID(store *keystore.Store, id string, keys []*crypt.MasterKey, version int) (string, error) {
	switch {
	case id != "":
		return strings.ToLower(id), nil
	case len(keys) == 1:
		return keyName(keys[0], version), nil
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
		want, err := flags.policy()
		if err != nil {
			return p, err
		}
		want.Identifier, want.Descriptor = p.Identifier, p.Descriptor
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
