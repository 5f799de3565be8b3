// Package pool builds one graph on several daemons. It is a Solver over
// Solvers, and knows as little of BuildKit as package exec does.
//
//	units.go   nodes × platforms → units    what has to be on one daemon
//	place.go   units             → members  by platform, by links, by load
//	run.go     a member's part of the graph, open as one run
//	move.go    a daemon is lost  → its units go to others
//	result.go  parts of a node   → one output
//
// A result can be read only on the daemon that holds it, so what is linked
// stays together, for each platform. Where a target's platforms are built by
// several daemons, what these leave behind is joined to one output.
package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

// A Solver is one run on one daemon.
type Solver interface {
	exec.Solver
	// Close ends the run; no result is of use after it.
	Close() error
}

// A Member is a daemon of a pool.
type Member struct {
	Name      string   // for messages and events; unlike the others'
	Platforms []string // what it claims to build for, its own first; at least one, in their normal form
	// Kept are the platforms that the user wants it for: they count as native,
	// and no others do. nil leaves it to its own platform.
	Kept []string
	// Open begins a run of a part of the pool's graph. It may be called again
	// while earlier runs are open.
	Open func(ctx context.Context, g *graph.Graph) (Solver, error)
}

// Images knows what the targets of a graph leave behind. Its methods are
// called from several goroutines.
type Images interface {
	// Platforms returns the platforms that t names, in their normal form; none
	// is the daemon's own.
	Platforms(t *config.Target) []string
	// Joins reports whether t may be built in parts, of some platforms each,
	// which Join makes one.
	Joins(t *config.Target) bool
	// Part returns the target that builds t for some of its platforms only.
	Part(t *config.Target, platforms []string) *config.Target
	// Join makes one output of those of the parts, in the order of platforms.
	Join(ctx context.Context, t *config.Target, parts []exec.Output) (exec.Output, error)
}

// Options say how a pool decides.
type Options struct {
	Images Images
	// Lost reports whether an error says that a run's daemon is gone.
	Lost func(error) bool
	// Repeats reports whether t may be exported again after an export of
	// which nobody knows how far it came.
	Repeats func(t *config.Target) bool
	// Weight is how much of a daemon's time t takes beside others; nil is 1
	// for all.
	Weight func(t *config.Target) int
}

// A Pool is the Solver of one graph on several daemons.
type Pool struct {
	opt   Options
	g     *graph.Graph
	home  string // platform of targets that name none: that of the first member
	units []*unit
	of    map[*graph.Node][]*piece // in the order of the node's platforms

	// ctx is of the runs. It is kept because a run may be opened later, when
	// another is lost.
	ctx context.Context

	// mu guards runs, the losses of members, and where the units are.
	mu      sync.Mutex
	members []*member
	runs    []*run
}

// A member is a Member with what became of it.
type member struct {
	Member
	lost   error // why it is not used any more
	lostAt time.Time
}

// Open places the nodes of g on the members and begins a run on each that has
// any. There is at least one member; the order is the user's, and decides
// where nothing else does. The caller closes the Pool after the last result.
func Open(ctx context.Context, g *graph.Graph, members []Member, o Options) (*Pool, error) {
	if o.Weight == nil {
		o.Weight = func(*config.Target) int { return 1 }
	}
	p := &Pool{opt: o, g: g, ctx: ctx, home: members[0].Platforms[0]}
	for _, m := range members {
		p.members = append(p.members, &member{Member: m})
	}
	p.divide()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.place(p.units)
	if err := p.open(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// Solve implements [exec.Solver]. Of the inputs it needs only that they are
// held: what they are on each daemon, its run knows.
func (p *Pool) Solve(ctx context.Context, n *graph.Node, _ map[string]exec.Result, sink exec.Sink) (exec.Result, error) {
	if sink == nil {
		sink = discard{}
	}
	for {
		runs, err := p.runsOf(n)
		if err != nil {
			return nil, err
		}
		err = each(ctx, runs, func(ctx context.Context, _ int, r *run) error {
			_, err := r.solve(ctx, n, sink)
			return err
		})
		if err == nil {
			return &result{p: p, n: n, sink: sink, exported: map[*unit]*exec.Output{}}, nil
		}
		if ctx.Err() != nil || !p.dropped(err, sink) {
			for _, r := range runs { // parts that went well
				r.release(n)
			}
			return nil, err
		}
	}
}

// Close ends all runs.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.close()
}

func (p *Pool) close() error {
	errs := make([]error, len(p.runs))
	var wait sync.WaitGroup
	for i, r := range p.runs { // at once: one that is lost takes its time
		wait.Go(func() { errs[i] = r.solver.Close() })
	}
	wait.Wait()
	p.runs = nil
	return errors.Join(errs...)
}

// runsOf returns the runs that have a part of n, in the order of the part's
// platforms, or says why there are none.
func (p *Pool) runsOf(n *graph.Node) ([]*run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pieces := p.of[n]
	if pieces == nil {
		return nil, fmt.Errorf("target %s is not of this run", n.Name())
	}
	var out []*run
	for _, piece := range pieces {
		at := piece.unit.at
		if at == nil {
			return nil, p.nobody()
		}
		if !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	return out, nil
}

// nobody is the error of a pool that has lost all its members.
func (p *Pool) nobody() error {
	var lines []string
	var causes []error
	for _, m := range p.members {
		lines = append(lines, fmt.Sprintf("%s was lost at %s: %v", m.Name, m.lostAt.Format(time.TimeOnly), m.lost))
		causes = append(causes, m.lost)
	}
	return &noneLeft{text: "no builder is left:\n" + strings.Join(lines, "\n"), causes: causes}
}

// noneLeft says of each member when and why it was lost.
type noneLeft struct {
	text   string
	causes []error
}

func (e *noneLeft) Error() string   { return e.text }
func (e *noneLeft) Unwrap() []error { return e.causes }

type discard struct{}

func (discard) Event(exec.Event) {}
