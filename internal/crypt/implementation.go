package crypt

import (
	"fmt"

	"fsenc/internal/crypt/modes/isa"
	"fsenc/internal/crypt/policy"
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

// LibraryImplementation is the code path of the SM4 modes: that of the library
// they come from, which looks at the processor itself.
const LibraryImplementation = "gmsm"

// ImplementationsOf names the code paths of a mode as Implementations does.
// The others than those of SM4 all rest on AES.
func ImplementationsOf(m policy.Mode) []string {
	if m == policy.ModeSM4XTS || m == policy.ModeSM4CTS {
		return []string{LibraryImplementation}
	}
	return Implementations()
}

// UseImplementation switches the AES modes to a code path, and returns what
// switches back. It is for benchmarks: nothing else may use a cipher meanwhile,
// and ciphers must be made anew.
func UseImplementation(name string) (restore func(), err error) {
	if name == LibraryImplementation {
		return func() {}, nil
	}
	for _, s := range isa.Available() {
		if s.String() == name {
			return isa.Use(s), nil
		}
	}
	return nil, fmt.Errorf("no implementation %q here, only %v", name, Implementations())
}
