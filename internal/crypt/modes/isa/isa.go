// Package isa chooses the instruction set that the AES modes run on.
//
// One choice serves xts, aesblk and polyval, so that a test or a benchmark can
// walk the paths of all of them with one loop. Sets are ordered: a later one
// includes what an earlier one of the same architecture needs.
package isa

import "slices"

// Set is a group of instructions for which the modes have code of their own.
type Set uint8

// The sets. Generic is plain Go and exists on every machine.
const (
	Generic Set = iota
	AESNI       // amd64: AES-NI, PCLMULQDQ, SSE4.1
	VAES256     // amd64: VAES and VPCLMULQDQ on 256-bit registers, AVX2
	VAES512     // amd64: VAES and VPCLMULQDQ on 512-bit registers, AVX-512 F, BW, DQ and VL
	ARMv8       // arm64: AESE, AESMC, PMULL
)

var setNames = [...]string{"generic", "aes-ni", "vaes-avx2", "vaes-avx512", "armv8-aes"}

// String returns the name that benchmarks and test output show.
func (s Set) String() string { return setNames[s] }

// available is what this processor and this build offer, the fastest last.
var available = append([]Set{Generic}, detect()...)

var current = available[len(available)-1]

// Available returns the sets of this processor and this build, Generic first
// and the fastest last.
func Available() []Set { return slices.Clone(available) }

// Current returns the set in use: the fastest, unless Use was called.
func Current() Set { return current }

// Use switches every mode to s and returns a function that switches back. It
// is for tests and benchmarks: nothing else may use a cipher meanwhile. A set
// that Available does not list is a caller's mistake and panics.
func Use(s Set) (restore func()) {
	if !slices.Contains(available, s) {
		panic("isa: " + s.String() + " is not available here")
	}
	old := current
	current = s
	return func() { current = old }
}
