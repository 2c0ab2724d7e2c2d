package secret

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// HardenProcess makes the process one that leaves no core file and that other
// processes of its user cannot attach to or read the memory of. It is meant
// for the start of main, and cannot be undone.
func HardenProcess() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the process not dumpable: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("limit core files to nothing: %w", err)
	}
	return nil
}
