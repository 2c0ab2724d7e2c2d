package aesblk

func expandKey(s *Schedule, key []byte) { expandKeyGeneric(s, key) }

func invertKeys(s *Schedule) { invertKeysGeneric(s) }

func encryptBlock(s *Schedule, dst, src *[BlockSize]byte) { encryptBlockGeneric(s, dst, src) }

func decryptBlock(s *Schedule, dst, src *[BlockSize]byte) { decryptBlockGeneric(s, dst, src) }
