package cmd

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/keystore"
	"fsenc/internal/secret"
)

// keyAddOptions are the flags of key add.
type keyAddOptions struct {
	keys      keyFlags
	fresh     newSecretFlags
	source    string
	name      string
	contents  string
	filenames string
	padding   int
	iterTime  time.Duration
}

func newKeyAdd(a *app) *cobra.Command {
	var o keyAddOptions
	c := &cobra.Command{
		Use:   "add IMAGE",
		Short: "Make a key, or give a key a further protector",
		Long: "Make a random master key, or take that of --key-file, and keep it in .fscrypt under a\n" +
			"new protector. With --key-id the new protector is for a policy that is there\n" +
			"already, which is unlocked for it. With --protector and no --key-id the key is put\n" +
			"under an existing protector. The identifier is printed.",
		Args:              operands("IMAGE"),
		ValidArgsFunction: completeImage,
		RunE:              func(_ *cobra.Command, args []string) error { return a.keyAdd(&o, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.source, "source", "passphrase", "what the protector is: `passphrase|raw`")
	f.StringVar(&o.name, "name", "", "`NAME` of the protector (default fsenc)")
	f.StringVar(&o.contents, "contents", policy.ModeAES256XTS.String(), "the policy encrypts contents with `MODE`")
	f.StringVar(&o.filenames, "filenames", policy.ModeAES256CTS.String(), "the policy encrypts names with `MODE`")
	f.IntVar(&o.padding, "padding", 32, "the policy pads names to a multiple of `N` bytes: 4, 8, 16 or 32")
	f.DurationVar(&o.iterTime, "iter-time", time.Second, "hashing the passphrase takes about `TIME` on this machine")
	o.fresh.register(f)
	o.keys.register(f)
	return c
}

// options are what the metadata keeps of a policy besides its key.
func (o *keyAddOptions) options() (keystore.Options, error) {
	opt := keystore.DefaultOptions()
	var err error
	if opt.Contents, err = policy.ParseMode(o.contents); err != nil {
		return opt, usagef("--contents: %v", err)
	}
	if opt.Filenames, err = policy.ParseMode(o.filenames); err != nil {
		return opt, usagef("--filenames: %v", err)
	}
	if opt.Padding = o.padding; !slices.Contains([]int{4, 8, 16, 32}, o.padding) {
		return opt, usagef("--padding: %d is none of 4, 8, 16, 32", o.padding)
	}
	return opt, nil
}

// keyAddition is all that the edit needs, found out before it.
type keyAddition struct {
	key     *crypt.MasterKey
	options keystore.Options
	known   string             // ID of the policy that gets a protector
	by      *keystore.Unlocked // existing protector
	fresh   keystore.NewProtector
	secret  *secret.Buffer // of the new protector
}

func (a *app) keyAdd(o *keyAddOptions, path string) error {
	source, ok := sources[o.source]
	if !ok {
		return usagef("--source: %q is none of passphrase, raw", o.source)
	}
	opt, err := o.options()
	if err != nil {
		return err
	}
	if o.iterTime <= 0 {
		return usagef("--iter-time: must be a time above 0, like 500ms or 2s")
	}
	useExisting := o.keys.protector != "" && o.keys.keyID == ""
	if !useExisting {
		if err := o.fresh.check(source, &o.keys); err != nil {
			return err
		}
	}
	x, s, err := a.openKeystore(path, &o.keys, true)
	if err != nil {
		return err
	}
	defer x.Close()
	add := &keyAddition{options: opt}
	if err := add.findKey(x, s, o); err != nil {
		return err
	}
	if useExisting {
		err = add.existing(x, s)
	} else {
		err = add.newProtector(x, s, o, source)
	}
	if err != nil {
		return err
	}
	defer add.secret.Wipe()
	var result keyAdded
	if err := a.edit(x.opened, func(fs image.FS) error { return add.apply(fs, &result) }); err != nil {
		return err
	}
	return a.keyAdded(result)
}

// findKey takes the key from the policy that --key-id names, from the flags,
// or makes one.
func (add *keyAddition) findKey(x *access, s *keystore.Store, o *keyAddOptions) error {
	if o.keys.keyID != "" {
		known, err := s.Policy(o.keys.keyID)
		if err != nil {
			return err
		}
		add.known = known.ID
		if key, err := x.ring.For(known.Policy()); err == nil {
			add.key = key
			return nil
		}
		add.key, err = x.unlockKnown(s, known)
		if err == nil {
			x.ring.Add(add.key)
		}
		return err
	}
	switch keys := x.ring.Keys(); len(keys) {
	case 0:
		key, err := keystore.NewPolicyKey()
		if err != nil {
			return err
		}
		x.ring.Add(key)
		add.key = key
	case 1:
		add.key = keys[0]
	default:
		return usagef("one key at a time: --key-file was given %d times", len(keys))
	}
	return nil
}

// existing unlocks the protector that --protector names.
func (add *keyAddition) existing(x *access, s *keystore.Store) error {
	p, err := s.Protector(x.k.protector)
	if err != nil {
		return err
	}
	add.by, err = x.unlockOne(s, []*keystore.Protector{p}, "the protector")
	return err
}

// newProtector finds name, secret and costs of the protector to be made.
func (add *keyAddition) newProtector(x *access, s *keystore.Store, o *keyAddOptions, source keystore.Source) error {
	add.fresh = keystore.NewProtector{Source: source, Name: or(o.name, freeName(s))}
	old := &o.keys
	if add.known != "" {
		old = nil // its passphrase is for the policy that is there
	}
	var err error
	if add.secret, err = x.app.newSecret(&o.fresh, source, old); err != nil {
		return err
	}
	if source == keystore.SourcePassphrase {
		if add.secret.Len() == 0 {
			return fmt.Errorf("%w: the new passphrase is empty", crypt.ErrWrongKey)
		}
		add.fresh.Costs = keystore.Calibrate(o.iterTime)
	}
	return nil
}

// freeName is the name of a protector that nobody named.
func freeName(s *keystore.Store) string {
	name := "fsenc"
	for n := 2; slices.ContainsFunc(s.Protectors, func(p *keystore.Protector) bool { return p.Name == name }); n++ {
		name = fmt.Sprintf("fsenc-%d", n)
	}
	return name
}

// keyAdded is what key add did.
type keyAdded struct {
	policy    *keystore.Policy
	protector *keystore.Protector
}

// apply stages the addition.
func (add *keyAddition) apply(fs image.FS, r *keyAdded) error {
	s, err := keystore.Load(fs)
	if err != nil {
		return err
	}
	by := add.by
	if by == nil {
		if by, err = s.AddProtector(add.fresh, add.secret.Bytes()); err != nil {
			return err
		}
		defer by.Wipe()
	}
	r.protector = by.Protector
	if add.known == "" {
		r.policy, err = s.CreatePolicy(add.key, add.options, by)
		return err
	}
	if r.policy, err = s.Policy(add.known); err != nil {
		return err
	}
	return s.AddProtectorToPolicy(r.policy, add.key, by)
}

func (a *app) keyAdded(r keyAdded) error {
	if a.json() {
		return a.emit(struct {
			header
			DryRun    bool   `json:"dry_run"`
			Key       string `json:"key"`
			Protector string `json:"protector"`
			Source    string `json:"source"`
			NameText  string `json:"name"`
		}{headerOf("key add"), a.flags.dryRun, r.policy.ID, r.protector.ID, sourceWord(r.protector.Source), r.protector.Name})
	}
	if a.flags.dryRun {
		_, err := fmt.Fprintln(a.out, "would have added a key")
		return err
	}
	a.note("the key is kept under %s", protectorText(r.protector))
	_, err := fmt.Fprintln(a.out, r.policy.ID)
	return err
}
