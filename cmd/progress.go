package cmd

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// tick is one report of running work. Totals of 0 are unknown.
type tick struct {
	Phase      string `json:"phase"`
	Items      uint64 `json:"items"`
	TotalItems uint64 `json:"total_items,omitempty"`
	Bytes      int64  `json:"bytes"`
	TotalBytes int64  `json:"total_bytes,omitempty"`
}

// meter shows progress on stderr in one of three forms, or not at all. It is
// called from one goroutine.
type meter struct {
	app      *app
	w        io.Writer
	form     string // "bar", "line", "json", "none"
	interval time.Duration
	start    time.Time
	shown    time.Time
	last     tick
	width    int // of the line on the terminal that is to be erased
}

// redraw is how often the line on a terminal changes.
const redraw = 100 * time.Millisecond

// newMeter chooses the form: auto is a redrawn line where stderr is a terminal
// that can do it, and nothing elsewhere.
func (a *app) newMeter() *meter {
	m := &meter{app: a, w: a.stderr, form: a.set.Progress, interval: a.set.ProgressInterval, start: time.Now()}
	if m.form == "auto" {
		m.form = "none"
		if f, ok := a.stderr.(*os.File); ok && isTerminal(f) && os.Getenv("TERM") != "dumb" {
			m.form, m.interval = "bar", redraw
		}
	}
	if a.set.Quiet {
		m.form = "none"
	}
	return m
}

// update takes a report and shows it if it is time.
func (m *meter) update(t tick) {
	phase := t.Phase != m.last.Phase
	m.last = t
	if m.form == "none" || !phase && time.Since(m.shown) < m.interval {
		return
	}
	m.show()
}

// show prints the last report. There is no one to tell when that fails.
func (m *meter) show() {
	m.shown = time.Now()
	switch m.form {
	case "bar":
		text := cut(m.text(), m.columns()-1)
		fmt.Fprintf(m.w, "\r%s%s", text, strings.Repeat(" ", max(0, m.width-len(text))))
		m.width = len(text)
	case "line":
		fmt.Fprintf(m.w, "fsenc: %s\n", m.text())
	case "json":
		m.json()
	}
}

func (m *meter) json() {
	// Progress that cannot be shown is no reason to stop.
	_ = m.app.emitTo(m.w, struct {
		Fsenc int    `json:"fsenc"`
		Event string `json:"event"`
		tick
		Seconds float64 `json:"seconds"`
	}{1, "progress", m.last, time.Since(m.start).Round(time.Millisecond).Seconds()})
}

// finish shows the last state, or erases the line on the terminal so that
// what follows starts clean.
func (m *meter) finish() {
	switch {
	case m.form == "bar" && m.width > 0:
		fmt.Fprintf(m.w, "\r%s\r", strings.Repeat(" ", m.width))
		m.width = 0
	case m.last.Phase != "" && (m.form == "line" || m.form == "json"):
		m.show()
	}
}

// text is the report in words, the most important first: a narrow terminal
// shows its beginning.
func (m *meter) text() string {
	t := m.last
	var b strings.Builder
	if p := t.percent(); p >= 0 {
		fmt.Fprintf(&b, "%3d%% ", p)
	}
	b.WriteString(t.Phase)
	if t.TotalItems > 0 {
		fmt.Fprintf(&b, "  %d/%d inodes", t.Items, t.TotalItems)
	}
	if t.Bytes > 0 {
		fmt.Fprintf(&b, "  %s", iec(t.Bytes))
	}
	if left := m.left(); left > 0 {
		fmt.Fprintf(&b, "  %s left", left)
	}
	return b.String()
}

// percent is how much is done, by bytes where they are known; -1 if unknown.
func (t tick) percent() int {
	switch {
	case t.TotalBytes > 0:
		return int(100 * float64(min(t.Bytes, t.TotalBytes)) / float64(t.TotalBytes))
	case t.TotalItems > 0:
		return int(100 * float64(min(t.Items, t.TotalItems)) / float64(t.TotalItems))
	}
	return -1
}

// left estimates the time that remains once there is something to go by.
func (m *meter) left() time.Duration {
	spent := time.Since(m.start)
	p := m.last.percent()
	if p <= 0 || spent < 2*time.Second {
		return 0
	}
	return (spent * time.Duration(100-p) / time.Duration(p)).Round(time.Second)
}

// columns is the width of the terminal.
func (m *meter) columns() int {
	if f, ok := m.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// cut shortens ASCII text to n columns.
func cut(s string, n int) string {
	if n < 1 {
		return ""
	}
	return s[:min(len(s), n)]
}
