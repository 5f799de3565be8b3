//go:build linux

package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mountTmpfs mounts a small disk for the test.
func mountTmpfs(t *testing.T, megabytes int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a small disk can only be mounted by root: run the tests as root, in a container or a virtual machine if need be")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=700", megabytes)); err != nil {
		t.Fatal(err)
	}
	// After the engine's own, which come later. The kernel lets go of what a
	// process had open, and of mounts over the disk, when it comes to it.
	t.Cleanup(func() {
		defer unix.Unmount(dir, unix.MNT_DETACH)
		eventually(t, "nothing uses the small disk", func() bool {
			err := unix.Unmount(dir, 0)
			if err != nil && err != unix.EBUSY {
				t.Fatalf("unmount the small disk: %v", err)
			}
			return err == nil
		})
	})
	return dir
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 1<<16))
	}
	for err = nil; err == nil; { // to the last byte
		_, err = f.Write(make([]byte, 16))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func TestFullDiskAtStart(t *testing.T) {
	disk := mountTmpfs(t, 64)
	o := optionsIn(t, disk)
	o.RuntimeDir = filepath.Join(t.TempDir(), "run")
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	for _, reach := range map[string]func() (*Engine, error){
		"Connect":   func() (*Engine, error) { return Connect(t.Context(), o) },
		"InProcess": func() (*Engine, error) { return InProcess(t.Context(), o) },
	} {
		e, err := reach()
		if err == nil {
			e.Close()
		}
		if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), o.StateDir) || !strings.Contains(err.Error(), "KILN_STATE_DIR") {
			t.Errorf("got %v", err)
		}
	}
	if err := os.Truncate(ballast, 52<<20); err != nil { // less than the engine wants
		t.Fatal(err)
	}
	if err := makeRoot(o); err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(t.Context(), o); !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "MB are free") {
		t.Errorf("a nearly full disk: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustSolve(t, newClient(t, connect(t, o)), run("status"))
}

// A disk that fills up during a build fails that build, not the engine.
func TestFullDiskDuringBuild(t *testing.T) {
	disk := mountTmpfs(t, 96)
	o := optionsIn(t, disk)
	o.RuntimeDir = filepath.Join(t.TempDir(), "run")
	e := connect(t, o)
	c := newClient(t, e)
	err := solve(t.Context(), c, t.TempDir(), nil, run("fill"))
	if err == nil {
		t.Fatal("1 GB went onto a disk of 96 MB")
	}
	t.Logf("the build: %v", err)
	select {
	case <-e.Lost():
		t.Fatal("the engine is gone")
	default:
	}
	if again := connect(t, o); again.Started || again.Status.PID != e.Status.PID {
		t.Error("the engine did not survive")
	}
	eventually(t, "the next build succeeds", func() bool {
		return solve(t.Context(), c, t.TempDir(), nil, run("status")) == nil
	})
}

func TestMissingRuntime(t *testing.T) {
	noSeccomp := filepath.Join(t.TempDir(), "runc")
	script := "#!/bin/sh\ncase $1 in --version) echo 'runc version 1.1.0';; features) echo '{\"linux\":{\"seccomp\":{\"enabled\":false}}}';; esac\n"
	if err := os.WriteFile(noSeccomp, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, runtime, want string }{
		{"no file", "/nowhere/runc", "is no program"},
		{"no name", "no-such-runtime", "is no program"},
		{"broken", "/bin/false", "does not work"},
		{"no seccomp", noSeccomp, "without seccomp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOptions(t)
			o.Runtime = tt.runtime
			for _, reach := range []func() (*Engine, error){
				func() (*Engine, error) { return Connect(t.Context(), o) },
				func() (*Engine, error) { return InProcess(t.Context(), o) },
			} {
				_, err := reach()
				if !errors.Is(err, ErrNoRuntime) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "apt-get install runc") {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

func TestFindRuntime(t *testing.T) {
	program := func(t *testing.T, dir, name, script string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const (
		good    = "echo 'runc version 1.2.3'; echo 'libseccomp: 2.5.4'\n"
		older   = "case $1 in --version) echo 'crun version 1.8.1'; echo '+SECCOMP';; run) echo '--detach';; esac\n"
		newer   = "case $1 in --version) echo 'crun version 1.20'; echo '+SECCOMP';; run) echo '--keep';; esac\n"
		feature = "case $1 in --version) echo 'runc version 1.2';; features) echo '{\"linux\":{\"seccomp\":{\"enabled\":true}}}';; esac\n"
	)
	for _, tt := range []struct {
		name  string
		found map[string]string
		want  string // name of the runtime, or part of the error
		fails bool
	}{
		{"runc", map[string]string{"runc": good}, "runc", false},
		{"runc by its features", map[string]string{"runc": feature}, "runc", false},
		{"BuildKit's first", map[string]string{"runc": good, "buildkit-runc": good}, "buildkit-runc", false},
		{"past a broken one", map[string]string{"buildkit-runc": "exit 1\n", "runc": good}, "runc", false},
		{"newer crun", map[string]string{"crun": newer}, "crun", false},
		{"older crun", map[string]string{"crun": older}, "--keep", true},
		{"none", nil, "there is none in PATH", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, script := range tt.found {
				program(t, dir, name, script)
			}
			t.Setenv("PATH", dir)
			got, err := findRuntime(t.Context(), "")
			if tt.fails {
				if !errors.Is(err, ErrNoRuntime) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %q, %v", got, err)
				}
			} else if err != nil || got != filepath.Join(dir, tt.want) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// Beside another process that works on the state directory, such as a stock
// buildkitd, there is no engine.
func TestLockedByAnother(t *testing.T) {
	o := newOptions(t)
	holder := startHelper(t, helper(o, "lock"))
	for _, reach := range []func() (*Engine, error){
		func() (*Engine, error) { return Connect(t.Context(), o) },
		func() (*Engine, error) { return InProcess(t.Context(), o) },
	} {
		_, err := reach()
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", holder.Process.Pid)) || !strings.Contains(err.Error(), "KILN_STATE_DIR") {
			t.Errorf("got %v", err)
		}
	}
	s, err := Query(t.Context(), o)
	if err != nil || !s.Running || s.Healthy || !strings.Contains(s.Problem, "holds the lock") {
		t.Errorf("Query: %+v, %v", s, err)
	}
	if err := Stop(t.Context(), o, true); !errors.Is(err, ErrLocked) {
		t.Errorf("Stop: %v", err)
	}
	holder.Process.Kill()
	holder.Wait()
	connect(t, o)
}

// A stock buildkitd removes its lock file when it ends; a lock on the removed
// file protects nothing.
func TestRemovedLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "buildkitd.lock")
	first, err := tryLock(path)
	if err != nil || first == nil {
		t.Fatal(first, err)
	}
	defer first.Close()
	if f, err := tryLock(path); f != nil || err != nil {
		t.Fatalf("locked twice: %v, %v", f, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := tryLock(path)
	if err != nil || second == nil || !sameFile(second, path) {
		t.Fatalf("got %v, %v", second, err)
	}
	second.Close()
}

func TestSocketDirectoryOfOthers(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(dir string) error
	}{
		{"writable for all", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) }},
		{"no directory", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }},
		{"somebody's", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65534, 65534)) }},
		{"somebody's link", func(dir string) error { return errors.Join(os.Symlink("/tmp", dir), os.Lchown(dir, 65534, 65534)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOptions(t)
			if err := tt.make(o.RuntimeDir); err != nil {
				t.Fatalf("%v (only root can give a directory away: run the tests as root)", err)
			}
			if _, err := Connect(t.Context(), o); err == nil || !strings.Contains(err.Error(), "KILN_RUNTIME_DIR") {
				t.Errorf("got %v", err)
			}
		})
	}
}
