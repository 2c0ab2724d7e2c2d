package cmd

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"fsenc/internal/image/imagetest"
	"fsenc/internal/store"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fsenc": func() { os.Exit(Main()) }})
}

// TestScripts runs the scripts of testdata. Each begins in an empty home.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			e.Setenv("TERM", "dumb")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"golden": func(ts *testscript.TestScript, _ bool, args []string) { golden(t, ts, args) },
			"broken": func(ts *testscript.TestScript, _ bool, args []string) { broken(t, ts, args) },
			"exits":  exits,
			"lock":   lock,
		},
	})
}

// golden NAME... unpacks golden images as NAME.img and their keys as
// NAME.KEY.key, .hex and .b64.
func golden(t *testing.T, ts *testscript.TestScript, names []string) {
	for _, name := range names {
		write(ts, name+".img", imagetest.GoldenBytes(t, name))
		for _, k := range imagetest.Manifest(t, name).Keys {
			write(ts, name+"."+k.Name+".key", k.MasterKey)
			write(ts, name+"."+k.Name+".hex", []byte(hex.EncodeToString(k.MasterKey)+"\n"))
			write(ts, name+"."+k.Name+".b64", []byte(base64.StdEncoding.EncodeToString(k.MasterKey)+"\n"))
		}
	}
}

func write(ts *testscript.TestScript, name string, b []byte) {
	ts.Check(os.WriteFile(ts.MkAbs(name), b, 0o600))
}

// exits CODE COMMAND... runs a command that must end with the exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		got = ee.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%v: exit code %d, want %d", args[1:], got, want)
	}
}

// lock FILE holds a write lock on a file until the script ends.
func lock(ts *testscript.TestScript, _ bool, args []string) {
	f, err := store.OpenFile(ts.MkAbs(args[0]), true)
	ts.Check(err)
	ts.Defer(func() { f.Close() })
}
