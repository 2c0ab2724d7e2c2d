package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"fsenc/internal/secret"
)

// errEndOfInput: the terminal's end-of-file was typed, or it hung up.
var errEndOfInput = errors.New("end of input")

// errNoTerminal: there is no terminal device to ask on.
var errNoTerminal = errors.New("there is no terminal to ask on")

// maxTyped bounds a line typed on a terminal, which has a limit of its own.
const maxTyped = 4096

// terminal is the controlling terminal, opened by its own name: stdin and
// stdout may be files.
type terminal struct {
	f    *os.File
	ctx  context.Context
	stop func() bool
}

// openTerminal opens the terminal device. Reads end when ctx does.
func openTerminal(ctx context.Context) (*terminal, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	t := &terminal{f: f, ctx: ctx}
	t.stop = context.AfterFunc(ctx, func() {
		// Without a deadline the read goes on until a key is pressed.
		_ = f.SetReadDeadline(time.Unix(1, 0))
	})
	return t, nil
}

func (t *terminal) close() {
	t.stop()
	_ = t.f.Close()
}

// tell prints a line. There is nobody to tell when that fails.
func (t *terminal) tell(line string) { _, _ = io.WriteString(t.f, line+"\n") }

// ask prints a question and reads one line.
func (t *terminal) ask(question string) (string, error) {
	if _, err := io.WriteString(t.f, question); err != nil {
		return "", err
	}
	b := make([]byte, maxTyped)
	n, err := t.readLine(b)
	if errors.Is(err, errEndOfInput) {
		_, _ = io.WriteString(t.f, "\n")
	}
	return string(b[:n]), err
}

// askSecret prints a question and reads one line without showing it. The
// caller wipes the buffer. End of input gives errEndOfInput.
func (t *terminal) askSecret(question string) (*secret.Buffer, error) {
	restore, err := t.noEcho()
	if err != nil {
		return nil, err
	}
	defer restore()
	if _, err := io.WriteString(t.f, question); err != nil {
		return nil, err
	}
	typed, err := secret.Alloc(maxTyped)
	if err != nil {
		return nil, err
	}
	n, err := t.readLine(typed.Bytes())
	_, _ = io.WriteString(t.f, "\n")
	if err != nil {
		typed.Wipe()
		return nil, err
	}
	typed.Truncate(n)
	return typed, nil
}

// noEcho turns the echo of the terminal off and returns what turns it on.
// Signals from the keyboard stay: they cancel the context, which ends the read.
func (t *terminal) noEcho() (restore func(), err error) {
	conn, err := t.f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var old *unix.Termios
	set := func(fd uintptr) {
		if old, err = unix.IoctlGetTermios(int(fd), unix.TCGETS); err != nil {
			return
		}
		quiet := *old
		quiet.Lflag &^= unix.ECHO | unix.ECHONL
		quiet.Lflag |= unix.ICANON | unix.ISIG
		err = unix.IoctlSetTermios(int(fd), unix.TCSETSF, &quiet)
	}
	if cerr := conn.Control(set); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, fmt.Errorf("turn off echo: %w", err)
	}
	return func() {
		_ = conn.Control(func(fd uintptr) { _ = unix.IoctlSetTermios(int(fd), unix.TCSETS, old) })
	}, nil
}

// readLine reads up to the end of a line, which is dropped, and returns its
// length. A line that ends without it is taken as it is; an empty one is
// errEndOfInput.
func (t *terminal) readLine(b []byte) (int, error) {
	n := 0
	for {
		if n == len(b) {
			return 0, fmt.Errorf("the line is longer than %d bytes", len(b))
		}
		got, err := t.f.Read(b[n:])
		n += got
		switch {
		case n > 0 && b[n-1] == '\n':
			return n - 1, nil
		case t.ctx.Err() != nil:
			return 0, t.ctx.Err()
		case errors.Is(err, io.EOF), errors.Is(err, unix.EIO), got == 0 && err == nil:
			if n > 0 {
				return n, nil
			}
			return 0, errEndOfInput
		case err != nil:
			return 0, fmt.Errorf("read from the terminal: %w", unwrapPath(err))
		}
	}
}
