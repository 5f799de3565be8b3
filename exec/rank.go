package exec

import (
	"cmp"
	"slices"
	"time"
)

// A rank orders works that may begin: the higher goes first.
type rank struct {
	chain time.Duration // expected, of the longest chain that begins with the work
	nodes int           // on the longest chain after it, where times are equal
}

func (r rank) less(o rank) bool {
	if r.chain != o.chain {
		return r.chain < o.chain
	}
	return r.nodes < o.nodes
}

// rankWorks gives each work its weight and its rank, from the last to the
// first: a chain goes on, after the solve, with what reads the result, and,
// after the export, with what comes after that.
func rankWorks(works []*work, o Options) {
	estimates := expected(works, o)
	for _, w := range slices.Backward(works) {
		w.weight = max(1, w.node.Target.Weight)
		if o.Jobs > 0 {
			w.weight = min(w.weight, o.Jobs)
		}
		e := estimates[w.at]
		tail := e.Export
		for _, d := range w.needers {
			tail = max(tail, d.priority.chain)
			w.priority.nodes = max(w.priority.nodes, d.priority.nodes+1)
		}
		for _, d := range w.waiters {
			tail = max(tail, e.Export+d.priority.chain)
			w.priority.nodes = max(w.priority.nodes, d.priority.nodes+1)
		}
		w.priority.chain = e.Solve + tail
	}
}

// expected returns what each work is expected to take. One that is not known
// is taken for the middle one of those that are.
func expected(works []*work, o Options) []Estimate {
	out := make([]Estimate, len(works))
	known := make([]bool, len(works))
	var all []Estimate
	for _, w := range works {
		if o.Expect == nil || o.Jobs <= 0 { // then the order is nothing
			break
		}
		if e, ok := o.Expect(w.node); ok {
			out[w.at], known[w.at] = e, true
			all = append(all, e)
		}
	}
	middle := Estimate{Solve: time.Second}
	if len(all) > 0 {
		slices.SortFunc(all, func(a, b Estimate) int { return cmp.Compare(a.Solve+a.Export, b.Solve+b.Export) })
		middle = all[len(all)/2]
	}
	for i := range out {
		if !known[i] {
			out[i] = middle
		}
	}
	return out
}
