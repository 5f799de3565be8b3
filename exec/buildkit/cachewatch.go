package buildkit

import (
	"errors"
	"strings"

	"github.com/moby/buildkit/client"

	"github.com/kilnbuild/kiln/exec"
)

// A cacheWatch reads the status of an export for caches that could not be
// exported: the daemon says so nowhere else, if it may go on after that.
type cacheWatch struct {
	s      *Solver
	done   chan struct{}
	failed []string // errors, in the order in which they came; to be read after done
}

// watchCaches returns a watch, and the channel for the status, all of which
// it passes on.
func (s *Solver) watchCaches(to chan *client.SolveStatus) (*cacheWatch, chan *client.SolveStatus) {
	w := &cacheWatch{s: s, done: make(chan struct{})}
	from := make(chan *client.SolveStatus)
	go func() {
		defer close(w.done)
		defer close(to)
		for st := range from {
			for _, v := range st.Vertexes {
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
