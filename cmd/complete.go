package cmd

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fsenc/internal/image"
	"fsenc/internal/image/probe"
	"fsenc/internal/store"
	"fsenc/internal/tree"
)

// budget is how long a completion may take before the shell gets what there
// is so far.
const budget = 200 * time.Millisecond

// maxCompletions bounds what a shell is given to choose from.
const maxCompletions = 1000

// completeImage completes the first operand: a file of the machine.
func completeImage(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completePaths completes paths inside the image, names in clear where key
// files were given. It asks nothing, takes no lock and ends in time. With
// dirs only directories are offered.
func (a *app) completePaths(k *keyFlags, dirs bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		words := a.inTime(func(ctx context.Context) []string { return a.pathsLike(ctx, k, args[0], word, dirs) })
		return words, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
}

// inTime runs f and gives up on it when the budget is used up.
func (a *app) inTime(f func(context.Context) []string) []string {
	ctx, cancel := context.WithTimeout(a.ctx, budget)
	defer cancel()
	done := make(chan []string, 1)
	go func() { done <- f(ctx) }()
	select {
	case words := <-done:
		return words
	case <-ctx.Done():
		return nil
	}
}

// peek opens an image for a look: no lock, no message, no complaint.
func (a *app) peek(name string) *opened {
	f, err := store.OpenForced(name, false)
	if err != nil {
		return nil
	}
	img := &opened{path: name, file: f}
	if err = a.window(img, f); err == nil {
		img.fs, err = probe.Open(img.home, probe.Options{AllowUnfinished: true, AllowDirty: true})
	}
	if err != nil {
		img.Close()
		return nil
	}
	return img
}

// pathsLike lists the paths that begin with word.
func (a *app) pathsLike(ctx context.Context, k *keyFlags, name, word string, dirs bool) []string {
	img := a.peek(name)
	if img == nil {
		return nil
	}
	x := a.accessTo(img, noKeys(), nil)
	defer x.Close()
	x.silent = true
	x.addQuietKeys(k)
	dir, base := path.Split(word)
	if !strings.HasPrefix(dir, "/") {
		dir, base = "/", ""
	}
	at, _, err := x.lookup(dir)
	if err != nil || at.Type != image.TypeDirectory {
		return nil
	}
	var words []string
	// What was found before an error is worth offering.
	_ = x.tree.ReadDir(at, func(n tree.Node) error {
		full := dir + string(n.Name)
		if n.Type == image.TypeDirectory {
			full += "/"
		}
		if strings.HasPrefix(string(n.Name), base) && harmless(full) && (!dirs || n.Type == image.TypeDirectory) {
			words = append(words, full)
		}
		if len(words) >= maxCompletions || ctx.Err() != nil {
			return errStop
		}
		return nil
	})
	return words
}

// errStop ends a listing early.
var errStop = errors.New("enough")

// addQuietKeys reads the key files on the command line that is being
// completed. Stdin and descriptors belong to the command, not to completion.
func (x *access) addQuietKeys(k *keyFlags) {
	quiet := keyFlags{encoding: k.encoding, hwWrapped: k.hwWrapped, fd: -1, passFD: -1}
	for _, f := range k.files {
		if f != "-" {
			quiet.files = append(quiet.files, f)
		}
	}
	silent := *x.app
	silent.stderr = nowhere{}
	if keys, err := silent.masterKeys(&quiet); err == nil {
		x.ring.Add(keys...)
	}
}

// nowhere takes messages that a completion must not print.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// harmless reports whether a word can be offered to a shell: names are a
// stranger's data, and not every completion script quotes all that it should.
func harmless(word string) bool {
	for _, r := range word {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		case strings.ContainsRune("/._-+,@%", r):
		case r > 0xa0 && r != 0xfffd && !mustEscape(r, 0, nil):
		default:
			return false
		}
	}
	return true
}
