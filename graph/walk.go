package graph

import (
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// maxCycleEdges bounds how many edges of cycles are told in one go: a knot of
// targets can hold far more cycles than anybody would read.
const maxCycleEdges = 10_000

// maxNear bounds how many unknown names are compared with all known ones.
const maxNear = 50

// A walk goes through all that the asked targets need, depth first, and
// leaves each target after everything it needs. It keeps its own stack, so
// that the length of a chain is no limit.
type walk struct {
	l         *links
	asked     []bool // by target: its outputs are wanted
	state     []state
	stack     []frame
	order     []int // targets as they were left
	skipped   map[[2]int]bool
	toldEdges int
	neared    int
	diags     hcl.Diagnostics
}

// A frame is a target that was entered, and the edge it goes on with.
type frame struct{ at, next int }

func newWalk(l *links) *walk {
	return &walk{
		l:       l,
		asked:   make([]bool, len(l.targets)),
		state:   make([]state, len(l.targets)),
		skipped: map[[2]int]bool{},
	}
}

// ask makes the outputs of a target wanted.
func (w *walk) ask(at int) { w.asked[at] = true }

// run walks from every asked target, in the order of declaration.
func (w *walk) run() {
	for at := range w.l.targets {
		if w.asked[at] && w.state[at] == unseen {
			w.from(at)
		}
	}
}

func (w *walk) from(at int) {
	w.enter(at)
	for len(w.stack) > 0 {
		f := &w.stack[len(w.stack)-1]
		edges := w.l.edges[f.at]
		if f.next == len(edges) {
			w.leave()
			continue
		}
		e := edges[f.next]
		f.next++
		to := int(e.to)
		if e.after {
			w.ask(to)
		}
		switch w.state[to] {
		case unseen:
			w.enter(to)
		case entered:
			w.cycle(to)
		}
	}
}

func (w *walk) enter(at int) {
	w.state[at] = entered
	w.stack = append(w.stack, frame{at: at})
	w.diags = append(w.diags, w.l.targets[at].Deferred...)
	for _, b := range w.l.broken[at] {
		w.diags = append(w.diags, b(w.near)...)
	}
}

// near offers the nearest name, but not for ever: it looks at every name.
func (w *walk) near(name string, among []string) string {
	if w.neared++; w.neared > maxNear {
		return ""
	}
	return near(name, among)
}

func (w *walk) leave() {
	at := w.stack[len(w.stack)-1].at
	w.stack = w.stack[:len(w.stack)-1]
	w.state[at] = left
	w.order = append(w.order, at)
	for _, e := range w.l.edges[at] {
		if !e.after && !w.isSkipped(at, e) {
			w.checkPlatforms(at, e)
		}
	}
}

// cycle reports the way from target first round to itself, which the stack
// holds, and leaves its last edge out of the graph.
func (w *walk) cycle(first int) {
	last := w.stack[len(w.stack)-1].at
	if w.skipped[[2]int{last, first}] {
		return // the same by another context or depends-on
	}
	w.skipped[[2]int{last, first}] = true
	if w.toldEdges >= maxCycleEdges {
		return
	}
	from := len(w.stack) - 1
	for w.stack[from].at != first {
		from--
	}
	way := make([]step, 0, len(w.stack)-from)
	for _, f := range w.stack[from:] {
		way = append(way, step{f.at, w.l.edges[f.at][f.next-1]})
	}
	w.toldEdges += len(way)
	w.diags = append(w.diags, w.l.cycle(way))
}

// isSkipped reports whether e is left out because it closes a cycle.
func (w *walk) isSkipped(at int, e edge) bool {
	return len(w.skipped) > 0 && w.skipped[[2]int{at, int(e.to)}]
}

// checkPlatforms reports a target with several platforms that reads one which
// is built for several others (bake.md §4.5). A target with one platform, or
// none, serves all.
func (w *walk) checkPlatforms(at int, e edge) {
	reader, read := w.l.targets[at], w.l.targets[e.to]
	if len(reader.Platforms) == 0 || len(read.Platforms) == 0 {
		return
	}
	want, have := normal(reader.Platforms), normal(read.Platforms)
	if len(want) < 2 || len(have) < 2 {
		return
	}
	var missing []string
	for _, p := range want {
		if !slices.Contains(have, p) {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		w.diags = append(w.diags, missingPlatforms(reader, read, missing, w.l.rng(at, e)))
	}
}

// normal returns platforms in one spelling; what is none stays as written.
func normal(list []string) []string {
	var out []string
	for _, s := range strings.Split(strings.Join(list, ","), ",") {
		s = strings.TrimSpace(s)
		if p, err := platforms.Parse(s); err == nil {
			s = platforms.FormatAll(platforms.Normalize(p))
		}
		out = append(out, s)
	}
	return out
}

// graph walks and makes the nodes.
func (w *walk) graph() *Graph {
	w.run()
	g := &Graph{
		nodes: make([]*Node, 0, len(w.order)),
		index: make(map[string]*Node, len(w.order)),
		links: w.l,
	}
	byTarget := make([]*Node, len(w.l.targets))
	made := make([]Node, len(w.order))
	for i, at := range w.order {
		n := &made[i]
		n.Requested = w.asked[at]
		w.join(n, at, byTarget)
		n.Target = w.target(n, at)
		byTarget[at] = n
		g.nodes = append(g.nodes, n)
		g.index[n.Name()] = n
	}
	for _, n := range g.nodes {
		for _, need := range n.Needs {
			need.Needers = append(need.Needers, n)
		}
	}
	return g
}

// join sets the needs of n, each once. What a target needs was left before it,
// so its node is there.
func (w *walk) join(n *Node, at int, byTarget []*Node) {
	edges := w.l.edges[at]
	seen := newEdgeSet(len(edges))
	for _, e := range edges {
		if w.isSkipped(at, e) || !seen.add(e) {
			continue
		}
		if e.after {
			n.After = append(n.After, byTarget[e.to])
		} else {
			n.Needs = append(n.Needs, byTarget[e.to])
		}
	}
}

// An edgeSet tells whether an edge of the same kind led to the same target
// before. Few edges are compared one by one, which is faster than a map.
type edgeSet struct {
	few  []edgeKey
	many map[edgeKey]bool
}

type edgeKey struct {
	to    int32
	after bool
}

func newEdgeSet(size int) *edgeSet {
	if size <= 16 {
		return &edgeSet{few: make([]edgeKey, 0, size)}
	}
	return &edgeSet{many: make(map[edgeKey]bool, size)}
}

// add reports whether e is new.
func (s *edgeSet) add(e edge) bool {
	k := edgeKey{e.to, e.after}
	if s.many != nil {
		if s.many[k] {
			return false
		}
		s.many[k] = true
		return true
	}
	if slices.Contains(s.few, k) {
		return false
	}
	s.few = append(s.few, k)
	return true
}

// target returns what node n is to build: the target as declared, or a copy
// where its place in the graph changes it.
func (w *walk) target(n *Node, at int) *config.Target {
	t := w.l.targets[at]
	entitlements := slices.Clone(t.Entitlements)
	for _, need := range n.Needs {
		for _, e := range need.Target.Entitlements {
			if !slices.Contains(entitlements, e) {
				entitlements = append(entitlements, e)
			}
		}
	}
	contexts := w.contexts(at)
	if n.Requested && contexts == nil && len(entitlements) == len(t.Entitlements) {
		return t
	}
	c := *t
	c.Entitlements = entitlements
	if contexts != nil {
		c.Contexts = contexts
	}
	if !n.Requested {
		c.Outputs = []config.Export{{Type: "cacheonly"}}
	}
	return &c
}

// contexts returns the contexts of a target with the names of the targets
// they really mean, or nil if they are right as written.
func (w *walk) contexts(at int) []config.NamedSource {
	t := w.l.targets[at]
	var out []config.NamedSource
	for _, e := range w.l.edges[at] {
		name := w.l.targets[e.to].Name
		if e.after || t.Contexts[e.index].From == (config.FromTarget{Target: name}) {
			continue
		}
		if out == nil {
			out = slices.Clone(t.Contexts)
		}
		out[e.index].From = config.FromTarget{Target: name}
	}
	return out
}
