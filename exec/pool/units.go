package pool

import (
	"slices"

	"github.com/kilnbuild/kiln/graph"
)

// A unit is what has to be on one daemon: nodes that read each other, for one
// platform, or for several where one of them has to be whole.
type unit struct {
	key       string // name of its first node, which stays the same when others are built beside it
	component int    // units of one component are of the same nodes, or of nodes that these read
	platforms []string
	nodes     []*graph.Node // in the order of the graph
	weight    int

	// guarded by the pool's mu:
	at   *run // nil where no member is left
	held int  // nodes that are not let go of
}

// A piece is the part of a node that belongs to a unit.
type piece struct {
	unit      *unit
	platforms []string // of the node, in its order; the pool's home where it names none
}

// A slot is a node for one of its platforms.
type slot struct {
	node     int // in the order of the graph
	platform string
}

// A division unites slots that have to be together.
type division struct {
	slots []slot
	of    [][]int // the slots of each node
	units sets
	comps sets // of nodes
}

// divide makes the pool's units.
func (p *Pool) divide() {
	nodes := p.g.Nodes()
	d := division{of: make([][]int, len(nodes)), comps: newSets(len(nodes))}
	index := make(map[*graph.Node]int, len(nodes))
	for i, n := range nodes {
		index[n] = i
		platforms := p.opt.Images.Platforms(n.Target)
		if len(platforms) == 0 {
			platforms = []string{p.home}
		}
		for _, name := range platforms {
			d.of[i] = append(d.of[i], len(d.slots))
			d.slots = append(d.slots, slot{i, name})
		}
	}
	d.units = newSets(len(d.slots))
	for i, n := range nodes {
		if !p.opt.Images.Joins(n.Target) {
			d.units.join(d.of[i]...)
		}
		for _, need := range n.Needs {
			d.comps.join(i, index[need])
			d.link(i, index[need])
		}
	}
	p.collect(nodes, &d)
}

// link puts together what node i reads of node m: of two with several
// platforms the same ones; one platform may read all.
func (d *division) link(i, m int) {
	if len(d.of[i]) == 1 || len(d.of[m]) == 1 {
		d.units.join(append(slices.Clone(d.of[i]), d.of[m]...)...)
		return
	}
	for _, s := range d.of[i] {
		at := slices.IndexFunc(d.of[m], func(t int) bool { return d.slots[t].platform == d.slots[s].platform })
		if at < 0 { // read without being named: the graph has not objected
			d.units.join(append([]int{s}, d.of[m]...)...)
			continue
		}
		d.units.join(s, d.of[m][at])
	}
}

// collect makes units of the sets of slots, in the order of their first nodes.
func (p *Pool) collect(nodes []*graph.Node, d *division) {
	p.of = make(map[*graph.Node][]*piece, len(nodes))
	made := map[int]*unit{}
	for s, slot := range d.slots {
		n := nodes[slot.node]
		root := d.units.find(s)
		u := made[root]
		if u == nil {
			u = &unit{key: n.Name(), component: d.comps.find(slot.node)}
			made[root] = u
			p.units = append(p.units, u)
		}
		if !slices.Contains(u.platforms, slot.platform) {
			u.platforms = append(u.platforms, slot.platform)
		}
		u.weight += max(p.opt.Weight(n.Target), 1)
		pieces := p.of[n]
		at := slices.IndexFunc(pieces, func(q *piece) bool { return q.unit == u })
		if at < 0 {
			at = len(pieces)
			p.of[n] = append(pieces, &piece{unit: u})
			u.nodes = append(u.nodes, n)
			u.held++
		}
		p.of[n][at].platforms = append(p.of[n][at].platforms, slot.platform)
	}
}

// sets are disjoint sets of numbers from 0.
type sets []int

func newSets(n int) sets {
	s := make(sets, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// find returns the least number in the set of i.
func (s sets) find(i int) int {
	for s[i] != i {
		s[i] = s[s[i]]
		i = s[i]
	}
	return i
}

// join makes one set of those of all members.
func (s sets) join(members ...int) {
	for _, m := range members[1:] {
		a, b := s.find(members[0]), s.find(m)
		s[max(a, b)] = min(a, b)
	}
}
