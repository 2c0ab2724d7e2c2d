package cmd

import (
	"github.com/spf13/cobra"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
)

// rekeyOptions are the flags of rekey.
type rekeyOptions struct {
	convertOptions
	policy policyFlagSet
	toID   string
	toFile string
}

func newRekey(a *app) *cobra.Command {
	var o rekeyOptions
	c := &cobra.Command{
		Use:     "rekey IMAGE PATH...",
		GroupID: groupConvert,
		Short:   "Encrypt directories anew: other key, modes or nonces",
		Long: "Encrypt each encrypted directory PATH anew with everything below it: under another\n" +
			"master key (--to-key-id, --to-key-file), with other modes, padding or kind of IV, as\n" +
			"a policy of another version, or, if nothing else is said, just with new nonces. What\n" +
			"is not said stays as it is. PATH is where an encrypted tree begins. No plaintext\n" +
			"reaches the image or the journal.",
		Args:              operands("IMAGE", "PATH..."),
		ValidArgsFunction: a.completePaths(&o.keys, true),
		RunE:              func(_ *cobra.Command, args []string) error { return a.rekey(&o, args[0], args[1:]) },
	}
	f := c.Flags()
	o.register(f)
	o.policy.register(f)
	f.StringVar(&o.toID, "to-key-id", "", "the new key is that of the policy `ID` of .fscrypt")
	f.StringVar(&o.toFile, "to-key-file", "", "read the new master key from `FILE`")
	return c
}

func (a *app) rekey(o *rekeyOptions, file string, paths []string) error {
	if err := checkPaths(paths...); err != nil {
		return err
	}
	if o.toID != "" && o.toFile != "" {
		return usagef("--to-key-id and --to-key-file exclude each other")
	}
	if _, err := o.policy.policy(); err != nil {
		return err
	}
	x, err := a.openConverting(file, &o.convertOptions)
	if err != nil {
		return err
	}
	defer x.Close()
	tops, err := x.wholeTrees(paths)
	if err != nil {
		return err
	}
	to, err := x.newPolicy(o, tops[0])
	if err != nil {
		return err
	}
	v := &conversion{access: x, command: "rekey", o: &o.convertOptions, tops: tops,
		opts: convert.Options{Keys: x.ring, OutsideLinks: a.forced(convert.OutsideLinks)}}
	v.make = func(fs image.FS, tops []convert.Top, opts convert.Options) (*convert.Plan, error) {
		return convert.PlanRekey(a.ctx, fs, tops, to, opts)
	}
	return v.run()
}

// newPolicy is the policy that the trees are to have: what the first has now,
// changed as the flags say.
func (x *access) newPolicy(o *rekeyOptions, top convert.Top) (policy.Policy, error) {
	n, _, err := x.lookup(top.Path)
	if err != nil {
		return policy.Policy{}, err
	}
	c, err := x.tree.Context(n)
	if err != nil {
		return policy.Policy{}, err
	}
	if c == nil {
		return policy.Policy{}, atPath(top.Path, usagef("not encrypted: fsenc encrypt-dir does that"))
	}
	o.policy.keep(c.Policy, x.fs.Super().BlockSize)
	if o.toID != "" {
		return x.choosePolicy(&o.policy, o.toID, nil)
	}
	key, err := x.ring.For(c.Policy)
	if err != nil {
		return policy.Policy{}, err
	}
	if o.toFile != "" {
		if key, err = x.readNewKey(o.toFile); err != nil {
			return policy.Policy{}, err
		}
	}
	return o.policy.forKey(key)
}

// readNewKey reads the master key to change to and puts it into the ring.
func (x *access) readNewKey(file string) (*crypt.MasterKey, error) {
	k := keyFlags{files: []string{file}, encoding: x.k.encoding, fd: -1, passFD: -1}
	keys, err := x.app.masterKeys(&k)
	if err != nil {
		return nil, err
	}
	x.ring.Add(keys...)
	return keys[0], nil
}

// keep sets each flag that was not given to what a policy says.
func (o *policyFlagSet) keep(p policy.Policy, blockSize int) {
	for _, f := range []struct {
		name string
		set  func()
	}{
		{"contents", func() { o.contents = p.Contents.String() }},
		{"filenames", func() { o.filenames = p.Filenames.String() }},
		{"padding", func() { o.padding = p.Padding() }},
		{"direct-key", func() { o.directKey = p.Method() == policy.DirectKey }},
		{"iv-ino-lblk-64", func() { o.ivInoLblk64 = p.Method() == policy.IVInoLblk64 }},
		{"iv-ino-lblk-32", func() { o.ivInoLblk32 = p.Method() == policy.IVInoLblk32 }},
		{"policy-version", func() { o.version = int(p.Version) }},
	} {
		if !o.flags.Changed(f.name) {
			f.set()
		}
	}
	if !o.flags.Changed("data-unit-size") && p.Log2DataUnitSize != 0 {
		o.dataUnit = p.DataUnitSize(blockSize)
	}
}
