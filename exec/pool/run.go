package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

// A run is a part of the graph that is open on a member.
type run struct {
	member *member
	solver Solver
	lost   func(error) bool
	parts  map[*graph.Node]*part // by node of the pool's graph

	// mu guards made.
	mu   sync.Mutex
	made map[*graph.Node]*future
}

// A part is a node of the pool's graph as a run builds it.
type part struct {
	node      *graph.Node // of the run's graph
	needs     []*graph.Node
	platforms []string // for the event: nil where that is all of them
}

// A future is a result that is made once, and waited for by all that read it.
type future struct {
	done   chan struct{} // closed when the rest is set
	result exec.Result
	err    error
	gaveUp bool // because whoever made it was stopped; others may try again
}

// open begins runs of the units that were placed and not opened, one run a
// member. The caller holds mu.
func (p *Pool) open() error {
	for _, m := range p.alive() {
		r := &run{member: m, lost: p.opt.Lost, parts: map[*graph.Node]*part{}, made: map[*graph.Node]*future{}}
		any := false
		for _, u := range p.units {
			if u.at != nil && u.at.member == m && u.at.solver == nil {
				u.at, any = r, true
			}
		}
		if !any {
			continue
		}
		if err := p.begin(r); err != nil {
			return &lostError{run: r, err: err}
		}
		p.runs = append(p.runs, r)
	}
	return nil
}

// begin opens a run of all that is placed in it.
func (p *Pool) begin(r *run) error {
	g := p.g.Part(func(n *graph.Node) *config.Target { return p.targetOf(n, r) })
	var err error
	if r.solver, err = r.member.Open(p.ctx, g); err != nil {
		return err
	}
	for _, n := range p.g.Nodes() {
		in := g.Node(n.Name())
		if in == nil {
			continue
		}
		part := &part{node: in, platforms: p.platformsOf(n, r)}
		for _, need := range n.Needs {
			if g.Node(need.Name()) != nil {
				part.needs = append(part.needs, need)
			}
		}
		r.parts[n] = part
	}
	return nil
}

// platformsOf returns the platforms of n that are built in r, in the order of
// its target; nil where that is all of n.
func (p *Pool) platformsOf(n *graph.Node, r *run) []string {
	var out []string
	whole := true
	for _, piece := range p.of[n] {
		if piece.unit.at == r {
			out = append(out, piece.platforms...)
		} else {
			whole = false
		}
	}
	if whole {
		return nil
	}
	return out
}

// targetOf returns what r builds of n: nil is nothing.
func (p *Pool) targetOf(n *graph.Node, r *run) *config.Target {
	pieces := p.of[n]
	here := slices.ContainsFunc(pieces, func(piece *piece) bool { return piece.unit.at == r })
	switch {
	case !here:
		return nil
	case p.platformsOf(n, r) != nil:
		return p.opt.Images.Part(n.Target, p.platformsOf(n, r))
	case len(n.Target.Platforms) == 0 && r.member.Platforms[0] != p.home:
		t := *n.Target // else the member would build for its own
		t.Platforms = []string{p.home}
		return &t
	}
	return n.Target
}

// solve returns the result of n in this run. It is made once, after those
// that n reads: on a member that took over from another, these are not there
// yet.
func (r *run) solve(ctx context.Context, n *graph.Node, sink exec.Sink) (exec.Result, error) {
	for {
		r.mu.Lock()
		f := r.made[n]
		mine := f == nil
		if mine {
			f = &future{done: make(chan struct{}), err: errNoEnd}
			r.made[n] = f
		}
		r.mu.Unlock()
		if mine {
			r.make(ctx, n, f, sink)
			return f.result, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		switch {
		case f.err == nil:
			return f.result, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !f.gaveUp:
			return nil, f.err
		}
	}
}

var errNoEnd = errors.New("the solver ended its goroutine")

// make fulfils f, or takes it away so that it can be tried again.
func (r *run) make(ctx context.Context, n *graph.Node, f *future, sink exec.Sink) {
	defer func() {
		if f.err != nil {
			f.gaveUp = ctx.Err() != nil
			r.mu.Lock()
			delete(r.made, n)
			r.mu.Unlock()
		}
		close(f.done)
	}()
	part := r.parts[n]
	inputs := make(map[string]exec.Result, len(part.needs))
	for _, need := range part.needs {
		in, err := r.solve(ctx, need, sink)
		if err != nil {
			f.err = err
			return
		}
		inputs[need.Name()] = in
	}
	sink.Event(exec.Event{Time: time.Now(), Node: n.Name(), Kind: exec.Placed, Builder: r.member.Name, Platforms: part.platforms})
	result, err := r.solver.Solve(ctx, part.node, inputs, sink)
	if err == nil && result == nil {
		err = fmt.Errorf("builder %s returned neither a result nor an error", r.member.Name)
	}
	f.result, f.err = result, r.blame(err)
}

// blame makes the loss of the run's daemon a *lostError.
func (r *run) blame(err error) error {
	if err != nil && r.lost(err) {
		return &lostError{run: r, err: err}
	}
	return err
}

// release closes the result of n, if there is one.
func (r *run) release(n *graph.Node) {
	r.mu.Lock()
	f := r.made[n]
	delete(r.made, n)
	r.mu.Unlock()
	if f != nil && f.result != nil {
		f.result.Close()
	}
}

// each does something with all runs at once. An error stops the others,
// unless it is a loss: what they do is not in vain then. It returns the first
// error that is no loss, else a loss.
func each(ctx context.Context, runs []*run, do func(ctx context.Context, i int, r *run) error) error {
	if len(runs) == 1 {
		return do(ctx, 0, runs[0])
	}
	var losses sync.Map // to an error, by number of the run
	eg, ctx := errgroup.WithContext(ctx)
	for i, r := range runs {
		eg.Go(func() error {
			err := do(ctx, i, r)
			if isLoss(err) {
				losses.Store(i, err)
				return nil
			}
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	for i := range runs {
		if err, ok := losses.Load(i); ok {
			return err.(error)
		}
	}
	return nil
}
