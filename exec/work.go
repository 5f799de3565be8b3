package exec

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/kilnbuild/kiln/graph"
)

// A phase is how far a node has come.
type phase int

const (
	waiting phase = iota // for what it needs, or for its turn
	solving
	solved // its export is to come, or was given up
	exporting
	closing
	gone
)

// A work is a node while it is being built.
type work struct {
	node     *graph.Node
	at       int // in the order of the graph
	needs    []*work
	needers  []*work // who read this one
	waiters  []*work // who begin after this one's export
	priority rank    // of the longest chain that begins here
	weight   int     // of the slots that Jobs allows
	stage    int     // exports on the longest chain that must come before it
	waits    int     // for how many solves and exports it still waits
	readers  int     // needers that are not gone
	phase    phase
	settled  bool // it has its outcome
	staged   bool // it no longer holds back the exports of its stage
	result   Result
	outcome  Outcome
	closeErr error // of closing the result; it comes after the outcome
}

// newWorks makes the works of nodes, of which each comes after its needs.
func newWorks(nodes []*graph.Node) []*work {
	works := make([]*work, len(nodes))
	of := make(map[*graph.Node]*work, len(nodes))
	for i, n := range nodes {
		w := &work{node: n, at: i, outcome: Outcome{Node: n}, waits: len(n.Needs) + len(n.After)}
		works[i], of[n] = w, w
		for _, need := range n.Needs {
			m := of[need]
			w.needs = append(w.needs, m)
			m.needers = append(m.needers, w)
			m.readers++
			w.stage = max(w.stage, m.stage)
		}
		for _, after := range n.After {
			m := of[after]
			m.waiters = append(m.waiters, w)
			w.stage = max(w.stage, m.stage+1)
		}
	}
	return works
}

// inputs returns the results that w reads, by name.
func (w *work) inputs() map[string]Result {
	in := make(map[string]Result, len(w.needs))
	for _, need := range w.needs {
		in[need.node.Name()] = need.result
	}
	return in
}

// dependents returns who cannot be built when w has failed: all that wait for
// its export and, unless it has a result, all that read it.
func (w *work) dependents() []*work {
	if w.result != nil {
		return w.waiters
	}
	return slices.Concat(w.needers, w.waiters)
}

// A queue holds works that may go on; it is a heap with the one on top that
// begins the longest chain.
type queue []*work

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	if q[i].priority != q[j].priority {
		return q[j].priority.less(q[i].priority)
	}
	return q[i].at < q[j].at
}

// Push is for container/heap.
func (q *queue) Push(x any) { *q = append(*q, x.(*work)) }

// Pop is for container/heap.
func (q *queue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	*q = (*q)[:last]
	return w
}

// stages says when DeferOutput may export. A work's exports belong to the
// stage of the work; those of a stage may begin when all works of this and
// earlier stages are solved. A node that comes after another is of a later
// stage, so that no stage waits for its own exports.
type stages struct {
	unsolved []int     // by stage
	held     [][]*work // by stage: solved, to be exported
	done     int       // stages whose exports were begun
}

func newStages(works []*work) stages {
	var s stages
	for _, w := range works {
		for len(s.unsolved) <= w.stage {
			s.unsolved = append(s.unsolved, 0)
		}
		s.unsolved[w.stage]++
	}
	s.held = make([][]*work, len(s.unsolved))
	return s
}

// solved holds the export of w.
func (s *stages) solved(w *work) {
	s.held[w.stage] = append(s.held[w.stage], w)
	s.drop(w)
}

// drop says that w need not be waited for.
func (s *stages) drop(w *work) {
	if !w.staged {
		w.staged = true
		s.unsolved[w.stage]--
	}
}

// next returns the works that may now be exported, each once.
func (s *stages) next() []*work {
	var out []*work
	for s.done < len(s.unsolved) && s.unsolved[s.done] == 0 {
		out = append(out, s.held[s.done]...)
		s.done++
	}
	return out
}

// What a Solver must not do.
var (
	errNoResult = errors.New("the solver returned neither a result nor an error")
	errNoEnd    = errors.New("the solver ended its goroutine")
)

// recovered makes the value of a panic the error of the report.
func (r *report) recovered(v any) {
	if v != nil {
		r.err = fmt.Errorf("panic in the solver: %v\n%s", v, debug.Stack())
	}
}
