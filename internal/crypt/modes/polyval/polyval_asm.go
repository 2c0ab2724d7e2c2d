//go:build (amd64 || arm64) && !purego

package polyval

import "fsenc/internal/crypt/modes/isa"

//go:generate sh -c "cd ../asmgen && go run . -kernels polyval -out ../polyval/polyval_amd64.s"

// powersKernel makes the other powers of the last one.
//
//go:noescape
func powersKernel(powers *[aggregate]element)

// updateKernel takes n blocks, at least one.
//
//go:noescape
func updateKernel(acc *[BlockSize]byte, blocks *byte, n int, powers *[aggregate]element)

func initKey(k *Key, h element) {
	if isa.Current() == isa.Generic {
		initKeyGeneric(k, h)
		return
	}
	k.powers[aggregate-1] = h
	powersKernel(&k.powers)
}

func update(k *Key, acc *[BlockSize]byte, blocks []byte) {
	if isa.Current() == isa.Generic {
		updateGeneric(k, acc, blocks)
		return
	}
	updateKernel(acc, &blocks[0], len(blocks)/BlockSize, &k.powers)
}
