package crypt

import (
	"fmt"

	"fsenc/internal/crypt/modes/cbc"
	"fsenc/internal/crypt/modes/xts"
	"fsenc/internal/crypt/policy"
)

// unitCipher is a contents mode under one key, over many data units a call.
// init replaces the key; where the mode allows it without allocating. The IV
// goes by value, so that it need not be on the heap.
type unitCipher interface {
	init(key []byte) error
	encrypt(dst, src []byte, unitSize int, first iv)
	decrypt(dst, src []byte, unitSize int, first iv)
	wipe()
}

func newUnitCipher(m policy.Mode) (unitCipher, error) {
	switch m {
	case policy.ModeAES256XTS:
		return new(aesXTS), nil
	case policy.ModeAES128CBC:
		return new(aesCBC), nil
	}
	return nil, fmt.Errorf("%w: %v is no contents mode", policy.ErrInvalid, m)
}

type aesXTS struct{ c xts.Cipher }

func (a *aesXTS) init(key []byte) error { return a.c.Init(key) }
func (a *aesXTS) wipe()                 { a.c.Wipe() }

func (a *aesXTS) encrypt(dst, src []byte, unitSize int, first iv) {
	a.c.EncryptUnits(dst, src, unitSize, (*[16]byte)(first[:16]))
}

func (a *aesXTS) decrypt(dst, src []byte, unitSize int, first iv) {
	a.c.DecryptUnits(dst, src, unitSize, (*[16]byte)(first[:16]))
}

type aesCBC struct{ c cbc.Cipher }

func (a *aesCBC) init(key []byte) error { return a.c.Init(key) }
func (a *aesCBC) wipe()                 { a.c.Wipe() }

func (a *aesCBC) encrypt(dst, src []byte, unitSize int, first iv) {
	a.c.EncryptUnits(dst, src, unitSize, (*[16]byte)(first[:16]))
}

func (a *aesCBC) decrypt(dst, src []byte, unitSize int, first iv) {
	a.c.DecryptUnits(dst, src, unitSize, (*[16]byte)(first[:16]))
}
