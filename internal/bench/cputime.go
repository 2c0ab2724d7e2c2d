package bench

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time, user's and system's, of the calling thread.
func threadTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0, fmt.Errorf("CPU time of a thread: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
