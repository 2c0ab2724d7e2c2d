package crypt

import (
	"fmt"

	"fsenc/internal/crypt/modes/isa"
)

// Implementations names the code paths of the AES modes that this machine and
// this build have: "generic" first, the one in use, which is the fastest, last.
func Implementations() []string {
	var out []string
	for _, s := range isa.Available() {
		out = append(out, s.String())
	}
	return out
}

// UseImplementation switches the AES modes to a code path, and returns what
// switches back. It is for benchmarks: nothing else may use a cipher meanwhile,
// and ciphers must be made anew.
func UseImplementation(name string) (restore func(), err error) {
	for _, s := range isa.Available() {
		if s.String() == name {
			return isa.Use(s), nil
		}
	}
	return nil, fmt.Errorf("no implementation %q here, only %v", name, Implementations())
}
