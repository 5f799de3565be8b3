package buildkit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/kilnbuild/kiln/exec"
)

// Reading caches. The daemon fetches what a cache source has when the first
// step is looked up in it, once a build, and goes on without it after an
// error, which it tells in the status only. So a target that has cache
// sources first asks for a step that means nothing, and looks at what became
// of them. One that the network has failed is tried again in another build:
// this one will not ask it again.

// importPrefix begins the name of the step that fetches a cache source.
const importPrefix = "importing cache manifest from "

// A cacheReads knows of a build which cache sources the daemon has fetched.
type cacheReads struct {
	// mu guards the fields below.
	mu    sync.Mutex
	ended map[string]string // errors by name of the step; "" if it has succeeded
	more  chan struct{}     // closed when there is more in ended, and made anew
}

// watchReads returns what becomes of cache sources, and the channel for the
// status, all of which it passes on.
func watchReads(to chan *client.SolveStatus) (*cacheReads, chan *client.SolveStatus) {
	w := &cacheReads{ended: map[string]string{}, more: make(chan struct{})}
	from := make(chan *client.SolveStatus)
	go func() {
		defer close(to)
		for st := range from {
			for _, v := range st.Vertexes {
				if strings.HasPrefix(v.Name, importPrefix) && v.Completed != nil {
					w.end(v.Name, v.Error)
				}
			}
			to <- st
		}
	}()
	return w, from
}

func (w *cacheReads) end(step, err string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended[step] = err
	close(w.more)
	w.more = make(chan struct{})
}

// outcome returns the error of a cache source, and whether it has come to an
// end. Of other kinds than registries the daemon's names hold a number that
// kiln does not know: an error of any of the kind counts.
func (w *cacheReads) outcome(c gateway.CacheOptionsEntry) (err string, ended bool, more chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Type == "registry" {
		err, ended = w.ended[importPrefix+c.Attrs["ref"]]
		return err, ended, w.more
	}
	for step, e := range w.ended {
		if strings.HasPrefix(step, importPrefix+c.Type+":") {
			err, ended = max(err, e), true
		}
	}
	return err, ended, w.more
}

// readTime is how long the status may come after the answer.
const readTime = 10 * time.Second

// await returns the error of a cache source that has been asked for. The
// status comes soon after the answer; without it there is no error to tell.
func (w *cacheReads) await(ctx context.Context, c gateway.CacheOptionsEntry) string {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	for {
		err, ended, more := w.outcome(c)
		if ended {
			return err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ""
		}
	}
}

// elsewhere returns the cache sources of a job that are not on this machine.
func (j *job) elsewhere() []gateway.CacheOptionsEntry {
	return slices.DeleteFunc(slices.Clone(j.cacheIn), func(c gateway.CacheOptionsEntry) bool { return c.Type == "local" })
}

// readCaches has the daemon fetch the cache sources of a job. It returns an
// exec.NetworkError for one that may be there a moment later, and warns of
// those that the target is built without.
func (s *Solver) readCaches(ctx context.Context, j *job, gw gateway.Client, w *cacheReads) error {
	caches := j.elsewhere()
	if len(caches) == 0 || j.req.Call != "" {
		return nil
	}
	if slices.ContainsFunc(caches, func(c gateway.CacheOptionsEntry) bool { _, ended, _ := w.outcome(c); return !ended }) {
		def, err := llb.Scratch().File(llb.Mkdir("/cache", 0o755), llb.WithCustomName("[internal] read caches")).Marshal(ctx)
		if err != nil {
			return err
		}
		if _, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true, CacheImports: caches}); err != nil {
			return err
		}
	}
	for _, c := range caches {
		text := w.await(ctx, c)
		if text == "" || isNoCache(text) {
			continue
		}
		name := "cache from " + cacheName(c)
		err := errors.New(text)
		told := s.daemonError(err)
		if n := network(err, told.text); n != nil && j.cacheTries < s.opt.CacheTries {
			j.cacheTries++
			return &exec.NetworkError{Cause: fmt.Sprintf("%s (%s)", n.Cause, name), After: n.After, Err: fmt.Errorf("%s: %w", name, told)}
		}
		s.router.warn(j.name, fmt.Sprintf("%s could not be read, and is not used: %s", name, told.text), gateway.WarnOpts{})
	}
	return nil
}

// cacheName is what a person calls a cache source.
func cacheName(c gateway.CacheOptionsEntry) string {
	for _, attr := range []string{"ref", "name", "scope"} {
		if c.Attrs[attr] != "" {
			return c.Attrs[attr]
		}
	}
	return c.Type
}

// isNoCache reports whether the daemon says that there is no such cache:
// before the first build that is as it should be.
func isNoCache(text string) bool { return strings.Contains(text, "not found") }

// A readBuild is the build that a job is solved in.
type readBuild struct {
	*openBuild
	reads *cacheReads // nil if no job of the run has a cache to read
}

// openReadBuild opens a build for jobs of the run.
func (s *Solver) openReadBuild() (*readBuild, error) {
	b, status := &readBuild{}, s.router.shared()
	if slices.ContainsFunc(s.order, func(j *job) bool { return len(j.req.CacheFrom) > 0 }) {
		b.reads, status = watchReads(status)
	}
	var err error
	b.openBuild, err = s.openBuild(status)
	return b, err
}

// buildOf returns the build that a job is solved in: the run's, or, after a
// cache could not be read in that, another, which stays open as long.
func (s *Solver) buildOf(j *job) (*readBuild, error) {
	if j.cacheTries == 0 {
		return s.main()
	}
	return s.openReadBuild()
}
