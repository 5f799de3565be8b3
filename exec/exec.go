// Package exec builds the nodes of a graph, each after what it needs.
//
// It decides order, limits, and what a failure means for the rest. What it is
// to build a node is a Solver's business; package exec/buildkit has the one
// that drives a BuildKit daemon.
package exec

import (
	"context"
	"time"

	"github.com/kilnbuild/kiln/graph"
)

// A Solver builds nodes. Its methods are called from several goroutines.
type Solver interface {
	// Solve builds n. Inputs holds the results of n.Needs, by name. The
	// result may be read by other nodes until it is closed.
	Solve(ctx context.Context, n *graph.Node, inputs map[string]Result, sink Sink) (Result, error)
}

// A Result is a built node that is still held open for those who read it.
//
// Export and Close are two calls because a node's export may be awaited
// (depends-on) by a node that also reads it, or by one that its reader waits
// for: letting go only after the last reader, and exporting only then, would
// deadlock.
type Result interface {
	// Export writes the outputs of the target. It is called at most once, but
	// again after a NetworkError; possibly while others read the result. With
	// a CacheError there is an Output, too.
	Export(ctx context.Context) (Output, error)
	// Close lets go of the result. It is called exactly once, after Export
	// (if that is called) and after the last reader is done.
	Close()
}

// An Output says what an exported node left behind.
type Output struct {
	Digest   string            // of the image or index, "sha256:" and 64 hex digits; "" if there is none
	Refs     []string          // names it was stored or pushed under, or paths it was written to, in the order of the outputs
	Metadata map[string]string // the exporters' answers, for --metadata-file
}

// A Mode says what a failure means for the rest. In every mode a node whose
// needs failed is Skipped, and what was exported stays.
type Mode int

const (
	FailFast    Mode = iota // the first failure cancels all that is not yet exported
	KeepGoing               // only what needs the failed node is skipped
	DeferOutput             // nothing is exported until everything is solved, and nothing at all after a failure; the rest is still solved, to tell of all failures
)

// Options change how Run goes about its work. The zero value builds as many
// nodes at once as are ready and stops at the first failure.
type Options struct {
	Jobs int // most nodes solved or exported at once, each counted with its weight; 0 is no limit
	Mode Mode
	Sink Sink // nil drops the events
	// Expect tells how long a node took in an earlier run, if that is known;
	// nil knows of none. A node that is not known is taken for an ordinary one.
	// It is asked before anything begins, and only where Jobs limits.
	Expect func(*graph.Node) (Estimate, bool)
}

// An Estimate is how long a node may take.
type Estimate struct{ Solve, Export time.Duration }

// Run builds every node of g: it solves a node when all its Needs are solved
// and all it comes After is exported, exports it at once, and closes its
// result when that is over and all who read it are closed.
//
// Where Jobs limits, the node goes first that begins the longest chain, in
// time: its own and that of those that wait for it. One that has no room yet,
// by its weight, is not overtaken. One that is heavier than Jobs runs alone.
//
// With DeferOutput, a node that another comes After is exported when all are
// solved that do not wait for an export themselves, stage by stage.
//
// A failure that ctx's end caused counts as Cancelled, but with a TimeoutError
// it is the node's own: it was at work when its time, or the run's, was up. A
// panic of the Solver
// is a failure of its node. The outcomes are in the order of g.Nodes, one for
// each, whatever the error. The error joins the errors of all nodes that
// Failed, in that order, and ctx's cause if that cancelled any.
func Run(ctx context.Context, g *graph.Graph, s Solver, o Options) ([]Outcome, error) {
	r := newRun(ctx, g, s, o)
	defer r.cancel(nil)
	r.loop(ctx)
	return r.results()
}
