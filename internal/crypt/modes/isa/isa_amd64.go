//go:build amd64 && !purego

package isa

import "golang.org/x/sys/cpu"

// cpuid7ecx returns ECX of CPUID leaf 7, subleaf 0, or 0 where the processor
// has no such leaf.
//
//go:noescape
func cpuid7ecx() uint32

// Bits of cpuid7ecx. x/sys/cpu reports them only together with AVX-512, which
// Zen 3 and the client processors from Alder Lake on do not have.
const (
	bitVAES       = 1 << 9
	bitVPCLMULQDQ = 1 << 10
)

func detect() []Set {
	x := &cpu.X86
	if !x.HasAES || !x.HasPCLMULQDQ || !x.HasSSSE3 || !x.HasSSE41 {
		return nil
	}
	sets := []Set{AESNI}
	ecx7 := cpuid7ecx()
	// HasAVX2 says that the operating system saves the wide registers, too.
	if !x.HasAVX2 || ecx7&bitVAES == 0 || ecx7&bitVPCLMULQDQ == 0 {
		return sets
	}
	sets = append(sets, VAES256)
	if x.HasBMI2 && x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL {
		sets = append(sets, VAES512)
	}
	return sets
}
