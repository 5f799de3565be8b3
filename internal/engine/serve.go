//go:build linux

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/test/bufconn"
)

// What a starter hands down to the process it starts, by environment. The first
// three are numbers of open files.
const (
	envReady = "KILN_ENGINE_FD_READY" // written to once: an announcement
	envLock  = "KILN_ENGINE_FD_LOCK"  // the state directory's lock
	envMap   = "KILN_ENGINE_FD_MAP"   // gives a byte when the user namespace is mapped

	envPrivate = "KILN_ENGINE_PRIVATE" // set: the engine is its starter's alone
)

// An announcement is what a starting engine tells its starter.
type announcement struct {
	Kind  string `json:"kind,omitempty"` // of the error, see kinds
	Error string `json:"error,omitempty"`
}

// Serve is the engine: it answers on the socket of o until it was idle for
// long enough, ctx ends, or Stop tells it to. The end of ctx lets running
// builds finish for half a minute; a second signal (SIGTERM or SIGINT) ends
// them. It writes its log to standard error and runs once in a process. An
// ordinary user's goes on in a user namespace.
func Serve(ctx context.Context, o Options) error {
	if fd := os.Getenv(envMap); fd != "" {
		return enterUserns(fd)
	}
	ready := inherited(envReady)
	if os.Geteuid() != 0 {
		return serveRootless(ctx, o)
	}
	err := serve(ctx, o, inherited(envLock), func() { announce(ready, nil) })
	announce(ready, err)
	return err
}

func serve(ctx context.Context, o Options, lock *os.File, ready func()) error {
	if lock == nil {
		var err error
		if lock, err = lockState(ctx, o, time.Second); err != nil {
			return err
		}
	}
	defer lock.Close()
	setLog(o, os.Stderr)
	syscall.Umask(0) // modes in images are what builds say, whatever the user's shell says
	if err := makeRoot(o); err != nil {
		return err
	}
	clearEnviron()
	os.Setenv("TMPDIR", o.tmp()) // both as command does, for an engine started by hand
	d, err := newDaemon(ctx, o)
	if err != nil {
		return err
	}
	l, err := listen(o)
	if err != nil {
		return errors.Join(err, d.close())
	}
	d.about.Socket = o.socket()
	d.about.InProcess = os.Getenv(envPrivate) != ""
	if err := writeRecord(o, d.about); err != nil {
		return errors.Join(err, l.Close(), d.close())
	}
	logrus.Infof("kiln engine %s (BuildKit %s, runtime %s, %s) on %s", o.Version, d.about.BuildKit, d.about.Runtime, d.about.Snapshots, o.socket())
	served := make(chan error, 1)
	go func() { served <- d.serve(l) }()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt) // who knows that it serves may end it
	d.uses.open()
	ready()
	why := d.wait(ctx, served, signals)
	logrus.Infof("kiln engine stops: %s", why)
	l.Close() // removes the socket: who comes now starts another, which waits for the lock
	defer os.Remove(recordPath(o))
	return d.close()
}

// wait returns when the daemon should end, with the reason.
func (d *daemon) wait(ctx context.Context, served <-chan error, signals <-chan os.Signal) string {
	go func() { // for as long as the process lives
		for n := 0; ; n++ {
			<-signals
			d.stop(n > 0)
		}
	}()
	tick := time.NewTicker(tickOf(d.options.Idle))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx).Error()
		case <-d.stopping:
			return "told to"
		case err := <-served:
			return fmt.Sprintf("its server ended: %v", err)
		case <-tick.C:
			if d.options.Idle > 0 && d.uses.refuseIfIdle(d.options.Idle) {
				return fmt.Sprintf("unused for %s", d.options.Idle)
			}
		}
	}
}

func tickOf(idle time.Duration) time.Duration {
	return min(max(idle/10, 50*time.Millisecond), time.Second)
}

// listen opens the socket. A file that is there is stale: the caller holds the
// lock of the state directory that it is named after.
func listen(o Options) (net.Listener, error) {
	if err := makePrivate(o.RuntimeDir); err != nil {
		return nil, err
	}
	path := o.socket()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("the engine's socket: %w", err)
	}
	return l, os.Chmod(path, 0o600)
}

func setLog(o Options, w io.Writer) {
	logrus.SetOutput(w)
	log.SetOutput(w) // Quiet may have silenced both
	logrus.SetFormatter(&discreet{logrus.TextFormatter{FullTimestamp: true, DisableColors: true}})
	if level, err := logrus.ParseLevel(o.LogLevel); err == nil {
		logrus.SetLevel(level)
	}
}

// inherited takes a file that the starter handed down; nil if it did not. The
// file is kept from this process's own children: a RUN process that held the
// lock would outlive the engine with it.
func inherited(env string) *os.File {
	fd, err := strconv.Atoi(os.Getenv(env))
	os.Unsetenv(env)
	if err != nil {
		return nil
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), env)
}

// announce tells the starter, once, how the start went.
func announce(w *os.File, err error) {
	if w == nil {
		return
	}
	a := announcement{}
	if err != nil {
		a.Error = err.Error()
		a.Kind = kindOf(err)
	}
	json.NewEncoder(w).Encode(a) // fails where nobody waits any more, or it was told before
	w.Close()
}

// kinds are the errors that keep their identity on the way from the engine to
// who started it.
var kinds = []struct {
	name string
	err  error
}{
	{"runtime", ErrNoRuntime},
	{"locked", ErrLocked},
	{"disk", ErrDiskFull},
	{"userns", ErrNoUserns},
}

func kindOf(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return ""
}

// A startError is an error of an engine that did not start, as its starter
// gets it.
type startError struct {
	text string
	kind error
}

func (e *startError) Error() string { return e.text }
func (e *startError) Unwrap() error { return e.kind }

func (a announcement) err() error {
	if a.Error == "" {
		return nil
	}
	for _, k := range kinds {
		if k.name == a.Kind {
			return &startError{a.Error, k.err}
		}
	}
	return &startError{text: a.Error}
}

// The record of a running engine lies beside its data, so that a kiln with
// another runtime directory finds its socket too. It proves nothing: an engine
// that was killed leaves it behind.

func recordPath(o Options) string { return filepath.Join(o.root(), "engine.json") }

func writeRecord(o Options, s Status) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tmp := recordPath(o) + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return tellDisk(o.StateDir, err)
	}
	return os.Rename(tmp, recordPath(o))
}

func readRecord(o Options) (Status, bool) {
	var s Status
	b, err := os.ReadFile(recordPath(o))
	if err != nil || json.Unmarshal(b, &s) != nil {
		return Status{}, false
	}
	return s, true
}

// InProcess runs an engine inside this process, for as long as Close is not
// called; the socket of o is not used. The error wraps ErrLocked if another
// engine works on the state directory. For an ordinary user it is a child
// process, in a user namespace, that ends with this one.
func InProcess(ctx context.Context, o Options) (*Engine, error) {
	if os.Geteuid() != 0 {
		return attachedChild(ctx, o)
	}
	lock, err := lockState(ctx, o, time.Second)
	if err != nil {
		return nil, err
	}
	logFile, err := openLog(o)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	setLog(o, logFile)
	umask := syscall.Umask(0)
	tmp, hadTmp := os.LookupEnv("TMPDIR")
	restore := func() {
		syscall.Umask(umask)
		if os.Unsetenv("TMPDIR"); hadTmp {
			os.Setenv("TMPDIR", tmp)
		}
	}
	fail := func(err error) (*Engine, error) {
		restore()
		Quiet()
		return nil, errors.Join(err, logFile.Close(), lock.Close())
	}
	if err := makeRoot(o); err != nil {
		return fail(err)
	}
	os.Setenv("TMPDIR", o.tmp()) // as for an engine of its own
	d, err := newDaemon(ctx, o)
	if err != nil {
		return fail(err)
	}
	d.about.InProcess = true
	if err := writeRecord(o, d.about); err != nil {
		return fail(errors.Join(err, d.close()))
	}
	l := bufconn.Listen(1 << 20)
	served, lost := make(chan error, 1), make(chan struct{})
	go func() { served <- d.serve(l); close(lost) }()
	return &Engine{
		Status:  d.status(),
		Started: true,
		dial:    l.DialContext,
		lost:    lost,
		close: func() {
			d.stop(true)
			if err := d.close(); err != nil {
				logrus.Error(err)
			}
			<-served
			os.Remove(recordPath(o))
			restore()
			Quiet() // the file is closed now
			logFile.Close()
			lock.Close()
		},
	}, nil
}
