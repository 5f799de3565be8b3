//go:build linux

package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"syscall"
	"time"
)

const (
	startWait = 60 * time.Second // for an engine to come up: a busy machine, a large cache
	logMost   = 4 << 20          // bytes; a longer log is put aside when an engine starts
)

// spawn starts an engine process with the lock, which it takes over, and
// returns once the engine serves. The process is detached: it leads its own
// session, and nothing of the caller's terminal or directory is its own. The
// returned channel closes when the process ends.
func spawn(ctx context.Context, o Options, lock *os.File, env ...string) (*os.Process, <-chan struct{}, error) {
	defer lock.Close()
	log, err := openLog(o)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	cmd, err := command(o)
	if err != nil {
		w.Close()
		return nil, nil, err
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Setsid = true
	cmd.hand(envReady, w)
	cmd.hand(envLock, lock)
	err = cmd.start(o)
	w.Close()
	if err != nil {
		return nil, nil, err
	}
	gone := make(chan struct{})
	go func() { cmd.Wait(); close(gone) }() // ends with the engine, or this process
	if err := awaitReady(ctx, o, r); err != nil {
		cmd.Process.Signal(syscall.SIGTERM)
		return nil, nil, err
	}
	return cmd.Process, gone, nil
}

// awaitReady reads the announcement.
func awaitReady(ctx context.Context, o Options, r *os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startWait, fmt.Errorf("the engine did not come up within %s: see %s", startWait, Log(o)))
	defer cancel()
	unblock := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Now()) })
	defer unblock()
	b, err := io.ReadAll(r)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var a announcement
	if err != nil || json.Unmarshal(b, &a) != nil {
		return fmt.Errorf("the engine ended while it started: %s (see %s)", logTail(o), Log(o))
	}
	return a.err()
}

// A process is an engine's, before it starts.
type process struct{ *osexec.Cmd }

// command is this executable, run again to serve.
func command(o Options) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := osexec.Command(self, "engine", "serve")
	cmd.Env = append(environOf(os.Environ()), o.environ()...)
	cmd.Env = append(cmd.Env, "TMPDIR="+o.tmp()) // BuildKit's temporary mounts are then found and cleared by sweep
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	return &process{cmd}, nil
}

// hand gives the process an open file, whose number env will hold.
func (p *process) hand(env string, f *os.File) {
	p.ExtraFiles = append(p.ExtraFiles, f)
	p.Env = append(p.Env, fmt.Sprintf("%s=%d", env, 2+len(p.ExtraFiles)))
}

// start starts the process, an ordinary user's in a user namespace.
func (p *process) start(o Options) error {
	if os.Geteuid() == 0 {
		return p.Start()
	}
	return p.startMapped(o)
}

// openLog opens the log for appending. A long one is put aside first; the
// caller holds the lock.
func openLog(o Options) (*os.File, error) {
	path := Log(o)
	if fi, err := os.Stat(path); err == nil && fi.Size() > logMost {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0) // the engine itself will say what is the matter
	}
	return f, tellDisk(o.StateDir, err)
}

// logTail is the last line of the log.
func logTail(o Options) string {
	f, err := os.Open(Log(o))
	if err != nil {
		return "it left no log"
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > 4096 {
		f.Seek(-4096, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(lines[len(lines)-1])
}
