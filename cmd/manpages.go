package cmd

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"fsenc/man"
)

func newMan(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		GroupID: groupOther,
		Short:   "Write the manual pages into a directory",
		Long: "Write the manual pages of fsenc and of each command into DIR, which is made if it\n" +
			"is missing. Pages that are there already are replaced.",
		Args: operands("DIR"),
		RunE: func(_ *cobra.Command, args []string) error { return a.manPages(args[0]) },
	}
}

func (a *app) manPages(dir string) error {
	pages, err := man.Pages.ReadDir(".")
	if err != nil {
		return err
	}
	if a.flags.dryRun {
		return a.manResult(dir, len(pages))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range pages {
		text, err := man.Pages.ReadFile(p.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, p.Name()), text, 0o644); err != nil {
			return err
		}
	}
	return a.manResult(dir, len(pages))
}

func (a *app) manResult(dir string, n int) error {
	if a.json() {
		return a.emit(struct {
			header
			Directory string `json:"directory"`
			Pages     int    `json:"pages"`
		}{headerOf("man"), dir, n})
	}
	_, err := fmt.Fprintf(a.out, "%s in %s\n", plural(n, "manual page"), escapeString(dir))
	return err
}
