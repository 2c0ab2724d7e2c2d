// Command asmgen writes the amd64 assembly of the AES modes. It is a module
// of its own, so that avo and what avo needs never enter the product's build.
//
// Each package with kernels runs it from a go:generate line beside its
// declarations; the output is committed.
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
)

var kernels = map[string]func(){
	"aesblk":  aesblkKernels,
	"polyval": polyvalKernels,
	"xts":     xtsKernels,
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("asmgen: ")
	pkg := flag.String("kernels", "", "package whose kernels to write")
	flag.Parse()
	write, ok := kernels[*pkg]
	if !ok {
		log.Fatalf("no kernels for package %q", *pkg)
	}
	ConstraintExpr("amd64,!purego")
	write()
	Generate()
}
