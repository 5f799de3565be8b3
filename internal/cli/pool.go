package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/exec/pool"
	"github.com/kilnbuild/kiln/graph"
)

// builders are the connected BuildKits of a run, in the order in which they
// were named. There is at least one.
type builders []*builder

func (all builders) close() {
	for _, b := range all {
		b.close()
	}
}

// header says who builds, for the first line of progress.
func (all builders) header() string {
	if len(all) == 1 {
		return all[0].name
	}
	var names []string
	for _, b := range all {
		names = append(names, fmt.Sprintf("%s (BuildKit %s, %s)", b.label, b.conn.Version(), b.platforms()[0]))
	}
	return fmt.Sprintf("%d builders: %s", len(all), strings.Join(names, ", "))
}

// platforms are what the builder is for, its own first.
func (b *builder) platforms() []string {
	out := slices.Clone(b.kept)
	for _, p := range b.conn.Platforms() {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// answerTime is how long one of several builders may take to answer: the
// others wait for it.
const answerTime = 30 * time.Second

// connectAll reaches the chosen builders. Of several, those that cannot be
// reached are told, and the rest is used; it is an error if there is none.
func (a *app) connectAll(ctx context.Context, choices []builderChoice) (builders, error) {
	if len(choices) == 1 {
		b, err := a.connect(ctx, choices[0])
		if err != nil {
			return nil, err
		}
		return builders{b}, nil
	}
	reached := make(builders, len(choices))
	errs := make([]error, len(choices))
	var wait sync.WaitGroup
	for i, c := range choices {
		wait.Go(func() {
			c.timeout = answerTime
			reached[i], errs[i] = a.connect(ctx, c)
		})
	}
	wait.Wait()
	reached = slices.DeleteFunc(reached, func(b *builder) bool { return b == nil })
	if ctx.Err() != nil || len(reached) == 0 {
		reached.close()
		return nil, noBuilder(errors.Join(errs...))
	}
	for i, err := range errs {
		if err != nil {
			reached[0].missing = append(reached[0].missing, choices[i].label())
			fmt.Fprintf(a.Err, "warning: going on without builder %s: %v\n", choices[i].label(), err)
		}
	}
	return reached, nil
}

// A runSolver builds the targets of one run, on one builder or several.
type runSolver interface {
	exec.Solver
	Close() error
}

// openSolver begins the run of p.
func (a *app) openSolver(ctx context.Context, p *plan, all builders) (runSolver, error) {
	if len(all) == 1 && len(all[0].missing) == 0 {
		o, err := a.solverOptions(p, all[0])
		if err != nil {
			return nil, err
		}
		return buildkit.Open(ctx, all[0].conn, p.graph, o)
	}
	images := &buildkit.Images{Lower: p.lower, DockerConfig: a.dockerConfig(), AuthFiles: a.authFiles()}
	if err := checkClaims(p.graph, images, all); err != nil {
		return nil, err
	}
	var raw io.Writer
	members := make([]pool.Member, len(all))
	for i, b := range all {
		o, err := a.solverOptions(p, b)
		if err != nil {
			return nil, err
		}
		o.Store = nil // what no output names stays with the builders
		if o.Raw != nil && raw == nil {
			raw = &lockedWriter{Writer: o.Raw}
		}
		o.Raw = raw
		members[i] = pool.Member{
			Name: b.label, Platforms: b.platforms(), Kept: b.kept,
			Open: func(ctx context.Context, g *graph.Graph) (pool.Solver, error) {
				return buildkit.Open(ctx, b.conn, g, o)
			},
		}
	}
	return pool.Open(ctx, p.graph, members, pool.Options{
		Images:  images,
		Lost:    func(err error) bool { return errors.Is(err, buildkit.ErrDaemonLost) },
		Repeats: images.Repeats,
		Weight:  func(t *config.Target) int { return t.Weight },
	})
}

// checkClaims refuses a run in which a platform is left that only a builder
// may have that was not reached.
func checkClaims(g *graph.Graph, images *buildkit.Images, all builders) error {
	missing := all[0].missing
	if len(missing) == 0 {
		return nil
	}
	for _, n := range g.Nodes() {
		for _, p := range images.Platforms(n.Target) {
			if !slices.ContainsFunc(all, func(b *builder) bool { return slices.Contains(b.platforms(), p) }) {
				return noBuilder(fmt.Errorf("target %s is for %s, for which no builder is left: %s cannot be reached", n.Name(), p, strings.Join(missing, ", ")))
			}
		}
	}
	return nil
}

// A lockedWriter is for several writers at once.
type lockedWriter struct {
	mu sync.Mutex // guards Writer
	io.Writer
}

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Writer.Write(b)
}
