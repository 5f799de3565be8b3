package buildkit

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/client"

	"github.com/kilnbuild/kiln/exec"
)

// A cacheWatch reads the status of an export for caches that could not be
// exported: the daemon says so nowhere else, if it may go on after that.
type cacheWatch struct {
	s      *Solver
	j      *job
	done   chan struct{}
	failed []string // errors, in the order in which they came; to be read after done
}

// watchCaches returns a watch, and the channel for the status, all of which
// it passes on.
func (s *Solver) watchCaches(j *job, to chan *client.SolveStatus) (*cacheWatch, chan *client.SolveStatus) {
	w := &cacheWatch{s: s, j: j, done: make(chan struct{})}
	from := make(chan *client.SolveStatus)
	go func() {
		defer close(w.done)
		defer close(to)
		for st := range from {
			for _, v := range st.Vertexes {
				if v.Name == "exporting cache to registry" && len(j.req.CacheTo) == 1 {
					v.Name += " " + j.req.CacheTo[0].Attrs["ref"] // who waits for it wants to know
				}
				if isCacheExport(v.Name) && v.Error != "" && v.Completed != nil {
					w.failed = append(w.failed, v.Error)
				}
			}
			to <- st
		}
	}()
	return w, from
}

// isCacheExport knows a step by the name that BuildKit's cache exporters give
// to theirs.
func isCacheExport(step string) bool {
	return strings.HasPrefix(step, "exporting cache to ") || step == "exporting to GitHub Actions Cache"
}

// err returns the first failure as an exec.CacheError, nil if there is none.
// The build has ended.
func (w *cacheWatch) err() error {
	<-w.done
	if len(w.failed) == 0 {
		return nil
	}
	err := errors.New(w.failed[0])
	return &exec.CacheError{Err: w.s.networkError(err, w.s.daemonError(err))}
}

// name says of an error where the cache was to go.
func (w *cacheWatch) name(err error) error {
	var places []string
	for _, c := range w.j.req.CacheTo {
		switch {
		case c.Attrs["ref"] != "":
			places = append(places, c.Attrs["ref"])
		case c.Attrs["dest"] != "":
			places = append(places, c.Attrs["dest"])
		case c.Type != "inline":
			places = append(places, c.Type)
		}
	}
	return fmt.Errorf("cache to %s: %w", strings.Join(places, ", "), err)
}

// told returns an error of an export, as it is told, with where the cache was
// to go if that is what failed. The build has ended.
func (w *cacheWatch) told(err error) error {
	if w == nil { // it did not come so far
		return err
	}
	<-w.done
	if len(w.failed) == 0 {
		return err
	}
	return w.name(err)
}
