package kernel

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

// killed starts a command that converts an image and kills it on the way: the
// image is left with its mark, and the journal says that it has begun and has not
// ended. How long that takes depends on what else the machine does, so that it
// is tried again with other times, and not every time something is done by then.
func killed(t *testing.T, image string, args ...string) {
	t.Helper()
	saved := copyOf(t, image, image+".saved")
	defer os.Remove(saved)
	const tries = 40
	for try := range tries {
		wait := 32 * time.Millisecond >> (try % 8)
		killedAfter(t, wait, image+".fsenc", args)
		if state, done := stateOf(t, image); state == "begun" && (done > 0 || try >= 8) {
			t.Logf("%s killed %v after it began: %d inodes done", args[0], wait, done)
			return
		}
		copyOf(t, saved, image)
		if err := os.Remove(image + ".fsenc"); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	t.Fatalf("fsenc %q cannot be killed on its way", args)
}

// killedAfter kills a command some time after its journal is there.
func killedAfter(t *testing.T, wait time.Duration, log string, args []string) {
	t.Helper()
	cmd := exec.Command(program, append([]string{"--non-interactive"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // killed, most likely
	}()
	for begun := false; !begun; {
		select {
		case <-ended:
			return
		case <-time.After(time.Millisecond / 4):
			_, err := os.Stat(log)
			begun = err == nil
		}
	}
	time.Sleep(wait)
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-ended
}

// stateOf is what the journal of an image says, if there is one.
func stateOf(t *testing.T, image string) (state string, done int) {
	t.Helper()
	out, code := try(t, "inspect", "journal", image, "--json")
	var s struct {
		State string
		Done  int
	}
	if code == 0 && json.Unmarshal([]byte(out), &s) != nil {
		t.Fatalf("inspect journal says %s", out)
	}
	return s.State, s.Done
}
