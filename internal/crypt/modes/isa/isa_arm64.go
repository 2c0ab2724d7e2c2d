//go:build arm64 && !purego

package isa

import "golang.org/x/sys/cpu"

func detect() []Set {
	if !cpu.ARM64.HasAES || !cpu.ARM64.HasPMULL {
		return nil
	}
	return []Set{ARMv8}
}
