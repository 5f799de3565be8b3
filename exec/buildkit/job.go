package buildkit

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/hcl/v2"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	spb "github.com/moby/buildkit/sourcepolicy/pb"

	"github.com/kilnbuild/kiln/graph"
)

// A job is one target of the run with what was found out about it.
type job struct {
	name    string
	req     *Request
	needed  bool // other targets read the result
	cacheIn []gateway.CacheOptionsEntry
	clash   bool // a secret or agent has the ID of another target's
	force   bool // use the daemon's frontend in any case
	// late says that the target, or one it reads, waits for exports of others
	// (depends-on), which may write what it reads: nothing of it is looked at
	// before.
	late bool

	// mu guards loaded and, until that is true, the fields after it.
	mu     sync.Mutex
	loaded bool
	mounts map[string]*localDir
	// session is the ID of the session that serves the mounts to a frontend
	// in kiln, see ownSession.
	session string
	tries   int // sessions of its own that it had
	// cacheTries counts the times that a cache source could not be read.
	cacheTries int
	syntax     string            // image of the frontend that the Dockerfile asks for
	source     []byte            // the Dockerfile, if it is on this machine
	checked    bool              // the image is compared with the registry's, see unchanged.go
	notes      []note            // for its log
	bases      map[string]string // digests of images of kiln's store that it builds on, by the name of their context

	policy *spb.Policy // what it may read; nil unless it has one of its own

	early *conversion // what the survey has made of it, if that is exact
	// inherited holds the digests of the operations of the targets it reads.
	inherited atomic.Pointer[map[string]bool]
}

// prepare lowers all nodes of g and checks what can be checked before
// anything starts.
func (s *Solver) prepare(g *graph.Graph) error {
	s.offerStored()
	var diags hcl.Diagnostics
	late := map[*graph.Node]bool{}
	for _, n := range g.Nodes() {
		late[n] = isLate(n, late)
		req, ds := Lower(n.Target, s.opt.Lower)
		diags = append(diags, ds...)
		if req == nil {
			continue
		}
		s.newJob(n, req, late[n])
	}
	if diags.HasErrors() {
		return diags
	}
	var errs []error
	if err := cmp.Or(s.checkEngine(), s.preparePolicies(g)); err != nil {
		errs = append(errs, err)
	}
	if err := s.prepareCredentials(); err != nil {
		errs = append(errs, err)
	}
	for _, j := range s.order {
		if j.late {
			continue
		}
		_, err := s.outputs(j)
		if err := errors.Join(s.prepareStores(j), err); err != nil {
			errs = append(errs, fmt.Errorf("target %s: %w", j.name, err))
		}
	}
	return errors.Join(errs...)
}

// isLate reports whether a node waits for exports, given which of those
// before it do.
func isLate(n *graph.Node, late map[*graph.Node]bool) bool {
	return len(n.After) > 0 || slices.ContainsFunc(n.Needs, func(m *graph.Node) bool { return late[m] })
}

// newJob adds the job of a node that asks for req.
func (s *Solver) newJob(n *graph.Node, req *Request, late bool) *job {
	j := &job{name: n.Name(), req: req, needed: len(n.Needers) > 0, force: s.opt.Frontend, late: late}
	// What a late job offers is not known when the run's session is opened.
	j.force = j.force || j.late && (len(req.Layouts)+len(req.CacheFrom)+len(req.SSH) > 0)
	s.jobs[j.name] = j
	s.order = append(s.order, j)
	return j
}

// load finds the directories of the job and reads its Dockerfile, once.
func (j *job) load(s *Solver) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.loaded {
		return nil
	}
	err := j.loadOnce(s)
	j.loaded = err == nil
	return err
}

// text returns the Dockerfile, nil while it is not read, or if it is not on
// this machine. Another goroutine may be loading the job.
func (j *job) text() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.source
}

func (j *job) loadOnce(s *Solver) error {
	if j.late {
		if err := errors.Join(s.creds.check(j), s.prepareStores(j)); err != nil {
			return err
		}
	}
	j.mounts = map[string]*localDir{}
	for _, m := range j.req.Locals {
		if m.Name == "dockerfile" {
			continue // its own error is better: below
		}
		dir, err := s.locals.dir(s.abs(m.Dir))
		if err != nil {
			return contextError(m, err)
		}
		j.mounts[m.Name] = dir
	}
	if err := j.loadDockerfile(s); err != nil {
		return err
	}
	s.findStored(j)
	if ref, _, _, ok := parser.DetectSyntax(j.source); ok && j.req.Attrs["cmdline"] == "" {
		j.syntax = ref
	}
	j.checked = j.isChecked(s.opt.Store != nil)
	j.session = s.sess.ID()
	if j.late || j.own() && j.exportsCache() {
		return j.ownSession(s)
	}
	return nil
}

// ownSession gives the directories of a job a session of their own: within
// one, the daemon does not ask twice for the same files. It does not look at
// their content either, then, and has no keys for them that a cache could be
// exported under.
func (j *job) ownSession(s *Solver) error {
	j.tries++
	if j.frontend() {
		return nil // see dirSessions
	}
	sess, err := s.newSession(newFiles(s.locals))
	if err != nil {
		return err
	}
	j.session = sess.ID()
	return nil
}

// exportsCache reports whether the job's cache goes anywhere.
func (j *job) exportsCache() bool {
	return len(j.req.CacheTo) > 0 || j.req.Attrs["build-arg:BUILDKIT_INLINE_CACHE"] != ""
}

func contextError(m Mount, err error) error {
	what := fmt.Sprintf("the context %q", m.Dir)
	if m.Name != "context" {
		what = fmt.Sprintf("the directory %q of the context %q", m.Dir, strings.TrimPrefix(m.Name, "_"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist", what)
	}
	return fmt.Errorf("%s cannot be read: %w", what, err)
}

func (j *job) loadDockerfile(s *Solver) error {
	if j.req.Inline != "" {
		dir, err := s.locals.text(j.req.Inline)
		j.mounts["dockerfile"] = dir
		j.source = []byte(j.req.Inline)
		return err
	}
	i := slices.IndexFunc(j.req.Locals, func(m Mount) bool { return m.Name == "dockerfile" })
	if i < 0 {
		return nil // it is where the remote context is
	}
	path := s.abs(j.req.Dockerfile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && filepath.Base(path) == "Dockerfile" {
		lower := filepath.Join(filepath.Dir(path), "dockerfile")
		if data2, err2 := os.ReadFile(lower); err2 == nil {
			data, err = data2, nil
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no Dockerfile at %q; set %q to where it is, relative to the context, or write it into the build file as %q", j.req.Dockerfile, "dockerfile", "dockerfile-inline")
	case err != nil:
		return fmt.Errorf("read the Dockerfile: %w", err)
	}
	j.source = data
	dir, err := s.locals.dir(filepath.Dir(path))
	j.mounts["dockerfile"] = dir
	return err
}

// remote reports whether the daemon fetches the context.
func (j *job) remote() bool { return j.req.Attrs["context"] != "" }

// frontend reports whether the daemon's frontend is to read the Dockerfile in
// a build of the job's own.
func (j *job) frontend() bool { return j.req.Attested || j.foreign() }

// foreign reports whether only the daemon's frontend can read the Dockerfile.
func (j *job) foreign() bool {
	return j.force || j.policy != nil || j.syntax != "" || j.req.Frontend != builtin || j.remote()
}

// separate reports whether the job cannot be solved beside others.
func (j *job) separate() bool {
	return j.foreign() || j.clash || len(j.req.Entitlements)+len(j.req.Logins) > 0
}

// own reports whether the job is solved in a build of its own.
func (j *job) own() bool {
	return !j.checked && (j.separate() || j.req.Attested)
}

// attrs returns the frontend attributes with those of the inputs.
func (j *job) attrs(fed *fed) map[string]string {
	attrs := maps.Clone(j.req.Attrs)
	maps.Copy(attrs, fed.attrs)
	return attrs
}
