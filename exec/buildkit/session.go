package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"strconv"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/session"
	sessioncontent "github.com/moby/buildkit/session/content"
)

// A runSession is a session that is open as long as the run.
type runSession struct {
	*session.Session
	done chan struct{}
}

// sharedKey tells this user of this machine from others on the same daemon,
// so that what it uploads is kept apart, and found again in the next run.
func sharedKey() string {
	host, _ := os.Hostname() // without a name, the user alone has to do
	sum := sha256.Sum256([]byte(host + "\x00" + strconv.Itoa(os.Getuid())))
	return hex.EncodeToString(sum[:8])
}

// newSession opens a session that offers what is attached.
func (s *Solver) newSession(attached ...session.Attachable) (*runSession, error) {
	sess, err := session.NewSession(s.run, sharedKey())
	if err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	for _, a := range attached {
		sess.Allow(a)
	}
	rs := &runSession{Session: sess, done: make(chan struct{})}
	if s.conn == nil { // see foresee.go
		return rs, nil
	}
	s.wait.Add(1)
	go func() {
		defer s.wait.Done()
		defer close(rs.done)
		// What ends a session early also ends the build that uses it.
		_ = sess.Run(s.run, gathering(s.conn.sessions()))
	}()
	return rs, nil
}

func (r *runSession) close() { r.Close() }

// newRunSession opens the session of the run's shared build: all
// directories, credentials and stores.
func (s *Solver) newRunSession() (*runSession, error) {
	stores := maps.Clone(s.caches)
	if s.opt.Store != nil {
		stores["export"] = s.opt.Store.Content() // the name that BuildKit's exporter looks for
	}
	attached := append(s.creds.shared(), &fileServer{dirs: s.locals, known: s.known})
	if len(stores) > 0 {
		attached = append(attached, sessioncontent.NewAttachable(stores))
	}
	return s.newSession(attached...)
}

// dirSessions are sessions of one directory each. A frontend in the daemon
// calls its mounts "context" and "dockerfile" whatever they are; a session of
// its own for each directory keeps them apart, and lets targets share one.
type dirSessions struct {
	solver *Solver
	// mu guards open.
	mu   sync.Mutex
	open map[string]*runSession // by name of the directory and, if it has its own, of the job
}

// id returns the ID of the session that serves a directory to a job.
func (d *dirSessions) id(j *job, dir *localDir) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := dir.name
	if j.late || j.exportsCache() {
		key += fmt.Sprintf("/%s/%d", j.name, j.tries)
	}
	if s := d.open[key]; s != nil {
		return s.ID(), nil
	}
	s, err := d.solver.newSession(newFiles(oneDir{dir.fs}))
	if err != nil {
		return "", err
	}
	d.open[key] = s
	return s.ID(), nil
}

func (d *dirSessions) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.open {
		s.close()
	}
}

// storesOf returns the content stores that one job reads, for a session of
// its own.
func (s *Solver) storesOf(j *job) map[string]content.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]content.Store{}
	for _, l := range j.req.Layouts {
		id := layoutID(s.abs(l.Path))
		out[id] = s.caches["oci:"+id]
	}
	if store := s.caches["oci:"+storeID]; store != nil {
		out[storeID] = store
	}
	return out
}

// background returns the run's context with its own cancellation, also
// cancelled with ctx until release is called.
func (s *Solver) background(ctx context.Context) (run context.Context, cancel context.CancelCauseFunc, release func() bool) {
	run, cancel = context.WithCancelCause(s.run)
	release = context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	return run, cancel, release
}
