//go:build !(amd64 || arm64) || purego

package polyval

func initKey(k *Key, h element) { initKeyGeneric(k, h) }

func update(k *Key, acc *[BlockSize]byte, blocks []byte) { updateGeneric(k, acc, blocks) }
