// Package containers runs the programs of others that read and write images:
// skopeo, podman, containerd. It is imported by tests only. What it runs is at
// .cache/containers, where scripts/containers.sh puts it; without, that script
// is called. Nothing is skipped here.
package containers

import (
	"bytes"
	"os"
	osexec "os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/testenv/fetched"
)

// Tools are the programs, for one test, with places of its own.
type Tools struct {
	Env []string // to be set for Podman and containers' tools, as "NAME=value"
	dir string
	t   testing.TB
}

// fetch finds the programs, once in a test binary.
var fetch = sync.OnceValues(func() (string, error) { return fetched.Dir("containers", "done") })

// New returns the tools for a test.
func New(t testing.TB) *Tools {
	t.Helper()
	dir, err := fetch()
	if err != nil {
		t.Fatal(err)
	}
	return &Tools{Env: []string{"PODMAN_STATE=" + t.TempDir()}, dir: dir, t: t}
}

// Dir is where the programs are, for a PATH.
func (c *Tools) Dir() string { return c.dir }

// Run runs a program, which has to succeed, and returns its standard output.
func (c *Tools) Run(program string, args ...string) string {
	c.t.Helper()
	cmd := osexec.CommandContext(c.t.Context(), filepath.Join(c.dir, program), args...)
	cmd.Env = append(os.Environ(), c.Env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("%s %v: %v\n%s%s", program, args, err, &out, &errs)
	}
	return out.String()
}

// Start starts a program that runs until the test ends, and returns once ready
// says so.
func (c *Tools) Start(ready func() error, program string, args ...string) {
	c.t.Helper()
	cmd := osexec.Command(filepath.Join(c.dir, program), args...)
	cmd.Env = append(os.Environ(), c.Env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	limit := time.After(2 * time.Minute)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case how := <-ended:
			ended <- how // the end of the test waits for it, too
			c.t.Fatalf("%s has ended: %v\n%s", program, how, &said)
		case <-limit:
			c.t.Fatalf("%s is not ready: %v", program, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
