package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fsenc/internal/convert"
	"fsenc/internal/crypt"
	"fsenc/internal/feature"
	"fsenc/internal/image"
	"fsenc/internal/keystore"
	"fsenc/internal/partition"
	"fsenc/internal/store"
	"fsenc/internal/tree"
	"fsenc/internal/txn"
)

// Exit codes of every command but fsck.
const (
	exitDone        = 0
	exitFailed      = 1   // nothing changed
	exitUsage       = 2   // wrong command line
	exitPartial     = 3   // what was skipped is listed
	exitNotImage    = 10  // unknown or damaged image
	exitInUse       = 11  // locked, mounted, journal not replayed
	exitKey         = 12  // missing or wrong key
	exitUnfinished  = 13  // resume or undo
	exitRefused     = 14  // needs a confirmation or --force
	exitNoSpace     = 15  // image too full
	exitInterrupted = 130 // nothing written
)

// Exit codes of fsck, as fsck(8) adds them up.
const (
	fsckRepaired  = 1
	fsckProblems  = 4
	fsckFailed    = 8
	fsckUsage     = 16
	fsckCancelled = 32
)

// usageError is a mistake in the command line.
type usageError struct {
	msg  string
	hint string
}

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) *usageError {
	return &usageError{msg: fmt.Sprintf(format, args...)}
}

// refusal is a check that says no. check is the word that --force takes to
// override it, empty if nothing does.
type refusal struct {
	err   error
	check string
	hint  string
}

func (e *refusal) Error() string { return e.err.Error() }
func (e *refusal) Unwrap() error { return e.err }

// errRefused is what a refusal with no other cause wraps.
var errRefused = errors.New("refused")

// errPartial: done but for what was listed.
var errPartial = errors.New("done in part")

// codeError sets the exit code of a result that is no failure of fsenc: the
// findings of fsck. It prints nothing.
type codeError int

func (e codeError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// hinted adds what to do next to an error.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// pathError tells which path inside the image an error is about.
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return escapeString(e.path) + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// atPath adds the path to an error.
func atPath(path string, err error) error {
	if err == nil {
		return nil
	}
	return &pathError{path, err}
}

// failure is an error as it is reported.
type failure struct {
	header
	Code    int        `json:"code"`
	Message string     `json:"message"`
	Hint    string     `json:"hint,omitempty"`
	Image   string     `json:"image,omitempty"`
	Path    string     `json:"path,omitempty"`
	Inode   image.Ino  `json:"inode,omitempty"`
	Block   image.Pblk `json:"block,omitempty"`
}

// fail reports err and returns the exit code.
func (a *app) fail(c *cobra.Command, err error, asJSON bool) int {
	var code codeError
	if errors.As(err, &code) {
		return int(code)
	}
	f := a.describe(err)
	f.header = headerOf(commandName(c))
	if c != nil && c.Name() == "fsck" {
		f.Code = fsckCode(f.Code)
	}
	if asJSON {
		_ = a.emitTo(a.stderr, f) // there is no one to tell when that fails
		return f.Code
	}
	fmt.Fprintf(a.stderr, "fsenc: %s%s\n", a.style.red("error: "), clean(f.Message))
	if f.Hint != "" {
		fmt.Fprintf(a.stderr, "fsenc: %s%s\n", a.style.bold("hint: "), clean(f.Hint))
	}
	return f.Code
}

// commandName is the name of a command without the program's.
func commandName(c *cobra.Command) string {
	if c == nil || !c.HasParent() {
		return ""
	}
	_, name, _ := strings.Cut(c.CommandPath(), " ")
	return name
}

// describe finds out what a report needs to know.
func (a *app) describe(err error) failure {
	f := failure{Message: wording(err), Image: a.image}
	f.Code, f.Hint = classify(err)
	f.Hint = strings.ReplaceAll(f.Hint, "IMAGE", a.operand())
	if a.image != "" && f.Code != exitUsage && !strings.HasPrefix(f.Message, a.image+":") {
		f.Message = a.image + ": " + f.Message
	}
	f.locate(err)
	return f
}

// wording is the text of an error: in our words where it was an interruption,
// and in one line where several were joined.
func wording(err error) string {
	text := strings.ReplaceAll(err.Error(), context.Canceled.Error(), "interrupted")
	return strings.ReplaceAll(text, "\n", "; ")
}

// locate finds the place in the image that an error is about.
func (f *failure) locate(err error) {
	var op *pathError
	if errors.As(err, &op) {
		f.Path = op.path
	}
	var file *tree.PathError
	if errors.As(err, &file) {
		f.Path, f.Inode = file.Path, file.Ino
	}
	var plan *convert.RefusedError
	if errors.As(err, &plan) && len(plan.Refusals) > 0 {
		f.Path, f.Inode = plan.Refusals[0].Path, plan.Refusals[0].Ino
	}
	var damage *image.CorruptError
	if errors.As(err, &damage) {
		f.Block = damage.Pblk
		if damage.Ino != 0 {
			f.Inode = damage.Ino
		}
	}
}

// operand is the name of the image as a user would type it.
func operand(name string) string {
	if name == "" {
		return "IMAGE"
	}
	if strings.ContainsAny(name, " \t\n'\"\\$`;&|<>()*?[]#~!{}") {
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return name
}

// fsckCode turns an exit code into one of fsck(8).
func fsckCode(code int) int {
	switch code {
	case exitUsage:
		return fsckUsage
	case exitInterrupted:
		return fsckCancelled
	}
	return fsckFailed
}

// classify maps an error to the exit code and to what the user can do.
func classify(err error) (code int, hint string) {
	var usage *usageError
	var refused *refusal
	var with *hinted
	if errors.As(err, &with) {
		hint = with.hint
	}
	switch {
	case errors.As(err, &usage):
		return exitUsage, or(usage.hint, hint)
	case errors.Is(err, image.ErrUnfinished), errors.Is(err, txn.ErrUnfinished), errors.Is(err, txn.ErrLogExists):
		return exitUnfinished, or(hint, "run fsenc resume IMAGE or fsenc undo IMAGE")
	case errors.As(err, &refused):
		return refused.code(), or(refused.hint, hint)
	case errors.Is(err, context.Canceled):
		return exitInterrupted, hint
	case errors.Is(err, convert.ErrLogLeft):
		return exitPartial, or(hint, "remove the journal yourself; fsenc resume IMAGE does it, too")
	case errors.Is(err, errPartial):
		return exitPartial, hint
	case errors.Is(err, image.ErrNeedsRecovery):
		return exitInUse, or(hint, "mount the image once or run e2fsck or fsck.f2fs on it")
	case errors.Is(err, image.ErrInUse), errors.Is(err, store.ErrInUse), errors.Is(err, store.ErrLocked):
		return exitInUse, hint
	case errors.Is(err, crypt.ErrNoKey), errors.Is(err, crypt.ErrWrongKey), errors.Is(err, crypt.ErrKeySize),
		errors.Is(err, crypt.ErrWeakKey), errors.Is(err, errKeyText):
		return exitKey, hint
	case errors.Is(err, image.ErrNoSpace):
		return exitNoSpace, hint
	case errors.Is(err, image.ErrUnknown), errors.Is(err, image.ErrCorrupt), errors.Is(err, image.ErrUnsupported),
		errors.Is(err, partition.ErrDamaged), errors.Is(err, partition.ErrNoTable), errors.Is(err, store.ErrRange):
		return exitNotImage, hint
	case errors.Is(err, convert.ErrInlineKey):
		return exitFailed, or(hint, "fsenc setup IMAGE --remove --feature encrypted_inline_data leaves contents to blocks")
	case errors.Is(err, feature.ErrNotSetUp), errors.Is(err, keystore.ErrNotSetUp):
		return exitFailed, or(hint, "run fsenc setup IMAGE")
	case errors.Is(err, fs.ErrPermission):
		return exitFailed, or(hint, "fsenc needs the right to open the file, not root as such")
	}
	return exitFailed, hint
}

// code is that of the check where it has one of its own.
func (e *refusal) code() int {
	switch {
	case errors.Is(e.err, store.ErrInUse), errors.Is(e.err, store.ErrLocked), errors.Is(e.err, image.ErrInUse):
		return exitInUse
	}
	return exitRefused
}

// or returns the first string that is not empty.
func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// flagError turns what pflag found into a usage error. It never repeats a
// value of an unknown flag, which may be a secret.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usagef("%s: %v", c.CommandPath(), err)
	}
	name := unknown.GetSpecifiedName()
	dashes := "--"
	if unknown.GetSpecifiedShortnames() != "" {
		dashes, name = "-", name[:min(1, len(name))]
	}
	e := usagef("%s: unknown flag %s%s", c.CommandPath(), dashes, name)
	e.hint = secretFlagHint(name)
	return e
}
