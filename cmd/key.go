package cmd

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"fsenc/internal/image/probe"
	"fsenc/internal/keystore"
)

func newKey(a *app) *cobra.Command {
	return newGroup("key", groupSetup, "Make, list, try, change, remove and export keys",
		"Work with the keys of an image: with master keys as such, and with the policies and\n"+
			"protectors that .fscrypt keeps in the format of google/fscrypt. A policy there is a\n"+
			"master key wrapped under protectors; a protector is a passphrase or a raw key.",
		newKeyAdd(a), newKeyList(a), newKeyVerify(a), newKeyChange(a), newKeyRemove(a), newKeyExport(a))
}

// openKeystore opens an image and its .fscrypt.
func (a *app) openKeystore(path string, k *keyFlags, write bool) (*access, *keystore.Store, error) {
	if err := k.check(); err != nil {
		return nil, nil, err
	}
	keys, err := a.masterKeys(k)
	if err != nil {
		return nil, nil, err
	}
	img, err := a.openImage(path, probe.Options{Write: write})
	if err != nil {
		wipeKeys(keys)
		return nil, nil, err
	}
	x := a.accessTo(img, k, keys)
	s, err := x.metadata()
	if errors.Is(err, errNoMetadata) {
		err = &hinted{keystore.ErrNotSetUp, "fsenc setup IMAGE makes .fscrypt"}
	}
	if err != nil {
		x.Close()
		return nil, nil, err
	}
	return x, s, nil
}

// sources maps what --source takes.
var sources = map[string]keystore.Source{"passphrase": keystore.SourcePassphrase, "raw": keystore.SourceRawKey}

// sourceWord is how our command line calls a source.
func sourceWord(s keystore.Source) string {
	switch s {
	case keystore.SourcePassphrase:
		return "passphrase"
	case keystore.SourceRawKey:
		return "raw"
	case keystore.SourceLogin:
		return "login"
	}
	return s.String()
}

// jsonProtector is a protector in JSON.
type jsonProtector struct {
	Protector string   `json:"protector"`
	Source    string   `json:"source"`
	NameText  string   `json:"name"`
	UID       *int64   `json:"uid,omitempty"`
	Policies  []string `json:"policies"`
}

func protectorJSON(s *keystore.Store, p *keystore.Protector) jsonProtector {
	j := jsonProtector{Protector: p.ID, Source: sourceWord(p.Source), NameText: p.Name, Policies: []string{}}
	if p.Source == keystore.SourceLogin {
		j.UID = &p.UID
	}
	for _, pol := range s.PoliciesOf(p.ID) {
		j.Policies = append(j.Policies, pol.ID)
	}
	return j
}

// protectorText names a protector in a sentence.
func protectorText(p *keystore.Protector) string {
	if p.Name == "" {
		return fmt.Sprintf("protector %s (login of uid %d)", p.ID, p.UID)
	}
	return fmt.Sprintf("protector %s (%s)", p.ID, escapeString(p.Name))
}
