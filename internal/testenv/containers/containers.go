// Package containers runs the programs of others that read and write images:
// skopeo, podman, containerd. It is imported by tests only. What it runs is at
// .cache/containers, where scripts/containers.sh puts it; without, that script
// is called. Nothing is skipped here.
package containers

import (
	"bytes"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// Tools are the programs, for one test, with places of its own.
type Tools struct {
	Env []string // to be set for Podman and containers' tools, as "NAME=value"
	dir string
	t   testing.TB
}

// fetch finds the programs, once in a test binary.
var fetch = sync.OnceValues(programs)

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
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	limit := time.After(time.Minute)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case ended := <-ended:
			c.t.Fatalf("%s has ended: %v\n%s", program, ended, &said)
		case <-limit:
			c.t.Fatalf("%s is not ready: %v", program, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// programs returns the directory of the programs, and fetches them if they
// are not there.
func programs() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", "containers")
	if _, err := os.Stat(filepath.Join(dir, "done")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock := flock.New(filepath.Join(dir, "lock")) // the tests of several packages may come here at once
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }()
	cmd := osexec.Command("sh", "scripts/containers.sh", dir)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("sh scripts/containers.sh .cache/containers: %w\n%s", err, out)
	}
	return dir, nil
}

// moduleRoot returns the directory of go.mod, at or above the working directory.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("there is no go.mod in %s or above", start)
		}
	}
}
