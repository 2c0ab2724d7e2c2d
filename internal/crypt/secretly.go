//go:build goexperiment.runtimesecret

package crypt

import "runtime/secret"

// secretly runs f and wipes what it leaves in registers, on the stack and on
// the heap.
func secretly(f func()) { secret.Do(f) }
