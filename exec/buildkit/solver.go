package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/util/flightcontrol"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

// ErrDaemonLost is returned by Solve and Export, wrapped, when the daemon
// dies or stops answering in the middle of a run.
var ErrDaemonLost = errors.New("the BuildKit daemon was lost")

// An ImageStore takes the images of targets that name no output.
type ImageStore interface {
	// Content takes the blobs. Goroutines share it.
	Content() content.Store
	// Put records an image, whose blobs are all there, under its references.
	Put(ctx context.Context, refs []string, desc ocispec.Descriptor) error
}

// Options are what a run needs to know of the world.
type Options struct {
	Dir     string              // working directory, absolute: relative paths of targets begin there
	Getenv  func(string) string // for secrets, SSH agents and cache credentials; nil is an empty environment
	Store   ImageStore          // nil: images without an output stay in the daemon's cache
	Bases   BaseStore           // nil: no images of earlier builds
	Engines Engines             // that images are loaded into; nil knows of none
	Stdout  io.Writer           // for outputs to "-"
	Raw     io.Writer           // takes BuildKit's own status, one JSON object a line; nil drops it
	// DockerConfig is the directory of the Docker client's configuration,
	// where registry credentials are; "" is none.
	DockerConfig string
	AuthFiles    []string     // of Podman, with credentials that are asked for after those
	Policy       string       // file of a source policy for all targets; "" is none
	Lower        LowerOptions // Stored is set by Open where there is a Store
	// Frontend sends every Dockerfile to the daemon's own frontend.
	Frontend bool
	Health   Health // how closely the daemon is watched
	Record   Record // what of the daemon's records goes into the metadata
	Trail    *Trail // takes what the steps are made of; nil drops it
	// Sent is told of each file that the daemon asks for: an absolute
	// directory, "" for a Dockerfile that the build file holds, and the path
	// in it. Goroutines call it. Nil tells nobody.
	Sent func(dir, path string)
	// CacheTries is how often Solve returns an [exec.NetworkError] because a
	// cache source cannot be read; after that the target is built without it.
	CacheTries int
	// Memory is a directory where a run notes what it has uploaded, so that
	// the next one need not; it need not exist. "" is none.
	Memory string
}

// A Solver builds the nodes of one graph on one daemon. It implements
// [exec.Solver]. Results are of use until it is closed.
type Solver struct {
	conn    *Conn
	opt     Options
	jobs    map[string]*job // by name of the target
	order   []*job          // in the order of the graph
	locals  *locals
	known   *knownUploads // nil if nothing is remembered
	shares  *shares
	ignored *ignoreLists
	router  *router
	redact  *redactor
	creds   *credentials
	sess    *runSession
	dirs    *dirSessions
	resolve flightcontrol.CachedGroup[resolved]
	exports *semaphore.Weighted
	anew    anew
	policy  *spb.Policy // of all builds; nil is none
	dests   keyedMutex  // one writer at a time for a directory that several targets export to

	// run is the context of the run. It is kept because builds outlive the
	// Solve call that begins them.
	run    context.Context
	cancel context.CancelCauseFunc
	main   func() (*readBuild, error) // opens the run's build at the first call
	survey func(gateway.Client)       // learns what is copied, at the first call
	wait   sync.WaitGroup             // all goroutines of the solver
	drain  time.Duration              // drainTime, but in tests

	// mu guards the fields below.
	mu      sync.Mutex
	opened  []*openBuild             // that hold results
	caches  map[string]content.Store // of cache sources and layouts, for the sessions
	engines map[string]Engine        // that images are loaded into, by Docker context
	givenUp []string                 // directories that were to be written
}

// maxExports is how many exports run at once: more would overrun a slow
// daemon's status service.
const maxExports = 32

// Open prepares a run of g. The error is hcl.Diagnostics if targets cannot be
// lowered. The caller closes the Solver after the last Result; the run ends
// with ctx in any case.
func Open(ctx context.Context, conn *Conn, g *graph.Graph, o Options) (*Solver, error) {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	receiveSteadily()
	o.Lower.Stored = o.Store != nil
	o.Frontend = o.Frontend || o.Record != RecordNone
	s := &Solver{
		conn: conn, opt: o,
		jobs: map[string]*job{}, locals: newLocals(o.Sent), router: newRouter(o.Raw), redact: newRedactor(),
		caches: map[string]content.Store{}, engines: map[string]Engine{}, ignored: newIgnoreLists(), exports: semaphore.NewWeighted(exportsAtOnce(o.Lower.Docker)),
		drain: drainTime,
	}
	s.router.redact, s.locals.trail = s.redact, o.Trail
	s.run, s.cancel = context.WithCancelCause(ctx)
	err := s.prepare(g)
	if err == nil {
		err = s.start()
	}
	if err != nil {
		s.cancel(err)
		s.wait.Wait()
		return nil, err
	}
	return s, nil
}

// start begins the session and the watch over the daemon.
func (s *Solver) start() error {
	var err error
	s.known = s.newKnownUploads()
	if s.sess, err = s.newRunSession(); err != nil {
		return err
	}
	s.dirs = &dirSessions{solver: s, open: map[string]*runSession{}}
	s.shares = &shares{unique: identity.NewID(), unions: map[shareKey]*union{}}
	s.main = sync.OnceValues(s.openReadBuild)
	var once sync.Once
	s.survey = func(gw gateway.Client) { once.Do(func() { s.surveyAll(gw) }) }
	s.wait.Add(1)
	go s.watch()
	return nil
}

// Solve implements [exec.Solver].
func (s *Solver) Solve(ctx context.Context, n *graph.Node, inputs map[string]exec.Result, sink exec.Sink) (exec.Result, error) {
	j := s.jobs[n.Name()]
	if j == nil {
		return nil, fmt.Errorf("target %s is not of this run", n.Name())
	}
	ctx, stop := s.bound(ctx)
	defer stop()
	s.router.join(j.name, j.req.Dockerfile, sink)
	r, err := s.solve(ctx, j, inputs)
	if err != nil {
		err = s.explain(ctx, j, err) // which waits for the end of the step that failed
		s.router.leave(j.name)
		return nil, err
	}
	return r, nil
}

func (s *Solver) solve(ctx context.Context, j *job, inputs map[string]exec.Result) (exec.Result, error) {
	if err := j.load(s); err != nil {
		return nil, err
	}
	s.note(j)
	fed, err := s.feed(j, inputs)
	if err != nil {
		return nil, err
	}
	j.inherit(fed)
	if j.own() {
		return s.solveOwn(ctx, j, fed, s.router.direct)
	}
	r, err := s.solveShared(ctx, j, fed)
	if err != nil {
		return nil, err
	}
	if j.checked {
		return &pushedResult{r, fed}, nil
	}
	return r, nil
}

// bound returns a context that also ends with the run.
func (s *Solver) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.run, func() { cancel(context.Cause(s.run)) })
	return ctx, func() { stop(); cancel(nil) }
}

// abs returns a path of a build file as an absolute one.
func (s *Solver) abs(path string) string { return absIn(s.opt.Dir, path) }

func absIn(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// errClosed is the cause of what still runs when the solver is closed.
var errClosed = errors.New("the run has ended")

// How long Close waits for a daemon's last words: the ends of steps and of
// their logs, and that of the build.
const (
	drainTime  = 10 * time.Second // from a daemon that is well; a busy one takes its time
	cutOffTime = time.Second      // from one that was told to stop
)

// Close lets go of everything the daemon holds for the run. Results and what
// still runs end with it.
func (s *Solver) Close() error {
	s.mu.Lock()
	opened := s.opened
	s.mu.Unlock()
	patience := s.patience()
	until := time.Now().Add(patience)
	left := func() time.Duration { return max(time.Until(until), min(patience, cutOffTime)) }
	for _, b := range opened {
		b.release(left())
	}
	s.known.close()
	s.cancel(errClosed)
	s.dirs.close()
	s.sess.close()
	done := make(chan struct{})
	go func() {
		s.wait.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(left()):
		// A daemon that does not answer cannot be waited for; its calls end
		// when the connection is closed.
	}
	s.router.close(left())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, dest := range s.givenUp { // in case a late daemon has begun them again
		sweepTemps(dest)
	}
	return nil
}

// patience is how long the daemon's last words are waited for; one that is
// lost has none.
func (s *Solver) patience() time.Duration {
	switch {
	case errors.Is(context.Cause(s.run), ErrDaemonLost):
		return 0
	case s.run.Err() != nil:
		return cutOffTime
	}
	return s.drain
}
