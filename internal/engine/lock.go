//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The lock of a state directory is a flock on buildkitd.lock in BuildKit's
// root, the file that a stock buildkitd locks too. It belongs to the open file:
// who starts an engine locks it and hands the file down, so that there is no
// moment without an owner.

func lockPath(o Options) string { return filepath.Join(o.root(), "buildkitd.lock") }

// lockState takes the lock, waiting for up to wait. The error wraps ErrLocked
// and names who holds it.
func lockState(ctx context.Context, o Options, wait time.Duration) (*os.File, error) {
	if err := os.MkdirAll(o.root(), 0o700); err != nil {
		return nil, tellDisk(o.StateDir, err)
	}
	deadline := time.Now().Add(wait)
	for {
		f, err := tryLock(lockPath(o))
		if err != nil || f != nil {
			return f, tellDisk(o.StateDir, err)
		}
		if time.Now().After(deadline) {
			return nil, lockedError(o)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func lockedError(o Options) error {
	pid, name := lockHolder(lockPath(o))
	who := "another process"
	switch {
	case name != "":
		who = fmt.Sprintf("%s (process %d)", name, pid)
	case pid > 0:
		who = fmt.Sprintf("process %d", pid)
	}
	return fmt.Errorf("%w: %s is locked by %s: stop that (for kiln's own: kiln engine stop), or set KILN_STATE_DIR to another directory", ErrLocked, o.root(), who)
}

// tryLock is nil if somebody else holds the lock.
func tryLock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, nil
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// A stock buildkitd removes the file when it ends: the one we locked
		// may have no name any more.
		if sameFile(f, path) {
			return f, nil
		}
		f.Close()
	}
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// lockHolder finds who has path open, as far as this user may see; 0 is nobody.
// /proc/locks would name who took the lock, which may be gone, not who keeps it.
func lockHolder(path string) (pid int, name string) {
	want, err := os.Stat(path)
	if err != nil {
		return 0, ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err != nil || filepath.Base(link) != filepath.Base(path) {
			continue
		}
		if fi, err := os.Stat(fd); err != nil || !os.SameFile(fi, want) {
			continue
		}
		pid, _ = strconv.Atoi(strings.Split(fd, "/")[2])
		if pid == os.Getpid() {
			continue
		}
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return pid, strings.TrimSpace(string(comm))
	}
	return 0, ""
}
