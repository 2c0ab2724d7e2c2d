//go:build !(amd64 || arm64) || purego

package xts

func encryptUnits(c *Cipher, dst, src []byte, unitSize int, iv *[16]byte) {
	cryptUnitsGeneric(c, c.data.Encrypt, dst, src, unitSize, iv)
}

func decryptUnits(c *Cipher, dst, src []byte, unitSize int, iv *[16]byte) {
	cryptUnitsGeneric(c, c.data.Decrypt, dst, src, unitSize, iv)
}
