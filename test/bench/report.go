package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
)

// row is one comparison.
type row struct {
	Name      string  `json:"measurement"`
	Ours      string  `json:"ours"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Peer      string  `json:"peer,omitempty"` // none for what is only told
	PeerValue float64 `json:"peer_value,omitempty"`
	Ratio     float64 `json:"ratio,omitempty"` // Value by PeerValue
	Low       float64 `json:"ratio_low,omitempty"`
	High      float64 `json:"ratio_high,omitempty"`
	Bar       float64 `json:"bar,omitempty"`      // of the ratio; 0 if there is none
	AtLeast   bool    `json:"at_least,omitempty"` // the bar is a lower one
}

// missed reports whether the row has a bar and the ratio is beyond it.
func (r *row) missed() bool {
	if r.Bar == 0 {
		return false
	}
	return r.AtLeast && r.Ratio < r.Bar || !r.AtLeast && r.Ratio > r.Bar
}

// report prints rows: as a table in the end, or at once in JSON.
type report struct {
	json   bool
	rows   []row
	missed int
}

func (p *report) begin(scratch string) error {
	m, err := thisMachine(scratch)
	if err != nil {
		return err
	}
	if p.json {
		return p.emit(m)
	}
	fmt.Print(m)
	return nil
}

func (p *report) emit(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

func (p *report) row(r row) {
	if r.missed() {
		p.missed++
	}
	p.rows = append(p.rows, r)
	if p.json {
		if err := p.emit(r); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}

// progress tells on stderr what goes on.
func (p *report) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// end prints the table.
func (p *report) end() {
	if p.json {
		return
	}
	fmt.Printf("load:      %s at the end\n\n", load())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tFSENC\t\tPEER\t\tRATIO\tROUNDS\tBAR\t")
	for _, r := range p.rows {
		fmt.Fprintln(w, strings.Join(r.cells(), "\t"))
	}
	w.Flush()
}

func (r *row) cells() []string {
	c := []string{r.Name, r.Ours, number(r.Value) + " " + r.Unit, r.Peer, "", "", "", "", ""}
	if r.Peer == "" {
		return c
	}
	c[4], c[5] = number(r.PeerValue)+" "+r.Unit, fmt.Sprintf("%.2f", r.Ratio)
	if r.High > 0 {
		c[6] = fmt.Sprintf("%.2f-%.2f", r.Low, r.High)
	}
	if r.Bar > 0 {
		sign := "<="
		if r.AtLeast {
			sign = ">="
		}
		c[7] = fmt.Sprintf("%s %.2g", sign, r.Bar)
	}
	if r.missed() {
		c[8] = "missed"
	}
	return c
}

// number has three digits that matter.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
