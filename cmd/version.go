package cmd

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is the version of fsenc, and releaseDate the date on its manual
// pages. The two change together.
const (
	release     = "0.1.0"
	releaseDate = "2026-11-21"
)

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		GroupID: groupOther,
		Short:   "Show the version",
		Long:    "Show the version of fsenc, the commit it was built from where that is known, and\nthe Go release and platform.",
		Args:    operands(),
		RunE:    func(*cobra.Command, []string) error { return a.version() },
	}
}

func (a *app) version() error {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	if a.json() {
		return a.emit(struct {
			header
			Version string `json:"version"`
			Commit  string `json:"commit,omitempty"`
			Go      string `json:"go"`
			OS      string `json:"os"`
			Arch    string `json:"arch"`
		}{headerOf("version"), release, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH})
	}
	if commit != "" {
		commit = ", commit " + commit
	}
	_, err := fmt.Fprintf(a.out, "fsenc %s%s (%s, %s/%s)\n", release, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
