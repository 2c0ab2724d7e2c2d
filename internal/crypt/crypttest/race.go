//go:build race

package crypttest

const race = true
