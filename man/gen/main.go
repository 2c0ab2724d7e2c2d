// Command gen writes the manual pages and completion scripts of fsenc.
//
// A page is what the command tree knows of a command, with the hand-written
// sections of man/sections/PAGE.roff. What of EXIT STATUS and FILES a page does
// not write itself comes from man/sections/shared.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/cmd"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen TOP")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// write writes all files below the top directory of the repository.
func write(top string) error {
	files, err := generate(top)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(top, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// scripts names the completion script of each shell as the shells want it.
var scripts = map[string]string{
	"bash": "completions/fsenc.bash", "zsh": "completions/_fsenc",
	"fish": "completions/fsenc.fish", "powershell": "completions/fsenc.ps1",
}

// generate returns the generated files by their name below top.
func generate(top string) (map[string][]byte, error) {
	root := cmd.Tree()
	files := map[string][]byte{}
	for shell, name := range scripts {
		var b bytes.Buffer
		if err := cmd.WriteCompletion(root, shell, &b); err != nil {
			return nil, err
		}
		files[name] = b.Bytes()
	}
	return files, addPages(files, filepath.Join(top, "man", "sections"), root)
}

// addPages makes the pages of a command and of those below it.
func addPages(files map[string][]byte, sections string, c *cobra.Command) error {
	name := pageName(c)
	own, err := handWritten(sections, name)
	if err != nil {
		return err
	}
	files[filepath.Join("man", name+".1")] = []byte(page(c, own))
	for _, sub := range documented(c) {
		if err := addPages(files, sections, sub); err != nil {
			return err
		}
	}
	return nil
}

// pageName is "fsenc-key-add".
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// documented lists the commands below c that have a page.
func documented(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			out = append(out, sub)
		}
	}
	return out
}

// handWritten returns the hand-written sections of a page by heading.
func handWritten(dir, name string) (map[string]string, error) {
	out := map[string]string{}
	for _, file := range []string{"shared/exit-status.roff", "shared/files.roff", name + ".roff"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, fmt.Errorf("hand-written sections of %s: %w", name, err)
		}
		for _, part := range strings.Split("\n"+string(text), "\n.SH ")[1:] {
			head, body, _ := strings.Cut(part, "\n")
			out[head] = strings.TrimRight(body, "\n") + "\n"
		}
	}
	for _, head := range []string{"EXAMPLES", "EXIT STATUS", "FILES"} {
		if out[head] == "" {
			return nil, fmt.Errorf("%s has no section %s", name, head)
		}
	}
	return out, nil
}
