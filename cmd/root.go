// Package cmd is the command line of fsenc: flags, prompts, exit codes and
// what is printed. It alone prints, prompts, exits and reads the environment.
//
// Each command is a file with an options struct: it checks its options before
// anything is opened, makes one call inward and prints one result. Results go
// to stdout, everything else to stderr as "fsenc: ...".
package cmd

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/secret"
)

// Main runs fsenc with the arguments of the process and returns its exit code.
func Main() int {
	a := newApp(os.Stdin, os.Stdout, os.Stderr)
	if err := secret.HardenProcess(); err != nil {
		a.warn("%v", err)
	}
	stop := a.watchSignals()
	defer stop()
	return a.run(os.Args[1:])
}

// groups of commands in the help text.
const (
	groupRead    = "read"
	groupSetup   = "setup"
	groupConvert = "convert"
	groupOther   = "other"
)

// newRoot builds the command tree. Only commands that work are in it.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "fsenc",
		Short: "Work on fscrypt-encrypted filesystem images without mounting them",
		Long: "fsenc encrypts, decrypts, reads and checks fscrypt-encrypted directories inside\n" +
			"filesystem images and on unmounted block devices. It needs neither a kernel\n" +
			"with fscrypt nor root: only the right to read or write the image.",
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              cobra.ArbitraryArgs,
		RunE:              wrongVerb,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return a.prepare(c) },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddGroup(
		&cobra.Group{ID: groupRead, Title: "Looking into an image:"},
		&cobra.Group{ID: groupSetup, Title: "Features and keys:"},
		&cobra.Group{ID: groupConvert, Title: "Converting trees in place:"},
		&cobra.Group{ID: groupOther, Title: "Other:"},
	)
	a.flags.register(root)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp(root))
	root.SetHelpCommandGroupID(groupOther)
	root.AddCommand(commands(a)...)
	a.completeFlags(root)
	root.SetOut(a.out)
	root.SetErr(a.stderr)
	cobra.EnablePrefixMatching = isTerminal(a.stdin) || isTerminal(a.stdout)
	return root
}

// commands lists every command in the order of the contract.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newInfo(a),
		newEncryptDir(a),
		newDecryptDir(a),
		newRekey(a),
		newResume(a),
		newUndo(a),
		newLs(a),
		newStat(a),
		newCat(a),
		newExtract(a),
		newFsck(a),
		newAudit(a),
		newWipeFree(a),
		newInspect(a),
		newSetup(a),
		newKey(a),
		newBench(a),
		newCompletion(a),
		newMan(a),
		newVersion(a),
		newConfig(a),
	}
}

// newGroup makes a command that only holds others.
func newGroup(use, group, short, long string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, GroupID: group, Short: short, Long: long, Args: cobra.ArbitraryArgs, RunE: wrongVerb}
	c.AddCommand(verbs...)
	return c
}

// wrongVerb is what a command group does when no verb of its own follows.
func wrongVerb(c *cobra.Command, args []string) error {
	what := "a command"
	if c.HasParent() {
		what = "one of " + strings.Join(verbs(c), ", ")
	}
	if len(args) == 0 {
		return usagef("%s needs %s", c.CommandPath(), what)
	}
	e := usagef("unknown command %q for %s", args[0], c.CommandPath())
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		e.hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return e
}

// verbs lists the names of the commands below c.
func verbs(c *cobra.Command) []string {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// newHelp replaces cobra's help command, which calls an unknown topic a
// success.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		GroupID: groupOther,
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("no help about %q", strings.Join(args, " "))
			}
			return c.Help()
		},
	}
}

// operands returns a check of the number of operands, which are named as in
// the synopsis. A last name that ends in "..." takes any number, one in
// brackets may be missing.
func operands(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		open := false
		for i, name := range names {
			open = strings.Contains(name, "...")
			if i >= len(args) && !strings.HasPrefix(name, "[") {
				return usagef("%s: %s is missing", c.CommandPath(), strings.TrimSuffix(name, "..."))
			}
		}
		if len(args) > len(names) && !open {
			return usagef("%s: unexpected operand %q", c.CommandPath(), args[len(names)])
		}
		return nil
	}
}
