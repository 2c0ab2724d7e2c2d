package cmd

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/feature"
	"fsenc/internal/keystore"
)

// flagWords lists what flags take where that is a matter of words.
var flagWords = map[string][]string{
	"color":        {"auto", "always", "never"},
	"contents":     modeWords(func(p policy.Pair) policy.Mode { return p.Contents }),
	"feature":      {feature.Encrypt, feature.StableInodes},
	"filenames":    modeWords(func(p policy.Pair) policy.Mode { return p.Filenames }),
	"force":        forceable,
	"format":       {"text", "json"},
	"kdf":          {kdfNone, kdfV1, kdfV2},
	"key-encoding": {"raw", "hex", "base64"},
	"mode":         modeWords(func(p policy.Pair) policy.Mode { return p.Contents }, func(p policy.Pair) policy.Mode { return p.Filenames }),
	"padding":      {"4", "8", "16", "32"},
	"progress":     {"auto", "line", "json", "none"},
	"source":       {"passphrase", "raw"},
}

// modeWords lists the modes that pick takes of the pairs the kernel takes.
func modeWords(pick ...func(policy.Pair) policy.Mode) []string {
	var words []string
	seen := map[policy.Mode]bool{}
	for _, of := range pick {
		for _, p := range policy.Pairs() {
			if m := of(p); !seen[m] {
				seen[m] = true
				words = append(words, m.String())
			}
		}
	}
	return words
}

// keystoreFlags complete from the .fscrypt of the image on the command line.
var keystoreFlags = map[string]func(*keystore.Store) []string{
	"key-id": policyChoices, "to-key-id": policyChoices, "protector": protectorChoices,
}

// completeFlags gives the flags of a command and of those below it their
// completions.
func (a *app) completeFlags(c *cobra.Command) {
	local := c.LocalFlags() // makes the set anew each time
	complete := func(flag string, f cobra.CompletionFunc) {
		if local.Lookup(flag) != nil {
			// The errors are those of a flag that is not there, or comes twice.
			_ = c.RegisterFlagCompletionFunc(flag, f)
		}
	}
	for flag, words := range flagWords {
		complete(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	for flag, list := range keystoreFlags {
		complete(flag, func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			return a.keystoreWords(args, word, list), cobra.ShellCompDirectiveNoFileComp
		})
	}
	for _, sub := range c.Commands() {
		a.completeFlags(sub)
	}
}

// completeOperand completes the second operand with what .fscrypt holds.
func (a *app) completeOperand(list func(*keystore.Store) []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return nil, cobra.ShellCompDirectiveDefault
		case 1:
			return a.keystoreWords(args, word, list), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// keystoreWords lists what of an image's .fscrypt begins with word.
func (a *app) keystoreWords(args []string, word string, list func(*keystore.Store) []string) []string {
	if len(args) == 0 {
		return nil
	}
	return a.inTime(func(context.Context) []string {
		img := a.peek(args[0])
		if img == nil {
			return nil
		}
		defer img.Close()
		s, err := keystore.Load(img.fs)
		if err != nil {
			return nil
		}
		var words []string
		for _, w := range list(s) {
			bare, _, _ := strings.Cut(w, "\t")
			if strings.HasPrefix(w, word) && harmless(bare) {
				words = append(words, w)
			}
		}
		return words
	})
}

// policyChoices are the policies, with their modes as a description.
func policyChoices(s *keystore.Store) []string {
	var words []string
	for _, p := range s.Policies {
		words = append(words, p.ID+"\t"+policyModes(p.Policy()))
	}
	return words
}

// protectorChoices are the protectors by identifier and by name.
func protectorChoices(s *keystore.Store) []string {
	var words []string
	for _, p := range s.Protectors {
		words = append(words, p.ID+"\t"+describeWord(sourceWord(p.Source)+" "+p.Name))
		if p.Name != "" {
			words = append(words, p.Name+"\t"+p.ID)
		}
	}
	return words
}

// describeWord makes a stranger's text fit for a description.
func describeWord(text string) string {
	if text = strings.TrimSpace(text); harmless(strings.ReplaceAll(text, " ", "_")) {
		return text
	}
	return ""
}
