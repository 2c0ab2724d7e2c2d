// Package crash kills fsenc at every write of a conversion and looks at what
// it left, through the kernel and through resume and undo.
//
// The process is traced, and dies on entry to the system call that would have
// written: what comes after a SIGKILL, not after a power cut. What a disk may
// lose beyond that, the tests of internal/convert try.
package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// byFile are the calls that change or settle the file their first argument
// names as a descriptor; always are those that name files by path.
var (
	byFile = []uint64{
		unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_PWRITEV, unix.SYS_FTRUNCATE,
		unix.SYS_FALLOCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC_FILE_RANGE,
	}
	always = []uint64{unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2}
)

// end is how a traced program ended.
type end struct {
	reached bool // the call that it was to be signalled at
	status  unix.WaitStatus
	said    string // on stdout and stderr
}

// runUntil runs a program and sends it a signal when it is about to make call
// n, from 0, of those that change a file whose path starts with prefix.
// SIGKILL comes before the call takes effect.
func runUntil(n int, signal unix.Signal, prefix, program string, args ...string) (end, error) {
	// A tracer is a thread, not a process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &unix.SysProcAttr{Ptrace: true}
	said, err := os.CreateTemp("", "fsenc-said-")
	if err != nil {
		return end{}, err
	}
	defer os.Remove(said.Name())
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		return end{}, err
	}
	t := &tracer{pid: cmd.Process.Pid, signal: signal, prefix: prefix, left: n, known: make(map[int]bool)}
	status, err := t.run()
	if err != nil {
		return end{}, errors.Join(err, cmd.Process.Kill())
	}
	text, err := os.ReadFile(said.Name())
	return end{reached: t.reached, status: status, said: string(text)}, err
}

type tracer struct {
	pid     int
	signal  unix.Signal
	prefix  string
	left    int          // calls to let pass
	known   map[int]bool // threads
	reached bool
}

const traceOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL

// run follows all threads until the process is gone.
func (t *tracer) run() (unix.WaitStatus, error) {
	var ws unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &ws, unix.WALL, nil); err != nil {
		return ws, err
	}
	if err := unix.PtraceSetOptions(t.pid, traceOptions); err != nil {
		return ws, err
	}
	t.known[t.pid] = true
	if err := unix.PtraceSyscall(t.pid, 0); err != nil {
		return ws, err
	}
	for {
		tid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return ws, err
		}
		if ws.Exited() || ws.Signaled() {
			if tid == t.pid {
				return ws, nil
			}
			continue
		}
		if err := t.stopped(tid, ws); err != nil && !errors.Is(err, unix.ESRCH) {
			return ws, err
		}
	}
}

// stopped deals with one stop of one thread and lets it go on.
func (t *tracer) stopped(tid int, ws unix.WaitStatus) error {
	signal := 0
	switch sig := ws.StopSignal(); {
	case sig == unix.SIGTRAP|0x80: // entry to a call, or return from one
		counts, err := t.counts(tid)
		if err != nil {
			return err
		}
		if counts && t.left == 0 {
			t.reached = true
			if err := unix.Kill(t.pid, t.signal); err != nil || t.signal == unix.SIGKILL {
				return err
			}
		}
		if counts {
			t.left--
		}
	case sig == unix.SIGTRAP: // a new thread, told by its parent
	case sig == unix.SIGSTOP && !t.known[tid]: // a new thread, stopped at its start
		t.known[tid] = true
	default:
		signal = int(sig)
	}
	return unix.PtraceSyscall(tid, signal)
}

// syscallInfo is struct ptrace_syscall_info of linux/ptrace.h, as far as an
// entry fills it.
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	_    [2]uint64 // instruction and stack pointer
	nr   uint64
	args [6]uint64
}

const (
	ptraceGetSyscallInfo = 0x420e
	syscallEntry         = 1
)

// counts tells whether a thread is about to make a call that counts.
func (t *tracer) counts(tid int) (bool, error) {
	var info syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return false, errno
	}
	if info.op != syscallEntry {
		return false, nil
	}
	if slices.Contains(always, info.nr) {
		return true, nil
	}
	if !slices.Contains(byFile, info.nr) {
		return false, nil
	}
	file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, info.args[0]))
	return err == nil && strings.HasPrefix(file, t.prefix), nil
}
