package graph

import "github.com/kilnbuild/kiln/config"

// Part returns the graph of the nodes for which as returns a target, each
// with that target in place of its own, in the order of g. Needs and Needers
// that have no part in it are left out. After still holds nodes of g, for a
// part of a graph is built in the order of the whole.
func (g *Graph) Part(as func(*Node) *config.Target) *Graph {
	out := &Graph{index: map[string]*Node{}, links: g.links, groups: g.groups}
	of := make(map[*Node]*Node, len(g.nodes))
	for _, n := range g.nodes {
		t := as(n)
		if t == nil {
			continue
		}
		m := &Node{Target: t, Requested: n.Requested, After: n.After}
		for _, need := range n.Needs {
			if in := of[need]; in != nil {
				m.Needs = append(m.Needs, in)
				in.Needers = append(in.Needers, m)
			}
		}
		of[n] = m
		out.nodes = append(out.nodes, m)
		out.index[n.Name()] = m
	}
	return out
}
