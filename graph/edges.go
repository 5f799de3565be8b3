package graph

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// An Edge is one way in which a node needs another.
type Edge struct {
	From, To *Node
	After    bool      // by depends-on: To is built and exported before From begins, but not read
	Context  string    // name of the context by which From reads To; "" for depends-on
	Range    hcl.Range // where it is written
}

// Edges returns everything by which n, a node of g, needs others: contexts by
// name, then depends-on as written. Two contexts may lead to one node.
func (g *Graph) Edges(n *Node) []Edge {
	l := g.links
	at, ok := l.byName[n.Name()]
	if !ok {
		return nil
	}
	var out []Edge
	for _, e := range l.edges[at] {
		to := g.index[l.targets[e.to].Name]
		if to == nil || !slices.Contains(n.Needs, to) && !slices.Contains(n.After, to) {
			continue // left out of the graph
		}
		link := Edge{From: n, To: to, After: e.after, Range: l.rng(at, e)}
		if !e.after {
			link.Context = n.Target.Contexts[e.index].Name
		}
		out = append(out, link)
	}
	return out
}

// Named returns the nodes that the names mean, each once, in the order of the
// names and of the members of groups: names of targets and groups, or patterns
// over both. Nodes are looked for in g only; the diagnostics tell of names
// that nothing in the Config has.
func (g *Graph) Named(names ...string) ([]*Node, hcl.Diagnostics) {
	l := g.links
	names, diags := l.expand(names)
	o := newOpener(l)
	for _, name := range names {
		if group := l.group[name]; group != nil {
			o.open(group)
		} else {
			o.add(l.byName[name])
		}
	}
	var out []*Node
	for _, at := range o.targets {
		if n := g.index[l.targets[at].Name]; n != nil {
			out = append(out, n)
		}
	}
	return out, unique(append(diags, o.diags...))
}

// Reach returns how far every node that can be reached from the given ones is
// from them, by the fewest edges: 0 for those themselves. The nodes one edge
// on are what next returns: Needs, or the function of Needers for the other
// direction.
func Reach(from []*Node, next func(*Node) []*Node) map[*Node]int {
	far := make(map[*Node]int, len(from))
	var queue []*Node
	for _, n := range from {
		if _, ok := far[n]; !ok {
			far[n] = 0
			queue = append(queue, n)
		}
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for _, m := range next(n) {
			if _, ok := far[m]; !ok {
				far[m] = far[n] + 1
				queue = append(queue, m)
			}
		}
	}
	return far
}

// Needs returns the nodes that n needs in any way, each once.
func Needs(n *Node) []*Node {
	out := slices.Clone(n.Needs)
	for _, m := range n.After {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// Needers returns a function that gives the nodes of g that need a node in any
// way, each once, in the order of g.
func (g *Graph) Needers() func(*Node) []*Node {
	of := make(map[*Node][]*Node, len(g.nodes))
	for _, n := range g.nodes {
		for _, m := range Needs(n) {
			of[m] = append(of[m], n)
		}
	}
	return func(n *Node) []*Node { return of[n] }
}
