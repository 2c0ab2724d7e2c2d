//go:build !goexperiment.runtimesecret

package crypt

// secretly runs f. Builds with GOEXPERIMENT=runtimesecret wipe what it leaves
// in registers and on the stack, too.
func secretly(f func()) { f() }
