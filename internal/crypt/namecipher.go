package crypt

import (
	"fmt"

	"fsenc/internal/crypt/modes/cts"
	"fsenc/internal/crypt/policy"
)

// nameCipher is a filenames mode under one key. It works in place, on 16 bytes
// or more; init is as for unitCipher.
type nameCipher interface {
	init(key []byte) error
	encrypt(buf []byte, v *iv)
	decrypt(buf []byte, v *iv)
	wipe()
}

func newNameCipher(m policy.Mode) (nameCipher, error) {
	switch m {
	case policy.ModeAES256CTS, policy.ModeAES128CTS:
		return new(aesCTS), nil
	}
	return nil, fmt.Errorf("%w: %v is no filenames mode", policy.ErrInvalid, m)
}

type aesCTS struct{ c cts.Cipher }

func (a *aesCTS) init(key []byte) error     { return a.c.Init(key) }
func (a *aesCTS) wipe()                     { a.c.Wipe() }
func (a *aesCTS) encrypt(buf []byte, v *iv) { a.c.Encrypt(buf, buf, (*[16]byte)(v[:16])) }
func (a *aesCTS) decrypt(buf []byte, v *iv) { a.c.Decrypt(buf, buf, (*[16]byte)(v[:16])) }
