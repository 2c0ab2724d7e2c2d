package cmd

import (
	"github.com/spf13/cobra"

	"fsenc/internal/convert"
	"fsenc/internal/image"
)

func newDecryptDir(a *app) *cobra.Command {
	var o convertOptions
	c := &cobra.Command{
		Use:     "decrypt-dir IMAGE PATH...",
		GroupID: groupConvert,
		Short:   "Decrypt directories and all they contain, in place",
		Long: "Turn each encrypted directory PATH inside an image, with everything below it, back\n" +
			"into plaintext. PATH is where an encrypted tree begins. The plan is shown first;\n" +
			"nothing is written before it is confirmed. While it runs its journal holds\n" +
			"plaintext; it is overwritten in the end.",
		Args:              operands("IMAGE", "PATH..."),
		ValidArgsFunction: a.completePaths(&o.keys, true),
		RunE:              func(_ *cobra.Command, args []string) error { return a.decryptDir(&o, args[0], args[1:]) },
	}
	o.register(c.Flags())
	return c
}

func (a *app) decryptDir(o *convertOptions, file string, paths []string) error {
	if err := checkPaths(paths...); err != nil {
		return err
	}
	x, err := a.openConverting(file, o)
	if err != nil {
		return err
	}
	defer x.Close()
	tops, err := x.wholeTrees(paths)
	if err != nil {
		return err
	}
	v := &conversion{access: x, command: "decrypt-dir", o: o, tops: tops,
		opts: convert.Options{Keys: x.ring, OutsideLinks: a.forced(convert.OutsideLinks)}}
	v.make = func(fs image.FS, tops []convert.Top, opts convert.Options) (*convert.Plan, error) {
		return convert.PlanDecrypt(a.ctx, fs, tops, opts)
	}
	return v.run()
}
