package cmd

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"fsenc/internal/convert"
	"fsenc/internal/txn"
)

func newInspectJournal(a *app) *cobra.Command {
	var log string
	c := &cobra.Command{
		Use:   "journal IMAGE",
		Short: "Show the journal of an interrupted conversion",
		Long: "Show what the journal beside an image says: which conversion it belongs to, how\n" +
			"contents are protected, and how far it had come. Neither journal nor image is\n" +
			"changed, and no key is needed.",
		Args:              operands("IMAGE"),
		ValidArgsFunction: completeImage,
		RunE:              func(_ *cobra.Command, args []string) error { return a.inspectJournal(args[0], log) },
	}
	c.Flags().StringVar(&log, "journal", "", "the journal is in `FILE` instead of IMAGE.fsenc")
	return c
}

func (a *app) inspectJournal(path, log string) error {
	log, err := logPath(path, log)
	if err != nil {
		return plainOpenError(path, err)
	}
	img, err := a.openStore(path, false)
	if err != nil {
		return err
	}
	defer img.Close()
	file, err := txn.OpenLogFile(log)
	if errors.Is(err, fs.ErrNotExist) {
		return a.noLog(img, log)
	}
	if err != nil {
		return err
	}
	s, err := convert.Describe(img.home, file)
	if err := errors.Join(a.explainLog(err, log), file.Close()); err != nil {
		return err
	}
	return a.printJournal(s, log)
}

// journalState is the word for where a conversion stopped.
func journalState(s *convert.LogState) string {
	switch {
	case s.Finished:
		return "finished"
	case !s.Begun:
		return "never begun"
	case s.Undoing:
		return "undoing"
	}
	return "begun"
}

func (a *app) printJournal(s *convert.LogState, log string) error {
	state := journalState(s)
	tops := []string{}
	policies := []jsonPolicy{}
	block := 4096
	if s.Plan != nil {
		for _, t := range s.Plan.Tops {
			tops = append(tops, t.Path)
		}
		block = s.Plan.BlockSize()
		for _, p := range s.Plan.AllPolicies() {
			policies = append(policies, policyJSON(p, block))
		}
	}
	if a.json() {
		return a.emit(struct {
			header
			Journal   string       `json:"journal"`
			ID        string       `json:"id"`
			UUID      string       `json:"uuid"`
			ImageSize int64        `json:"image_size"`
			Operation string       `json:"operation"`
			Method    string       `json:"resilience"`
			Plaintext bool         `json:"plaintext"`
			State     string       `json:"state"`
			Done      uint64       `json:"done"`
			Total     uint64       `json:"total"`
			Boundary  uint64       `json:"boundary"`
			Paths     []string     `json:"paths"`
			Policies  []jsonPolicy `json:"policies"`
		}{headerOf("inspect journal"), log, hex.EncodeToString(s.Header.ID[:]), hex.EncodeToString(s.Header.UUID[:]),
			s.Header.ImageSize, s.Header.Kind, s.Header.Method.String(), s.Header.Plaintext, state,
			s.Done, s.Total, s.Boundary, tops, policies})
	}
	t := newTable(a.out)
	t.row("journal:", escapeString(log))
	t.row("id:", hex.EncodeToString(s.Header.ID[:]))
	t.row("filesystem:", hex.EncodeToString(s.Header.UUID[:]))
	t.row("image size:", exact(s.Header.ImageSize))
	t.row("operation:", s.Header.Kind)
	t.row("resilience:", s.Header.Method.String())
	t.row("holds plaintext:", yesNo(s.Header.Plaintext))
	t.row("state:", state)
	if s.Plan != nil {
		t.row("paths:", escapeString(strings.Join(tops, " ")))
		for _, p := range s.Plan.AllPolicies() {
			t.row("policy:", fmt.Sprintf("v%d, %s, %s, key %s", p.Version, policyModes(p), policyFlags(p, block), p.KeySpec()))
		}
		t.row("done:", fmt.Sprintf("%d of %d, and %d blocks of the next", s.Done, s.Total, s.Boundary))
	}
	return t.flush()
}
