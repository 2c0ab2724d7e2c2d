package keystore

import (
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"fsenc/internal/secret"
)

// Costs is what hashing a passphrase by Argon2id (version 0x13) takes.
type Costs struct {
	Time        int64 // passes over the memory
	MemoryKiB   int64
	Parallelism int64 // lanes

	// TruncationFixed says that Parallelism is meant as it is. Older versions
	// of fscrypt used only its low 8 bits, and so do we where it is not set.
	TruncationFixed bool
}

// Fields of HashingCosts; there is no 1.
const (
	numTime            protowire.Number = 2
	numMemory          protowire.Number = 3
	numParallelism     protowire.Number = 4
	numTruncationFixed protowire.Number = 5
)

func parseCosts(m message) Costs {
	return Costs{
		Time:            int64(m.varint(numTime)),
		MemoryKiB:       int64(m.varint(numMemory)),
		Parallelism:     int64(m.varint(numParallelism)),
		TruncationFixed: m.varint(numTruncationFixed) != 0,
	}
}

// into writes c over m, and returns the message's bytes.
func (c Costs) into(m message) []byte {
	m.setVarint(numTime, uint64(c.Time))
	m.setVarint(numMemory, uint64(c.MemoryKiB))
	m.setVarint(numParallelism, uint64(c.Parallelism))
	if old := m.varint(numTruncationFixed); c.TruncationFixed != (old != 0) {
		m.setVarint(numTruncationFixed, 1-min(old, 1))
	}
	return m.bytes()
}

// lanes is what Argon2 gets as its parallelism.
func (c Costs) lanes() uint8 { return uint8(c.Parallelism) }

// check holds c against what fscrypt and Argon2 take. The error wraps ErrCosts.
func (c Costs) check() error {
	tooMany := c.Parallelism < 1 || c.Parallelism > math.MaxUint8
	switch {
	case tooMany && (c.TruncationFixed || c.lanes() == 0):
		return fmt.Errorf("%w: parallelism %d, want 1 to %d", ErrCosts, c.Parallelism, math.MaxUint8)
	case c.Time < 1 || c.Time > math.MaxUint32:
		return fmt.Errorf("%w: time %d, want 1 to %d", ErrCosts, c.Time, uint32(math.MaxUint32))
	case c.MemoryKiB < 8*int64(c.lanes()) || c.MemoryKiB > math.MaxUint32:
		return fmt.Errorf("%w: memory %d KiB, want %d to %d", ErrCosts, c.MemoryKiB, 8*int64(c.lanes()), uint32(math.MaxUint32))
	}
	return nil
}

// Limits bound what a file in the image can make fsenc spend on hashing.
type Limits struct {
	MemoryKiB int64
	// WorkKiB bounds the memory that all passes go over. A pass counts for at
	// least 256 KiB.
	WorkKiB int64
}

const (
	maxMemoryKiB = 4 << 20   // 4 GiB
	maxWorkKiB   = 256 << 20 // 256 GiB: some minutes
	minPassKiB   = 256
)

// DefaultLimits are 4 GiB, or the machine's memory if that is less, and
// 256 GiB in all passes: 2000 times what fscrypt takes by default.
func DefaultLimits() Limits {
	return Limits{MemoryKiB: min(maxMemoryKiB, physicalKiB()), WorkKiB: maxWorkKiB}
}

// physicalKiB is the machine's memory.
func physicalKiB() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return maxMemoryKiB // it fails for a bad address only
	}
	return int64(uint64(info.Totalram) / 1024 * uint64(info.Unit))
}

// allow refuses costs that are legal but beyond the limits.
func (l Limits) allow(c Costs) error {
	if c.MemoryKiB > l.MemoryKiB {
		return fmt.Errorf("%w: hashing the passphrase takes %d KiB of memory, more than the %d KiB allowed", ErrCosts, c.MemoryKiB, l.MemoryKiB)
	}
	if pass := max(c.MemoryKiB, minPassKiB); c.Time > l.WorkKiB/pass {
		return fmt.Errorf("%w: hashing the passphrase takes %d passes over %d KiB, more than the %d KiB in all that are allowed", ErrCosts, c.Time, c.MemoryKiB, l.WorkKiB)
	}
	return nil
}

// hash is Argon2id of a passphrase; c has been checked.
func (c Costs) hash(passphrase, salt []byte) (*secret.Buffer, error) {
	key := argon2.IDKey(passphrase, salt, uint32(c.Time), uint32(c.MemoryKiB), c.lanes(), wrappingKeySize)
	if c.MemoryKiB >= 16<<10 {
		// Nobody needs so much memory for the rest of the run.
		debug.FreeOSMemory()
	}
	return secret.Move(key)
}

// Calibration as google/fscrypt does it by default.
const (
	usualMemoryKiB = 128 << 10
	usualTarget    = time.Second
)

// Calibrate finds costs that take this machine about target, a second if that
// is 0: on all CPUs, in 128 MiB or an eighth of the machine's memory, with as
// many passes as fit. Where one pass takes too long it is one over less memory.
// Calibrate itself takes about one pass.
func Calibrate(target time.Duration) Costs {
	if target <= 0 {
		target = usualTarget
	}
	c := Costs{
		Time:            1,
		Parallelism:     int64(min(runtime.GOMAXPROCS(0), math.MaxUint8)),
		TruncationFixed: true,
	}
	c.MemoryKiB = max(8*c.Parallelism, min(usualMemoryKiB, physicalKiB()/8))
	pass := c.measure()
	if pass >= target {
		share := float64(target) / float64(pass)
		c.MemoryKiB = max(8*c.Parallelism, int64(share*float64(c.MemoryKiB)))
		return c
	}
	c.Time = max(1, int64(target/max(pass, 1)))
	return c
}

func (c Costs) measure() time.Duration {
	start := time.Now()
	argon2.IDKey([]byte("how long does this take"), make([]byte, saltSize), uint32(c.Time), uint32(c.MemoryKiB), c.lanes(), wrappingKeySize)
	took := time.Since(start)
	debug.FreeOSMemory()
	return took
}
