package crypt

import (
	"errors"
	"fmt"

	"fsenc/internal/crypt/modes/adiantum"
	"fsenc/internal/crypt/modes/cbc"
	"fsenc/internal/crypt/modes/sm4xts"
	"fsenc/internal/crypt/modes/xts"
	"fsenc/internal/crypt/policy"
)

// unitCipher is a contents mode under one key, over many data units a call. The
// IV goes by value, so that it need not be on the heap.
type unitCipher interface {
	keyed
	encrypt(dst, src []byte, unitSize int, first iv)
	decrypt(dst, src []byte, unitSize int, first iv)
}

// newUnitCipher makes a unitCipher without a key.
func newUnitCipher(m policy.Mode) (keyed, error) {
	switch m {
	case policy.ModeAES256XTS:
		return new(aesXTS), nil
	case policy.ModeAES128CBC:
		return new(aesCBC), nil
	case policy.ModeSM4XTS:
		return new(sm4XTS), nil
	case policy.ModeAdiantum:
		return new(adiantumUnits), nil
	}
	return nil, fmt.Errorf("%w: %v is no contents mode", policy.ErrInvalid, m)
}

type aesXTS struct{ c xts.Cipher }

func (a *aesXTS) init(key []byte) error {
	err := a.c.Init(key)
	if errors.Is(err, xts.ErrWeakKey) {
		return fmt.Errorf("%w: %w", ErrWeakKey, err)
	}
	return err
}

func (a *aesXTS) wipe() { a.c.Wipe() }

func (a *aesXTS) encrypt(dst, src []byte, unitSize int, first iv) {
	a.c.EncryptUnits(dst, src, unitSize, first.short())
}

func (a *aesXTS) decrypt(dst, src []byte, unitSize int, first iv) {
	a.c.DecryptUnits(dst, src, unitSize, first.short())
}

type aesCBC struct{ c cbc.Cipher }

func (a *aesCBC) init(key []byte) error { return a.c.Init(key) }
func (a *aesCBC) wipe()                 { a.c.Wipe() }

func (a *aesCBC) encrypt(dst, src []byte, unitSize int, first iv) {
	a.c.EncryptUnits(dst, src, unitSize, first.short())
}

func (a *aesCBC) decrypt(dst, src []byte, unitSize int, first iv) {
	a.c.DecryptUnits(dst, src, unitSize, first.short())
}

type sm4XTS struct{ c *sm4xts.Cipher }

func (a *sm4XTS) init(key []byte) (err error) {
	a.wipe()
	a.c, err = sm4xts.New(key)
	if errors.Is(err, sm4xts.ErrWeakKey) {
		return fmt.Errorf("%w: %w", ErrWeakKey, err)
	}
	return err
}

func (a *sm4XTS) wipe() {
	if a.c != nil {
		a.c.Wipe()
	}
}

func (a *sm4XTS) encrypt(dst, src []byte, unitSize int, first iv) {
	a.c.EncryptUnits(dst, src, unitSize, first.short())
}

func (a *sm4XTS) decrypt(dst, src []byte, unitSize int, first iv) {
	a.c.DecryptUnits(dst, src, unitSize, first.short())
}

type adiantumUnits struct{ c adiantum.Cipher }

func (a *adiantumUnits) init(key []byte) error { return a.c.Init(key) }
func (a *adiantumUnits) wipe()                 { a.c.Wipe() }

func (a *adiantumUnits) encrypt(dst, src []byte, unitSize int, first iv) {
	a.c.EncryptUnits(dst, src, unitSize, (*[adiantum.TweakSize]byte)(&first))
}

func (a *adiantumUnits) decrypt(dst, src []byte, unitSize int, first iv) {
	a.c.DecryptUnits(dst, src, unitSize, (*[adiantum.TweakSize]byte)(&first))
}
