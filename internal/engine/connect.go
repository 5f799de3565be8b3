//go:build linux

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	answerWait = 6 * time.Second  // for an engine that accepts to say how it is
	lockWait   = 45 * time.Second // for an engine that comes up or goes down
	otherWait  = 2 * time.Second  // for one inside another kiln, or a process that is none: it may end just now
	pollEvery  = 5 * time.Millisecond
)

// errAbsent: nothing answers on any socket where the engine may be.
var errAbsent = errors.New("engine is not running")

// errSilent: something accepts and says nothing.
var errSilent = errors.New("the engine doesn't answer")

// Connect returns a connection to the engine of o.StateDir, which it starts if
// there is none. An engine of another version of kiln is replaced if nobody
// uses it; else it is used, and Note says so.
func Connect(ctx context.Context, o Options) (*Engine, error) {
	f, err := find(ctx, o)
	if err == nil {
		if f.status.isOf(o) {
			e, err := f.attach(ctx)
			if !errors.Is(err, errAbsent) {
				return e, err
			}
		}
		f.conn.Close()
	} else if !errors.Is(err, errAbsent) {
		return nil, err
	}
	starting, err := lockStart(ctx, o)
	if err != nil {
		return nil, err
	}
	defer starting.Close()
	return connectLocked(ctx, o)
}

// Running returns a connection to the engine of o.StateDir if one of this very
// kiln runs, and nil if not, or if it does not answer. It starts none.
func Running(ctx context.Context, o Options) *Engine {
	f, err := find(ctx, o)
	if err != nil {
		return nil
	}
	if !f.status.isOf(o) {
		f.conn.Close()
		return nil
	}
	e, err := f.attach(ctx)
	if err != nil {
		return nil
	}
	return e
}

// lockStart lets one process at a time look whether an engine has to be
// started.
func lockStart(ctx context.Context, o Options) (*os.File, error) {
	if err := os.MkdirAll(o.root(), 0o700); err != nil {
		return nil, tellDisk(o.StateDir, err)
	}
	f, err := os.OpenFile(filepath.Join(o.root(), "spawn.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, tellDisk(o.StateDir, err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(pollEvery):
		}
	}
}

func connectLocked(ctx context.Context, o Options) (*Engine, error) {
	f, err := find(ctx, o)
	if errors.Is(err, errAbsent) {
		return start(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	old := f.status
	if !old.isOf(o) && old.Uses == 0 {
		f.conn.Close()
		if err := tellStop(ctx, old.Socket, false); err != nil && isKiln(old.PID) {
			syscall.Kill(old.PID, syscall.SIGTERM)
		}
		return start(ctx, o)
	}
	e, err := f.attach(ctx)
	if errors.Is(err, errAbsent) {
		return start(ctx, o)
	}
	if err == nil && !old.isOf(o) {
		e.Note = fmt.Sprintf("the engine of another kiln (%s) is at work and is used as it is; once it is idle, the next build replaces it", old.Version)
	}
	return e, err
}

// start starts an engine as soon as the lock can be had. While it waits, an
// engine that somebody else started may come up.
func start(ctx context.Context, o Options) (*Engine, error) {
	if err := makePrivate(o.RuntimeDir); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockWait); ; {
		lock, err := lockState(ctx, o, 10*pollEvery)
		if err == nil {
			if _, _, err := spawn(ctx, o, lock); err != nil {
				return nil, err
			}
			e, err := findAndAttach(ctx, o)
			if err != nil {
				return nil, fmt.Errorf("the engine came up and is gone: %w (see %s)", err, Log(o))
			}
			e.Started = true
			return e, nil
		}
		if !errors.Is(err, ErrLocked) {
			return nil, err
		}
		if e, findErr := findAndAttach(ctx, o); findErr == nil {
			return e, nil
		}
		if !isComingOrGoing(o, deadline) {
			return nil, err
		}
	}
}

// isComingOrGoing reports whether waiting for the lock makes sense: its holder
// is an engine that starts or stops, not one inside another kiln or a stock
// buildkitd.
func isComingOrGoing(o Options, deadline time.Time) bool {
	left := time.Until(deadline)
	r, ok := readRecord(o)
	if !ok || !isAlive(r.PID) { // no record yet, or an old one
		r = Status{}
		r.PID, _ = lockHolder(lockPath(o))
	}
	if r.PID != 0 && !r.InProcess && isKiln(r.PID) {
		return left > 0
	}
	return left > lockWait-otherWait
}

// isAlive reports whether the process runs. One that ended is there as a zombie
// until its parent has looked; but a zombie with threads has not ended yet.
func isAlive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	f := bytes.Fields(rest) // from field 3 of proc_pid_stat(5), the state; 20 is the number of threads
	return len(f) > 17 && (string(f[0]) != "Z" || string(f[17]) > "1")
}

// isKiln reports whether the process was started as an engine.
func isKiln(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := splitNul(b)
	return len(args) >= 3 && args[1] == "engine" && args[2] == "serve"
}

// splitNul is the arguments that /proc/PID/cmdline holds.
func splitNul(b []byte) []string { return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00") }

// sockets are where the engine of o may answer: where this kiln would put its
// socket, and where the record says that it is.
func sockets(o Options) []string {
	list := []string{o.socket()}
	if r, ok := readRecord(o); ok && r.Socket != "" && r.Socket != list[0] && !r.InProcess {
		list = append(list, r.Socket)
	}
	return list
}

// A found engine answered. Nothing holds it in use yet.
type found struct {
	conn   *grpc.ClientConn
	status Status
}

// find asks the engine of o how it is. The error is errAbsent if there is none.
func find(ctx context.Context, o Options) (*found, error) {
	for _, path := range sockets(o) {
		f, err := findAt(ctx, path)
		if !errors.Is(err, errAbsent) {
			return f, err
		}
	}
	return nil, errAbsent
}

func findAndAttach(ctx context.Context, o Options) (*Engine, error) {
	f, err := find(ctx, o)
	if err != nil {
		return nil, err
	}
	return f.attach(ctx)
}

func findAt(ctx context.Context, path string) (*found, error) {
	conn, err := dialService(ctx, path)
	if err != nil {
		return nil, err
	}
	call, cancel := untilSilent(ctx)
	defer cancel()
	var m wrapperspb.BytesValue
	if err := conn.Invoke(call, methodStatus, &emptypb.Empty{}, &m); err != nil {
		conn.Close()
		return nil, tellSilence(ctx, path, err)
	}
	s, err := unpackStatus(&m)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("the engine's status: %w", err)
	}
	s.Socket = path
	return &found{conn, s}, nil
}

// attach holds the engine in use. The error is errAbsent if it ends just now.
func (f *found) attach(ctx context.Context) (*Engine, error) {
	held, release := context.WithCancel(context.WithoutCancel(ctx))
	path, conn := f.status.Socket, f.conn
	stream, s, err := openStream(held, conn, release)
	if err != nil {
		release()
		conn.Close()
		return nil, tellSilence(ctx, path, err)
	}
	s.Socket = path
	lost := make(chan struct{})
	go func() { // until the engine ends or lets go, or Close
		defer close(lost)
		for stream.RecvMsg(new(wrapperspb.BytesValue)) == nil {
		}
	}()
	return &Engine{
		Status: s,
		lost:   lost,
		dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		close: func() {
			release()
			<-lost
			conn.Close()
		},
	}, nil
}

// openStream attaches and reads the status that comes first. It calls cancel
// if that takes too long.
func openStream(ctx context.Context, conn *grpc.ClientConn, cancel func()) (grpc.ClientStream, Status, error) {
	waiting, done := untilSilent(ctx)
	defer done()
	late := context.AfterFunc(waiting, cancel)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, methodAttach)
	if err != nil {
		return nil, Status{}, err
	}
	if err := errors.Join(stream.SendMsg(&emptypb.Empty{}), stream.CloseSend()); err != nil {
		return nil, Status{}, err
	}
	var m wrapperspb.BytesValue
	if err := stream.RecvMsg(&m); err != nil {
		return nil, Status{}, err
	}
	if !late() {
		return nil, Status{}, context.DeadlineExceeded
	}
	s, err := unpackStatus(&m)
	return stream, s, err
}

// untilSilent returns a context that ends when an engine has had answerWait to
// answer. That is counted in naps: where the whole machine stood still for a
// while, the engine did, too, and this is one of them.
func untilSilent(ctx context.Context) (context.Context, context.CancelFunc) {
	const naps = 20
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for range naps {
			select {
			case <-ctx.Done():
				return
			case <-time.After(answerWait / naps):
			}
		}
	}()
	return ctx, cancel
}

// dialService opens the engine's own service. The socket is tried first, so
// that a stale one is told at once.
func dialService(ctx context.Context, path string) (*grpc.ClientConn, error) {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	c, err := dial(ctx, "")
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, errAbsent
	case err != nil:
		return nil, fmt.Errorf("the engine's socket: %w", err)
	}
	first := make(chan net.Conn, 1)
	first <- c
	return grpc.NewClient("passthrough:///engine",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			select {
			case c := <-first:
				return c, nil
			default:
				return dial(ctx, addr)
			}
		}))
}

// tellSilence puts into words why an engine that accepts gave no status.
func tellSilence(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch status.Code(err) {
	case codes.Unavailable: // it ends just now
		return errAbsent
	case codes.Unimplemented:
		return fmt.Errorf("what answers on %s is no engine of kiln: stop it, or set KILN_RUNTIME_DIR to another directory", path)
	}
	return fmt.Errorf("%w on %s: end it with \"kiln engine stop --force\"", errSilent, path)
}

// attachedChild is an engine in a process of its own that ends with this one:
// nobody else finds its socket, and it is idle as soon as this one lets go.
func attachedChild(ctx context.Context, o Options) (*Engine, error) {
	dir, err := os.MkdirTemp("", "kiln-engine-")
	if err != nil {
		return nil, err
	}
	o.RuntimeDir = dir
	o.Idle = 200 * time.Millisecond
	fail := func(err error) (*Engine, error) { return nil, errors.Join(err, os.RemoveAll(dir)) }
	lock, err := lockState(ctx, o, time.Second)
	if err != nil {
		return fail(err)
	}
	proc, gone, err := spawn(ctx, o, lock, envPrivate+"=1")
	if err != nil {
		return fail(err)
	}
	e, err := findAndAttach(ctx, o)
	if err != nil {
		proc.Signal(syscall.SIGTERM)
		return fail(err)
	}
	e.Started = true
	release := e.close
	e.close = func() {
		release()
		proc.Signal(syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(drainWait):
			proc.Kill()
		}
		os.RemoveAll(dir)
	}
	return e, nil
}
