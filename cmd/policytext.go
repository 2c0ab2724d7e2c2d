package cmd

import (
	"fmt"

	"fsenc/internal/crypt/policy"
	"fsenc/internal/image"
	"fsenc/internal/survey"
)

func policyJSON(p policy.Policy, blockSize int) jsonPolicy {
	return jsonPolicy{
		Version: p.Version, Key: p.KeySpec(), Contents: p.Contents.String(), Filenames: p.Filenames.String(),
		Padding: p.Padding(), Method: p.Method().String(), DataUnit: p.DataUnitSize(blockSize), FlagsValue: p.Flags,
	}
}

// policyFlags names what a policy has beyond modes and key.
func policyFlags(p policy.Policy, blockSize int) string {
	s := fmt.Sprintf("padding %d", p.Padding())
	if p.Method() != policy.PerFile {
		s += ", " + p.Method().String()
	}
	if du := p.DataUnitSize(blockSize); du != blockSize {
		s += fmt.Sprintf(", data units of %d", du)
	}
	return s
}

// policyModes is "AES-256-XTS/AES-256-CTS".
func policyModes(p policy.Policy) string { return p.Contents.String() + "/" + p.Filenames.String() }

// policyTable prints policies and what they are used for.
func (a *app) policyTable(list []survey.Usage, blockSize int) error {
	t := newTable(a.out, "KEY", "VERSION", "MODES", "FLAGS", "DIRS", "FILES", "SYMLINKS", "SIZE")
	for _, u := range list {
		p := u.Policy
		t.row(p.KeySpec(), fmt.Sprintf("v%d", p.Version), policyModes(p), policyFlags(p, blockSize),
			fmt.Sprint(u.Dirs), fmt.Sprint(u.Files), fmt.Sprint(u.Links), iec(u.Bytes))
	}
	return t.flush()
}

// modeOf is the mode that an inode of a type uses for what it holds.
func modeOf(p policy.Policy, t image.FileType) policy.Mode {
	if t == image.TypeRegular {
		return p.Contents
	}
	return p.Filenames
}
