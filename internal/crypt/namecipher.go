package crypt

import (
	"fmt"

	"fsenc/internal/crypt/modes/adiantum"
	"fsenc/internal/crypt/modes/cts"
	"fsenc/internal/crypt/modes/hctr2"
	"fsenc/internal/crypt/policy"
)

// nameCipher is a filenames mode under one key. It works in place, on 16 bytes
// or more.
type nameCipher interface {
	keyed
	encrypt(buf []byte, v *iv)
	decrypt(buf []byte, v *iv)
}

// newNameCipher makes a nameCipher without a key.
func newNameCipher(m policy.Mode) (keyed, error) {
	switch m {
	case policy.ModeAES256CTS, policy.ModeAES128CTS:
		return new(aesCTS), nil
	case policy.ModeSM4CTS:
		return new(sm4CTS), nil
	case policy.ModeAdiantum:
		return new(adiantumName), nil
	case policy.ModeAES256HCTR2:
		return new(aesHCTR2), nil
	}
	return nil, fmt.Errorf("%w: %v is no filenames mode", policy.ErrInvalid, m)
}

type aesCTS struct{ c cts.Cipher }

func (a *aesCTS) init(key []byte) error     { return a.c.Init(key) }
func (a *aesCTS) wipe()                     { a.c.Wipe() }
func (a *aesCTS) encrypt(buf []byte, v *iv) { a.c.Encrypt(buf, buf, v.short()) }
func (a *aesCTS) decrypt(buf []byte, v *iv) { a.c.Decrypt(buf, buf, v.short()) }

type sm4CTS struct{ c *cts.Cipher }

func (a *sm4CTS) init(key []byte) (err error) {
	a.wipe()
	a.c, err = cts.NewSM4(key)
	return err
}

func (a *sm4CTS) wipe() {
	if a.c != nil {
		a.c.Wipe()
	}
}

func (a *sm4CTS) encrypt(buf []byte, v *iv) { a.c.Encrypt(buf, buf, v.short()) }
func (a *sm4CTS) decrypt(buf []byte, v *iv) { a.c.Decrypt(buf, buf, v.short()) }

type adiantumName struct{ adiantumUnits }

func (a *adiantumName) encrypt(buf []byte, v *iv) {
	a.c.Encrypt(buf, buf, (*[adiantum.TweakSize]byte)(v))
}
func (a *adiantumName) decrypt(buf []byte, v *iv) {
	a.c.Decrypt(buf, buf, (*[adiantum.TweakSize]byte)(v))
}

type aesHCTR2 struct{ c hctr2.Cipher }

func (a *aesHCTR2) init(key []byte) error     { return a.c.Init(key) }
func (a *aesHCTR2) wipe()                     { a.c.Wipe() }
func (a *aesHCTR2) encrypt(buf []byte, v *iv) { a.c.Encrypt(buf, buf, (*[hctr2.TweakSize]byte)(v)) }
func (a *aesHCTR2) decrypt(buf []byte, v *iv) { a.c.Decrypt(buf, buf, (*[hctr2.TweakSize]byte)(v)) }
