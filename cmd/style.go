package cmd

import (
	"io"
	"os"
)

// style colours text, or leaves it alone.
type style struct{ on bool }

// newStyle decides whether output to w is coloured. The words always and never
// decide it; otherwise a terminal is coloured unless NO_COLOR or TERM=dumb
// speak against it. CLICOLOR_FORCE stands for always.
func newStyle(when string, w io.Writer) style {
	switch {
	case when == "always":
		return style{true}
	case when == "never", os.Getenv("NO_COLOR") != "":
		return style{}
	case os.Getenv("CLICOLOR_FORCE") != "" && os.Getenv("CLICOLOR_FORCE") != "0":
		return style{true}
	case os.Getenv("TERM") == "dumb":
		return style{}
	}
	f, ok := w.(*os.File)
	return style{ok && isTerminal(f)}
}

func (s style) paint(code, text string) string {
	if !s.on {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) red(t string) string    { return s.paint("1;31", t) }
func (s style) yellow(t string) string { return s.paint("33", t) }
func (s style) bold(t string) string   { return s.paint("1", t) }
