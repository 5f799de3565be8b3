// Package engine is kiln's own BuildKit.
//
// BuildKit's controller and its OCI worker are linked into kiln. Connect finds
// the engine of a state directory, or starts one: the same executable, run
// again as "kiln engine serve", detached, which serves BuildKit's API on a unix
// socket and ends by itself when nobody has used it for a while. Serve is that
// process. InProcess serves the same API inside the caller. What comes out is a
// dialer for BuildKit's client; this package builds nothing itself.
//
// At most one engine works on a state directory: it holds the lock that a stock
// buildkitd takes too (lock.go). Who starts an engine takes that lock first and
// hands it down, so that two that start at once give one engine (connect.go).
// What an engine that was killed left behind, the next one clears away
// (sweep.go). An ordinary user's engine works in a user namespace (userns.go).
//
// It is the only package that imports BuildKit's daemon. On systems other than
// Linux only Options and the errors are there, and Connect says so.
package engine

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"time"
)

// The errors that somebody may want to tell apart. What wraps them says what to
// do about it.
var (
	ErrNoRuntime   = errors.New("no OCI runtime")                  // Connect, InProcess and Serve: none was found that works
	ErrLocked      = errors.New("state directory is in use")       // the same: another process works on it
	ErrDiskFull    = errors.New("disk is full")                    // the same: no room in the state directory
	ErrNoUserns    = errors.New("no user namespace")               // the same, for an ordinary user: something of the system is missing
	ErrBusy        = errors.New("engine is busy")                  // Stop without force: builds still ran when it had waited long enough
	ErrUnsupported = errors.New("kiln's own engine runs on Linux") // everything, elsewhere
)

// An Engine is a connection to an engine. It holds the engine in use, so that
// it does not end for want of work, until Close.
type Engine struct {
	Status  Status // of the engine when it was found
	Started bool   // this call started it
	Note    string // what a user should know, as a sentence; "" mostly

	dial  func(ctx context.Context) (net.Conn, error)
	lost  <-chan struct{}
	close func()
}

// Dial opens a connection to the engine. The address is ignored: it is there
// for BuildKit's client.WithContextDialer.
func (e *Engine) Dial(ctx context.Context, _ string) (net.Conn, error) { return e.dial(ctx) }

// Version of the kiln that the engine is part of.
func (e *Engine) Version() string { return e.Status.Version }

// Lost is closed when the engine goes away: it crashed, was stopped, or Close
// was called.
func (e *Engine) Lost() <-chan struct{} { return e.lost }

// Close lets go of the engine. One in this process ends; another ends by itself
// when it has been idle for long enough.
func (e *Engine) Close() { e.close() }

// Status describes an engine.
type Status struct {
	Running   bool          `json:"running"`            // there is one, answering or not
	Healthy   bool          `json:"healthy"`            // and it answers
	PID       int           `json:"pid,omitempty"`      // as seen from outside its namespaces
	Version   string        `json:"version,omitempty"`  // of kiln
	Build     string        `json:"build,omitempty"`    // tells builds of that version apart
	BuildKit  string        `json:"buildkit,omitempty"` // of the BuildKit in it
	StateDir  string        `json:"stateDir,omitempty"`
	Socket    string        `json:"socket,omitempty"`
	Runtime   string        `json:"runtime,omitempty"` // the OCI runtime's path
	Snapshots string        `json:"snapshots,omitempty"`
	Rootless  bool          `json:"rootless,omitempty"`
	InProcess bool          `json:"inProcess,omitempty"`
	Started   time.Time     `json:"started,omitzero"`
	Idle      time.Duration `json:"idle,omitempty"`     // ends after so long without use; 0 is never
	Uses      int           `json:"uses"`               // callers and requests at this moment, the asker left out
	CacheMax  int64         `json:"cacheMax,omitempty"` // bytes that the build cache may take
	Problem   string        `json:"problem,omitempty"`  // why it is not healthy, or not usable
}

// Log returns the path of the engine's log.
func Log(o Options) string { return filepath.Join(o.StateDir, "engine.log") }
