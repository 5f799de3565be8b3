// Package graph says what needs what: it links the targets of a Config into a
// Graph, and narrows it to what was asked for.
//
//	link.go    names      → edges   contexts and depends-on, groups opened, variants followed
//	walk.go    edges      → nodes   one depth-first walk: order, cycles, what is exported
//	groups.go  groups     → targets members of members, and the groups to print
//	select.go  names      → Graph   what was asked for, with all that it needs
//	diags.go   the words of the diagnostics
//
// A Graph is read-only and knows nothing of how targets are built. Every list
// it returns is in one fixed order: a node after all it needs, and otherwise
// in the order of declaration.
package graph

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// A Node is one target with its place in the graph. Read-only.
type Node struct {
	// Target is what to build. In a selected graph, the target of a node
	// that nobody asked for is a copy whose only output is cacheonly. The
	// target of a node that reads others is a copy too where it takes over
	// their entitlements.
	Target *config.Target
	// Requested says that the node's outputs are wanted: it was asked for by
	// name, group or pattern, or a node of the graph depends on it by
	// depends-on. True for every node of New's graph.
	Requested bool
	Needs     []*Node // whose results this one reads (contexts), in the order of the contexts
	After     []*Node // built and exported before this one begins (depends-on), but not read
	Needers   []*Node // who read this one's result, in the order of the graph
}

// Name returns the target's name, by which the node is known.
func (n *Node) Name() string { return n.Target.Name }

// A Graph is a set of nodes without cycles.
type Graph struct {
	nodes  []*Node
	index  map[string]*Node
	groups []*config.Group
	links  *links // of the whole Config, shared by all graphs made of it
}

// New links the targets of cfg. A link that leads nowhere or closes a cycle
// is left out of the graph, because it matters only to those who ask for its
// target: Select and Check report it. The diagnostics tell of a Config that
// cannot be linked at all; the Graph is nil if they hold an error.
func New(cfg *config.Config) (*Graph, hcl.Diagnostics) {
	l, diags := newLinks(cfg)
	if diags.HasErrors() {
		return nil, diags
	}
	w := newWalk(l)
	for at := range l.targets {
		w.ask(at)
	}
	g := w.graph()
	g.groups = cfg.Groups
	return g, nil
}

// Nodes returns all nodes, each after what it needs.
func (g *Graph) Nodes() []*Node { return g.nodes }

// Node returns the node of that name, or nil.
func (g *Graph) Node(name string) *Node { return g.index[name] }

// Groups returns the groups that describe the graph. After Select these are a
// group "default" of the names that were asked for, sorted, and then the
// groups that were opened to find the targets, in the order of declaration
// (bake.md §4.4). For New's graph they are all groups as declared.
func (g *Graph) Groups() []*config.Group { return g.groups }

// Check returns everything that Select could find wrong with any target or
// group of the Config, asked for or not.
func (g *Graph) Check() hcl.Diagnostics {
	w := newWalk(g.links)
	for at := range g.links.targets {
		w.ask(at)
	}
	w.run()
	o := newOpener(g.links)
	for _, group := range g.links.groups {
		o.open(group)
	}
	return unique(append(w.diags, o.diags...))
}
