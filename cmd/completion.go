package cmd

import (
	"github.com/spf13/cobra"
)

// shells that completion scripts exist for, and what to do with them.
var shells = []struct{ name, install string }{
	{"bash", "fsenc completion bash > /usr/share/bash-completion/completions/fsenc"},
	{"zsh", "fsenc completion zsh > /usr/share/zsh/vendor-completions/_fsenc"},
	{"fish", "fsenc completion fish > /usr/share/fish/vendor_completions.d/fsenc.fish"},
	{"powershell", "fsenc completion powershell | Out-String | Invoke-Expression"},
}

func newCompletion(a *app) *cobra.Command {
	var verbs []*cobra.Command
	for _, sh := range shells {
		verbs = append(verbs, &cobra.Command{
			Use:   sh.name,
			Short: "Print the completion script for " + sh.name,
			Long:  "Print the completion script for " + sh.name + ". To install it:\n\n    " + sh.install,
			Args:  operands(),
			RunE: func(c *cobra.Command, _ []string) error {
				return WriteCompletion(c.Root(), sh.name, a.out)
			},
		})
	}
	return newGroup("completion", groupOther, "Print a completion script for a shell",
		"Print a script that completes commands, flags and what is inside an image: paths,\n"+
			"key identifiers and protectors.", verbs...)
}
