package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// app is one run of fsenc: its streams, its flags and the settings that won.
type app struct {
	stdin  *os.File
	stdout *os.File
	out    *bufio.Writer // over stdout, flushed at the end
	stderr io.Writer

	ctx     context.Context
	flags   globalFlags
	set     settings
	origins map[string]string // setting to what made it win
	style   style
	image   string // operand of the command, for messages
	wrote   bool   // the image has been changed
}

func newApp(stdin, stdout, stderr *os.File) *app {
	a := &app{
		stdin: stdin, stdout: stdout, stderr: stderr,
		out: bufio.NewWriterSize(stdoutWriter{stdout}, 64<<10),
		ctx: context.Background(),
	}
	a.style = newStyle("auto", stderr)
	return a
}

// globalFlags are the flags of every command that no file may set, and those
// whose winning value is found in settings.
type globalFlags struct {
	json      bool
	dryRun    bool
	yes       bool
	force     []string
	debug     bool
	partition string
	offset    sizeValue
	size      sizeValue
	config    string
}

// register adds the global flags. Those named as in settings get their value
// by way of viper.
func (g *globalFlags) register(root *cobra.Command) {
	f := root.PersistentFlags()
	f.SortFlags = false
	f.BoolVar(&g.json, "json", false, "print the result as JSON, short for --format json")
	f.String("format", "text", "`FORM` of the result, text or json")
	f.BoolVarP(&g.dryRun, "dry-run", "n", false, "check and plan everything, write nothing")
	f.BoolVarP(&g.yes, "yes", "y", false, "answer confirmations with yes; overrides no check")
	f.StringSliceVar(&g.force, "force", nil, "override each named `CHECK`, as the refusing error names it")
	f.Bool("non-interactive", false, "fail instead of asking")
	f.BoolP("quiet", "q", false, "print errors only")
	f.CountP("verbose", "v", "say more on stderr; twice for still more")
	f.BoolVar(&g.debug, "debug", false, "say everything but secrets on stderr")
	f.String("progress", "auto", "`HOW` to show progress on stderr: auto, line, json or none")
	f.Duration("progress-interval", time.Second, "`TIME` between two lines of progress")
	f.String("color", "auto", "`WHEN` to use colour: auto, always or never")
	f.StringVar(&g.partition, "partition", "", "the filesystem is in partition `N|LABEL` of the image")
	f.Var(&g.offset, "offset", "the filesystem begins at byte `OFFSET`; K, M, G, T and s (sectors) may follow")
	f.Var(&g.size, "size", "the filesystem takes `SIZE` bytes from its offset")
	f.StringVar(&g.config, "config", "", "read defaults from `FILE` instead of the usual places")
}

// run executes one command line and returns the exit code.
func (a *app) run(args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	c, err := root.ExecuteContextC(a.ctx)
	if ferr := a.out.Flush(); err == nil || errors.Is(err, errPartial) && ferr != nil {
		err = ferr
	}
	if err == nil {
		if stdoutWasClosed(a.stdout) {
			a.warn("standard output is closed, the result went nowhere")
		}
		return exitDone
	}
	var lost *outputError
	if errors.As(err, &lost) && a.wrote {
		err = fmt.Errorf("%w: the image is changed as asked, only the report is lost: %w", errPartial, err)
	} else if errors.As(err, &lost) && errors.Is(lost, syscall.EPIPE) {
		return a.dieOfPipe()
	}
	return a.fail(c, err, a.wantsJSON(args))
}

// stdoutWriter marks errors of stdout as such: they come out of many places.
type stdoutWriter struct{ f *os.File }

func (w stdoutWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if err != nil {
		return n, &outputError{unwrapPath(err)}
	}
	return n, nil
}

// outputError: the result could not be written.
type outputError struct{ err error }

func (e *outputError) Error() string { return "write standard output: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// unwrapPath drops the "open FILE" that package os puts before an errno.
func unwrapPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// wantsJSON tells whether errors are to be JSON. After a usage error the flags
// may not have been parsed to their end, so the words are looked at too.
func (a *app) wantsJSON(args []string) bool {
	if a.flags.json || a.set.Format == "json" {
		return true
	}
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	for i, w := range args[:end] {
		if w == "--json" || w == "--format=json" || w == "--format" && i+1 < end && args[i+1] == "json" {
			return true
		}
	}
	return false
}

// prepare runs before every command: it refuses secrets where they do not
// belong and finds the settings that won.
func (a *app) prepare(c *cobra.Command) error {
	if c.Name() == cobra.ShellCompRequestCmd || c.Name() == cobra.ShellCompNoDescRequestCmd {
		return nil
	}
	if err := refuseSecretEnv(os.LookupEnv); err != nil {
		return err
	}
	if err := a.loadSettings(c.Flags()); err != nil {
		return err
	}
	a.style = newStyle(a.set.Color, a.stderr)
	if err := checkForce(a.flags.force); err != nil {
		return err
	}
	return a.flags.checkWindow(c.Flags())
}

// checkWindow refuses contradicting ways to name the filesystem in a disk.
func (g *globalFlags) checkWindow(f *pflag.FlagSet) error {
	if g.partition != "" && (f.Changed("offset") || f.Changed("size")) {
		return usagef("--partition and --offset or --size exclude each other")
	}
	if off := int64(g.offset); off%sectorSize != 0 {
		e := usagef("--offset %d is no multiple of %d: a filesystem begins with a sector", off, sectorSize)
		e.hint = fmt.Sprintf("the sector there begins at --offset %d; sectors are counted with an s: --offset %ds", off-off%sectorSize, off/sectorSize)
		return e
	}
	return nil
}

// sectorSize is what tools and tables of partitions count in, in bytes.
const sectorSize = 512

// operand is the image as a user would name it, with the flags that tell where
// in it the filesystem is.
func (a *app) operand() string { return operand(a.image) + a.windowFlags() }

func (a *app) windowFlags() string {
	if a.flags.partition != "" {
		return " --partition " + operand(a.flags.partition)
	}
	s := ""
	if a.flags.offset != 0 {
		s = fmt.Sprintf(" --offset %d", a.flags.offset)
	}
	if a.flags.size != 0 {
		s += fmt.Sprintf(" --size %d", a.flags.size)
	}
	return s
}

// json reports whether the result is to be JSON.
func (a *app) json() bool { return a.set.Format == "json" }

// note prints a message on stderr unless --quiet.
func (a *app) note(format string, args ...any) {
	if !a.set.Quiet {
		a.say("", format, args...)
	}
}

// warn prints a warning on stderr, --quiet or not: it is about a risk.
func (a *app) warn(format string, args ...any) {
	a.say(a.style.yellow("warning: "), format, args...)
}

// verbose prints a message on stderr with -v.
func (a *app) verbose(format string, args ...any) {
	if a.set.Verbose >= 1 || a.flags.debug {
		a.say("", format, args...)
	}
}

// debug prints a message on stderr with -vv or --debug.
func (a *app) debug(format string, args ...any) {
	if a.set.Verbose >= 2 || a.flags.debug {
		a.say("debug: ", format, args...)
	}
}

// say writes one line to stderr. There is no one to tell when that fails.
func (a *app) say(label, format string, args ...any) {
	fmt.Fprintf(a.stderr, "fsenc: %s%s\n", label, clean(fmt.Sprintf(format, args...)))
}

// isTerminal reports whether f is a terminal.
func isTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }
