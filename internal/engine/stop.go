//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	busyWait = 30 * time.Second // Stop without force, for running builds
	endWait  = 20 * time.Second // for an engine that was told to end
	exitWait = 5 * time.Second  // for its process, once the engine let go of the lock
)

// Query says how the engine of o is. One that is not there is no error.
func Query(ctx context.Context, o Options) (Status, error) {
	for _, path := range sockets(o) {
		s, err := queryAt(ctx, path)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return Status{}, err
		}
		pid, _ := lockHolder(lockPath(o))
		return Status{Running: true, PID: pid, StateDir: o.StateDir, Socket: path, Problem: err.Error()}, nil
	}
	return lockedStatus(o), nil
}

// lockedStatus is the status of an engine that has no socket.
func lockedStatus(o Options) Status {
	s := Status{StateDir: o.StateDir, Socket: o.socket()}
	pid, name := lockHolder(lockPath(o))
	if pid == 0 {
		return s
	}
	s.Running, s.PID, s.Socket = true, pid, ""
	if r, ok := readRecord(o); ok && r.InProcess && r.PID == pid {
		r.Healthy, r.Problem = false, "it runs inside another kiln and can't be shared"
		return r
	}
	s.Problem = fmt.Sprintf("process %d (%s) holds the lock of %s and has no socket there: it starts, or stops, or is no engine of kiln", pid, name, o.root())
	return s
}

func queryAt(ctx context.Context, path string) (Status, error) {
	f, err := findAt(ctx, path)
	if err != nil {
		return Status{}, err
	}
	return f.status, f.conn.Close()
}

// tellStop asks the engine at path to end.
func tellStop(ctx context.Context, path string, force bool) error {
	conn, err := dialService(ctx, path)
	if err != nil {
		return err
	}
	defer conn.Close()
	call, cancel := untilSilent(ctx)
	defer cancel()
	if err := conn.Invoke(call, methodStop, wrapperspb.Bool(force), &emptypb.Empty{}); err != nil {
		return tellSilence(ctx, path, err)
	}
	return nil
}

// Stop ends the engine of o and returns when it is gone; that there is none is
// no error. While builds run it waits for them, up to half a minute, and then
// fails with ErrBusy; with force it ends them, and an engine that doesn't
// answer is killed.
func Stop(ctx context.Context, o Options, force bool) error {
	s, err := Query(ctx, o)
	if err != nil {
		return err
	}
	if !s.Running {
		return nil
	}
	if !s.Healthy {
		return stopUnhealthy(ctx, o, s, force)
	}
	if !force {
		if err := awaitIdle(ctx, s.Socket); err != nil {
			return err
		}
	}
	if err := tellStop(ctx, s.Socket, force); err != nil && !errors.Is(err, errAbsent) {
		return err
	}
	err = awaitEnd(ctx, o, s.PID)
	if err == nil || !force || ctx.Err() != nil {
		return err
	}
	return kill(ctx, o, s.PID)
}

// awaitIdle waits until nobody uses the engine.
func awaitIdle(ctx context.Context, path string) error {
	for deadline := time.Now().Add(busyWait); ; {
		s, err := queryAt(ctx, path)
		if errors.Is(err, errAbsent) {
			return nil
		}
		if err != nil {
			return err
		}
		if s.Uses == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: builds still run after %s: wait for them, or end them with \"kiln engine stop --force\"", ErrBusy, busyWait)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// awaitEnd waits until the lock is free and the process has ended: then nothing
// of the state directory is open any more.
func awaitEnd(ctx context.Context, o Options, pid int) error {
	lock, err := lockState(ctx, o, endWait)
	if err != nil {
		return err
	}
	lock.Close()
	for deadline := time.Now().Add(exitWait); isAlive(pid) && time.Now().Before(deadline); {
		time.Sleep(pollEvery)
	}
	return nil
}

func stopUnhealthy(ctx context.Context, o Options, s Status, force bool) error {
	if s.InProcess {
		return fmt.Errorf("%w: the engine is inside another kiln (process %d) and ends with it", ErrLocked, s.PID)
	}
	if s.PID == 0 {
		return errors.New(s.Problem)
	}
	if !isKiln(s.PID) {
		return lockedError(o)
	}
	if force {
		return kill(ctx, o, s.PID)
	}
	if err := awaitEnd(ctx, o, s.PID); err != nil { // perhaps it ends by itself
		return fmt.Errorf("the engine (process %d) doesn't answer: end it with \"kiln engine stop --force\"", s.PID)
	}
	return nil
}

// kill ends an engine that can't be asked, and what it ran.
func kill(ctx context.Context, o Options, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill the engine (process %d): %w", pid, err)
	}
	lock, err := lockState(ctx, o, endWait)
	if err != nil {
		return err
	}
	defer lock.Close()
	ociRuntime, _ := findRuntime(ctx, o.Runtime) // without one, what is left is the kernel's
	return sweep(ctx, o.root(), ociRuntime)
}
