package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// lastKey is the check that a tree keeps a key.
const lastKey = "last-key"

// unfinished is the check that an image is read only when it is all in one form.
const unfinished = "unfinished"

// forceable lists the checks that --force can name.
var forceable = []string{"in-use", lastKey, "outside-links", unfinished}

// checkForce refuses words that are no check: a typing error must not look
// like an override that did not help.
func checkForce(words []string) error {
	for _, w := range words {
		if !slices.Contains(forceable, w) {
			e := usagef("--force: unknown check %q", w)
			e.hint = "checks that can be overridden: " + strings.Join(forceable, ", ")
			return e
		}
	}
	return nil
}

// forced reports whether the user overrides a check.
func (a *app) forced(check string) bool { return slices.Contains(a.flags.force, check) }

// refuse makes a refusal that --force=check overrides.
func refuse(check string, err error) error {
	return &refusal{err: err, check: check, hint: "if you know better, say --force=" + check}
}

// confirm asks for a yes on the terminal before the first write. --yes answers
// it; without a terminal, or with --non-interactive, it is a refusal.
func (a *app) confirm(question string) error {
	if a.flags.yes {
		return nil
	}
	if a.set.NonInteractive {
		return needsYes("not asked because of --non-interactive")
	}
	t, err := openTerminal(a.ctx)
	if err != nil {
		return needsYes("there is no terminal to ask on")
	}
	defer t.close()
	answer, err := t.ask(question + " [y/N] ")
	if err != nil && !errors.Is(err, errEndOfInput) {
		return err
	}
	switch strings.ToLower(answer) {
	case "y", "yes":
		return nil
	}
	return &refusal{err: fmt.Errorf("%w: not confirmed, nothing was changed", errRefused)}
}

func needsYes(why string) error {
	return &refusal{
		err:  fmt.Errorf("%w: this needs a confirmation, and %s", errRefused, why),
		hint: "look at the plan with --dry-run, then say --yes",
	}
}
