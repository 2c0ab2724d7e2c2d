// Package man holds the manual pages of fsenc, one for each command. They are
// generated from the command tree and the hand-written sections beside it, and
// go with the program so that fsenc man can install them.
package man

import "embed"

//go:generate go run ./gen ..

// Pages holds the generated pages, fsenc.1 and fsenc-COMMAND.1.
//
//go:embed *.1
var Pages embed.FS
