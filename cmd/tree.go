package cmd

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Tree returns the command tree for those who describe it: the generator of
// manual pages and completion scripts.
func Tree() *cobra.Command { return newRoot(newApp(os.Stdin, os.Stdout, os.Stderr)) }

// ReleaseDate is the date of this release as manual pages give it.
func ReleaseDate() string { return releaseDate }

// Release is the version of this release.
func Release() string { return release }

// WriteCompletion writes the completion script for a shell.
func WriteCompletion(root *cobra.Command, shell string, w io.Writer) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(w)
	}
	return fmt.Errorf("no completion for %q", shell)
}
