package graph

import (
	"container/heap"
	"math"
	"slices"
)

// Ways are the paths from some nodes to others.
type Ways struct {
	Paths [][]Edge // the shortest first; at most as many as were asked for
	// Total is how many there are; math.MaxInt64 if there are that many or more.
	Total int64
}

// Ways returns the paths along which nodes of from need nodes of to. A path
// goes from one edge to the next, and ends at the first node of to that it
// meets. Two edges between the same nodes make two paths. Equally long
// paths come in an order that is always the same. A node in both lists gives
// no path.
func (g *Graph) Ways(from, to []*Node, most int) Ways {
	w := &ways{g: g, to: map[*Node]bool{}, count: map[*Node]int64{}}
	for _, n := range to {
		w.to[n] = true
	}
	w.left = Reach(to, g.Needers())
	var out Ways
	for i, n := range from {
		if _, reaches := w.left[n]; reaches && !w.to[n] && !slices.Contains(from[:i], n) {
			out.Total = plus(out.Total, w.counted(n))
			w.push(&partial{at: n, length: w.left[n]})
		}
	}
	// The best partial path is the one that can become the shortest whole
	// one: all that come out are in order of length.
	for w.queue.Len() > 0 && len(out.Paths) < most {
		p := heap.Pop(&w.queue).(*partial)
		if w.to[p.at] {
			out.Paths = append(out.Paths, p.edges())
			continue
		}
		for _, e := range g.Edges(p.at) {
			if left, reaches := w.left[e.To]; reaches {
				w.push(&partial{at: e.To, last: e, before: p, steps: p.steps + 1, length: p.steps + 1 + left})
			}
		}
	}
	return out
}

// ways is the state of one search.
type ways struct {
	g     *Graph
	to    map[*Node]bool
	left  map[*Node]int   // fewest edges from a node to one of to
	count map[*Node]int64 // paths from a node to to
	queue partials
	made  int
}

// counted returns the number of paths from n. Nodes come after all they need,
// so one pass in the graph's order counts them all.
func (w *ways) counted(n *Node) int64 {
	if len(w.count) == 0 {
		for _, n := range w.g.nodes {
			if w.to[n] {
				w.count[n] = 1
				continue
			}
			for _, e := range w.g.Edges(n) {
				w.count[n] = plus(w.count[n], w.count[e.To])
			}
		}
	}
	return w.count[n]
}

// plus adds counts, and stays at the highest number there is.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func (w *ways) push(p *partial) {
	w.made++
	p.order = w.made
	heap.Push(&w.queue, p)
}

// A partial is the beginning of a path.
type partial struct {
	at     *Node
	last   Edge // to at; of no meaning without before
	before *partial
	steps  int // edges so far
	length int // edges of the shortest path that it can become
	order  int // among all that were made
}

func (p *partial) edges() []Edge {
	out := make([]Edge, p.steps)
	for ; p.before != nil; p = p.before {
		out[p.steps-1] = p.last
	}
	return out
}

// partials is a heap, the shortest first.
type partials []*partial

func (q partials) Len() int { return len(q) }
func (q partials) Less(i, j int) bool {
	a, b := q[i], q[j]
	if a.length != b.length {
		return a.length < b.length
	}
	if a.steps != b.steps { // the further one: else all of a length would be begun before one ends
		return a.steps > b.steps
	}
	return a.order < b.order
}
func (q partials) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *partials) Push(x any) { *q = append(*q, x.(*partial)) }

// Pop implements heap.Interface.
func (q *partials) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
