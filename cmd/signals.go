package cmd

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// watchSignals makes the first SIGINT, SIGTERM or SIGHUP cancel the run's
// context, so that work stops between two steps; the next one ends the process
// at once, which recovery copes with too. SIGPIPE is taken so that a write to
// a closed pipe returns an error instead of ending a conversion.
func (a *app) watchSignals() (stop func()) {
	ctx, cancel := context.WithCancel(a.ctx)
	a.ctx = ctx
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, unix.SIGPIPE)
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go func() {
		select {
		case <-end:
		case <-ctx.Done():
			return
		}
		signal.Reset(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
		cancel()
	}()
	return cancel
}

// exitPipe is how a shell shows the end by SIGPIPE.
const exitPipe = 128 + int(unix.SIGPIPE)

// dieOfPipe ends the process as one that does not handle SIGPIPE, which is
// what shells expect of the left side of a pipe. The Go runtime raises the
// signal when a write to a broken stdout finds nobody who handles it.
func (a *app) dieOfPipe() int {
	signal.Reset(unix.SIGPIPE)
	if _, err := a.stdout.Write([]byte("\n")); err == nil {
		return exitFailed
	}
	return exitPipe
}

// stdoutWasClosed reports whether the process was started with stdout closed.
// The Go runtime has opened /dev/null for reading and writing in its place
// before any of our code runs. A parent can pass just that on purpose, so it
// is no more than worth a warning; with stderr the same nobody wants to hear
// it.
func stdoutWasClosed(stdout *os.File) bool {
	return isRuntimeNull(stdout.Fd()) && !isRuntimeNull(os.Stderr.Fd())
}

func isRuntimeNull(fd uintptr) bool {
	var st unix.Stat_t
	if unix.Fstat(int(fd), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
		return false
	}
	mode, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	return err == nil && mode&syscall.O_ACCMODE == unix.O_RDWR
}
