package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fsenc/cmd"
)

// order is that of man-pages(7). Sections with a function are generated.
var order = []struct {
	head string
	make func(*cobra.Command) string
}{
	{"NAME", nameSection},
	{"SYNOPSIS", synopsis},
	{"DESCRIPTION", description},
	{"COMMANDS", commandList},
	{"OPTIONS", options},
	{"EXIT STATUS", nil},
	{"ENVIRONMENT", nil},
	{"FILES", nil},
	{"NOTES", nil},
	{"EXAMPLES", nil},
	{"SEE ALSO", seeAlso},
}

// page is the whole page in the man macros.
func page(c *cobra.Command, own map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 %s \"fsenc %s\" \"fsenc manual\"\n", strings.ToUpper(pageName(c)), cmd.ReleaseDate(), cmd.Release())
	for _, s := range order {
		text := own[s.head]
		if s.make != nil {
			text = s.make(c)
		}
		if text != "" {
			fmt.Fprintf(&b, ".SH %s\n%s", s.head, text)
		}
	}
	return b.String()
}

func nameSection(c *cobra.Command) string {
	short := []rune(c.Short)
	return fmt.Sprintf("%s \\- %s\n", roff(pageName(c)), roff(strings.ToLower(string(short[:1]))+string(short[1:])))
}

func synopsis(c *cobra.Command) string {
	line := c.CommandPath()
	if documented(c) != nil {
		line += " COMMAND"
	} else if _, operands, ok := strings.Cut(c.Use, " "); ok {
		line += " " + operands
	}
	return ".B " + roff(line) + " [flags]\n"
}

func description(c *cobra.Command) string {
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	var b strings.Builder
	for i, part := range strings.Split(long, "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		if strings.HasPrefix(part, "    ") {
			fmt.Fprintf(&b, ".EX\n%s\n.EE\n", roff(strings.TrimSpace(part)))
		} else {
			b.WriteString(fill(part))
		}
	}
	return b.String()
}

func commandList(c *cobra.Command) string {
	var b strings.Builder
	for _, sub := range documented(c) {
		fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s", roff(pageName(sub)), fill(sub.Short+"."))
	}
	return b.String()
}

// options lists the flags of a command; the global ones are on the page of the
// root alone.
func options(c *cobra.Command) string {
	var b strings.Builder
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { b.WriteString(option(f)) })
	if !c.HasParent() {
		c.PersistentFlags().VisitAll(func(f *pflag.Flag) { b.WriteString(option(f)) })
		return b.String()
	}
	if b.Len() > 0 {
		b.WriteString(".PP\n")
	}
	return b.String() + "The flags of all commands are described in\n.BR fsenc (1).\n"
}

func option(f *pflag.Flag) string {
	if f.Hidden || f.Name == "help" {
		return ""
	}
	arg, usage := pflag.UnquoteUsage(f)
	names := `\fB` + roff("--"+f.Name) + `\fP`
	if f.Shorthand != "" {
		names = `\fB` + roff("-"+f.Shorthand) + `\fP, ` + names
	}
	if arg != "" && f.Value.Type() != "count" {
		names += ` \fI` + roff(arg) + `\fP`
	}
	if d := f.DefValue; !slices.Contains([]string{"", "0", "-1", "false", "[]"}, d) {
		usage += fmt.Sprintf(" (default %s)", d)
	}
	return ".TP\n" + names + "\n" + fill(strings.ToUpper(usage[:1])+usage[1:]+".")
}

func seeAlso(c *cobra.Command) string {
	var pages []string
	if c.HasParent() {
		pages = append(pages, pageName(c.Parent()))
		for _, s := range documented(c.Parent()) {
			if s != c && c.Parent().HasParent() {
				pages = append(pages, pageName(s))
			}
		}
	}
	var b strings.Builder
	for _, p := range pages {
		fmt.Fprintf(&b, ".BR %s (1),\n", roff(p))
	}
	return b.String() + ".BR fscrypt (1),\n.BR e2fsck (8)\n"
}

// width is how long lines of text become.
const width = 72

// fill breaks text into lines.
func fill(text string) string {
	var b strings.Builder
	n := 0
	for _, word := range strings.Fields(text) {
		if n > 0 && n+1+len(word) > width {
			b.WriteString("\n")
			n = 0
		}
		if n > 0 {
			b.WriteString(" ")
			n++
		}
		n += len(word)
		if n == len(word) && strings.ContainsAny(word[:1], ".'") {
			b.WriteString(`\&`)
		}
		b.WriteString(roff(word))
	}
	return b.String() + "\n"
}

// roff quotes what the formatter would take for its own.
func roff(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
}
