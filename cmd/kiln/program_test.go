package main

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// Two kinds of tests run kiln. Scripts run the test binary itself, which the
// race detector may watch. Those that measure, mistreat or start many kilns
// run the program that users have, built once for all of them.

func TestMain(m *testing.M) {
	testscript.Main(tidy{m}, map[string]func(){"kiln": main})
}

// A tidy removes the program when the tests are done.
type tidy struct{ *testing.M }

func (t tidy) Run() int {
	defer func() {
		if dir := os.Getenv(programDir); dir != "" {
			os.RemoveAll(dir)
		}
	}()
	return t.M.Run()
}

// programDir is the variable that holds where the program is.
const programDir = "KILN_TEST_PROGRAM"

var buildOnce sync.Once

// program returns the folder that kiln was built into.
func program(t *testing.T) string {
	t.Helper()
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "kiln-program")
		if err != nil {
			t.Fatal(err)
		}
		os.Setenv(programDir, dir)
		c := osexec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(dir, "kiln"), "./cmd/kiln")
		c.Dir, c.Env = testenv.Root(), append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	})
	dir := os.Getenv(programDir)
	if _, err := os.Stat(filepath.Join(dir, "kiln")); err != nil {
		t.Fatalf("kiln was not built: %v", err)
	}
	return dir
}

// peak watches the memory of a running process until it ends, and returns a
// function that tells the most of it in bytes. What the system counts at the
// end holds the memory of the parent, too.
func peak(pid int) func() int64 {
	var most int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			most = max(most, resident(pid))
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-done
		return most
	}
}

// resident is the most memory that a process has held so far; 0 if it is gone.
func resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err == nil {
				return kb << 10
			}
		}
	}
	return 0
}
