// Package testenv is what integration tests stand on: an engine of kiln's own
// and a static busybox. It is imported by tests only.
//
// An engine is the test binary itself, run again: TestMain of a package that
// uses one is
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
//
// Nothing is skipped here: what is missing fails the test and says how to get it.
package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/engine"
	"github.com/kilnbuild/kiln/internal/testenv/freeze"
)

// patience bounds the start and the end of an engine: far longer than either
// takes on a busy machine.
const patience = 2 * time.Minute

// shared is the engine of the test binary: one for all tests, started by the
// first that asks.
var shared struct {
	sync.Mutex
	daemon *Daemon
	err    error
}

// Main runs the tests and then ends what they have started.
func Main(m *testing.M) int {
	if slices.Equal(os.Args[1:], []string{"engine", "serve"}) {
		return serve()
	}
	engine.Quiet()
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.daemon != nil {
		if err := shared.daemon.end(); err != nil {
			fmt.Fprintln(os.Stderr, "end the engine:", err)
			return 1
		}
	}
	return code
}

func serve() int {
	o, err := engine.DefaultOptions(os.Getenv)
	if err == nil {
		err = engine.Serve(context.Background(), o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Engine returns the address of a BuildKit that works: the one that
// KILN_TEST_BUILDKIT names, else an engine shared by the tests of a package.
func Engine(t testing.TB) string {
	t.Helper()
	if addr := os.Getenv("KILN_TEST_BUILDKIT"); addr != "" {
		return addr
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.daemon == nil && shared.err == nil {
		shared.daemon, shared.err = start()
	}
	if shared.err != nil {
		t.Fatalf("integration tests need a BuildKit, and kiln's own can't be started here (KILN_TEST_BUILDKIT=unix://… names another): %v", shared.err)
	}
	return shared.daemon.Addr
}

// A Daemon is an engine in a process of its own.
type Daemon struct {
	Addr string // unix://…
	PID  int

	dir    string
	opt    engine.Options
	held   *engine.Engine
	killed atomic.Bool
}

// Start starts an engine for one test, which may mistreat it. Settings are
// variables as "NAME=value" that the engine is to be started with.
func Start(t testing.TB, settings ...string) *Daemon {
	t.Helper()
	d, err := start(settings...)
	if err != nil {
		t.Fatalf("start an engine: %v", err)
	}
	t.Cleanup(func() {
		d.Signal(t, syscall.SIGCONT)
		if err := d.end(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Signal sends a signal to the engine; one that is gone is not an error. After
// SIGSTOP it has stopped, all of it.
func (d *Daemon) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if sig == syscall.SIGSTOP {
		freeze.Process(t, d.PID)
		return
	}
	if sig == syscall.SIGKILL {
		d.killed.Store(true)
	}
	if err := syscall.Kill(d.PID, sig); err != nil && err != syscall.ESRCH {
		t.Fatal(err)
	}
}

func start(settings ...string) (*Daemon, error) {
	dir, err := os.MkdirTemp("", "kt-") // short: a socket's path is
	if err != nil {
		return nil, err
	}
	o, err := engine.DefaultOptions(func(name string) string {
		for _, s := range settings {
			if value, ok := strings.CutPrefix(s, name+"="); ok {
				return value
			}
		}
		switch name {
		case "KILN_STATE_DIR", "KILN_RUNTIME_DIR":
			return filepath.Join(dir, name[len("KILN_"):])
		case "KILN_ENGINE_IDLE": // should the tests be killed
			return "1m"
		case "KILN_ENGINE_ALLOW":
			return "network.host,security.insecure"
		case "KILN_RUNTIME":
			return runtimePath()
		}
		return os.Getenv(name)
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e, err := engine.Connect(ctx, o)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &Daemon{Addr: "unix://" + e.Status.Socket, PID: e.Status.PID, dir: dir, opt: o, held: e}, nil
}

func (d *Daemon) end() error {
	d.held.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if d.killed.Load() {
		// Not for ever: by now the number may be another process's.
		for until := time.Now().Add(patience / 4); syscall.Kill(d.PID, 0) == nil && time.Now().Before(until); {
			time.Sleep(5 * time.Millisecond)
		}
		// A new engine clears away what that one left: mounts, processes.
		e, err := engine.Connect(ctx, d.opt)
		if err != nil {
			return fmt.Errorf("start an engine after one that was killed: %w", err)
		}
		e.Close()
	}
	if err := engine.Stop(ctx, d.opt, true); err != nil {
		return fmt.Errorf("stop the engine in %s: %w", d.dir, err)
	}
	return os.RemoveAll(d.dir)
}

// Root returns the root of the repository.
func Root() string {
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return "."
}

// Races is the variable, NAME=VALUE, that has a kiln with an engine in it,
// watched by the race detector, pass over the known races of testdata/races.txt.
func Races() string {
	return "GORACE=suppressions=" + filepath.Join(Root(), "testdata", "races.txt")
}

// runtimePath is the runtime that `make tools` puts into bin, if it is there.
func runtimePath() string {
	if v := os.Getenv("KILN_RUNTIME"); v != "" {
		return v
	}
	path := filepath.Join(Root(), "bin", "runc")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// Busybox returns the path of a static busybox.
func Busybox(t testing.TB) string {
	t.Helper()
	for _, path := range []string{os.Getenv("KILN_BUSYBOX"), filepath.Join(Root(), "bin", "busybox")} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("integration tests need a static busybox at bin/busybox: `make tools` or `sh scripts/busybox.sh bin` puts it there")
	return ""
}
