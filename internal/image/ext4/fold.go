package ext4

import "fsenc/internal/casefold"

// foldOrRaw is what a casefolded directory compares and hashes.
func foldOrRaw(name []byte) []byte {
	if folded, ok := casefold.Fold(nil, name); ok {
		return folded
	}
	return name
}
