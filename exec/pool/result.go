package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

// A result stands for what the runs have made of a node.
type result struct {
	p    *Pool
	n    *graph.Node
	sink exec.Sink

	// mu guards exported.
	mu       sync.Mutex
	exported map[*unit]*exec.Output // what is out already, where there are parts
}

// Export implements [exec.Result]. What a lost daemon has not exported, or
// not for certain, another one builds and exports.
func (r *result) Export(ctx context.Context) (exec.Output, error) {
	for {
		runs, err := r.p.runsOf(r.n)
		if err != nil {
			return exec.Output{}, err
		}
		out, err := r.export(ctx, runs)
		var cache *exec.CacheError
		switch {
		case err == nil, errors.As(err, &cache):
			return out, err
		case ctx.Err() != nil || !isLoss(err):
			return exec.Output{}, err
		case !r.p.opt.Repeats(r.n.Target):
			r.p.dropped(err, r.sink)
			return exec.Output{}, fmt.Errorf("%w\nIts output had begun, and cannot be taken back to begin again elsewhere", err)
		}
		r.p.dropped(err, r.sink)
	}
}

// export has each run export its part, where that is not done yet, and makes
// one output of them. It is there with an exec.CacheError, too.
func (r *result) export(ctx context.Context, runs []*run) (exec.Output, error) {
	outs := make([]exec.Output, len(runs))
	caches := make([]error, len(runs)) // errors of caches only
	err := each(ctx, runs, func(ctx context.Context, i int, run *run) error {
		units := r.p.unitsOf(r.n, run)
		if done := r.done(units); done != nil {
			outs[i] = *done
			return nil
		}
		result, err := run.solve(ctx, r.n, r.sink)
		if err != nil {
			return err
		}
		out, err := result.Export(ctx)
		var cache *exec.CacheError
		if errors.As(err, &cache) {
			outs[i], caches[i] = out, err
			return nil // and not done: to export again is to try the cache again
		}
		if err != nil {
			return run.blame(err)
		}
		outs[i] = out
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, u := range units {
			r.exported[u] = &out
		}
		return nil
	})
	if err != nil {
		return exec.Output{}, err
	}
	if len(runs) == 1 {
		return outs[0], caches[0]
	}
	out, err := r.p.opt.Images.Join(ctx, r.n.Target, outs)
	return out, cmp.Or(err, cmp.Or(caches...))
}

// done returns the output of units that were exported together.
func (r *result) done(units []*unit) *exec.Output {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(units) == 0 {
		return nil
	}
	out := r.exported[units[0]]
	if slices.ContainsFunc(units, func(u *unit) bool { return r.exported[u] != out }) {
		return nil
	}
	return out
}

// unitsOf returns the units of n that are in a run.
func (p *Pool) unitsOf(n *graph.Node, r *run) []*unit {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*unit
	for _, piece := range p.of[n] {
		if piece.unit.at == r {
			out = append(out, piece.unit)
		}
	}
	return out
}

// Close implements [exec.Result].
func (r *result) Close() {
	r.p.mu.Lock()
	runs := slices.Clone(r.p.runs)
	for _, piece := range r.p.of[r.n] {
		piece.unit.held--
	}
	r.p.mu.Unlock()
	for _, run := range runs {
		run.release(r.n)
	}
}
