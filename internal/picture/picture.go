// Package picture draws graphs of targets: as a tree of text, for Graphviz and
// Mermaid, as JSON, as SVG, and as an HTML page to walk about in.
//
//	tree.go     lines for a terminal
//	formats.go  DOT, Mermaid, JSON
//	layout.go   where nodes and edges lie: layers, order, coordinates
//	svg.go      the drawing
//	page.go     the drawing with a panel, a search and what moves it
//
// It knows nothing of how targets are declared or built: a Picture is plain
// values. Same picture, same bytes, in every format.
package picture

import (
	"encoding/json"
	"fmt"
	"io"
)

// Version is that of the JSON form. It changes when a reader would have to.
const Version = 1

// A Kind says why a node needs another.
type Kind string

// The kinds of edges, as JSON has them.
const (
	Context   Kind = "context"    // its files are read as a named context
	DependsOn Kind = "depends-on" // it is built first, and not read
	Base      Kind = "base"       // it is an image that the Dockerfile begins or copies from
)

// A Picture is a graph to be drawn. Nodes come after what they need.
type Picture struct {
	Title  string   // of pages and drawings; "" is none
	Roots  []string // nodes or groups where a tree begins, in order
	Groups []Group
	Nodes  []Node
}

// A Group is a name for several nodes and groups.
type Group struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Members     []string `json:"members"` // nodes or groups; what is not in the picture is passed over
}

// A Node is a target, or an image that is no target's.
type Node struct {
	Name        string
	Image       bool // an image that comes from elsewhere; the fields below up to Edges are empty
	Description string
	Variant     string // "" if it has none
	Requested   bool   // asked for, or built first for one that is
	File        string // where it is declared
	Line        int
	Edges       []Edge          // in the order written
	Attrs       json.RawMessage // resolved attributes, an object, for the page; nil is none
}

// An Edge leads from a node to one that it needs.
type Edge struct {
	To   int // index of the node
	Kind Kind
	Name string // of the context; "" for the other kinds
	File string // where it is written
	Line int    // 0 if it is not written in a build file
}

// label says by which name a node knows another, if that tells more than the
// other's own name.
func (e Edge) label(to string) string {
	if e.Kind != Context {
		return string(e.Kind)
	}
	if e.Name == to {
		return "context"
	}
	return "context " + e.Name
}

// A Format is a way to draw a picture.
type Format string

// The formats.
const (
	Tree    Format = "tree"
	DOT     Format = "dot"
	Mermaid Format = "mermaid"
	JSON    Format = "json"
	SVG     Format = "svg"
	HTML    Format = "html"
)

// Formats lists the formats, the usual first.
func Formats() []Format { return []Format{Tree, DOT, Mermaid, JSON, SVG, HTML} }

// Options say how to draw.
type Options struct {
	Format Format // "" is Tree
	Color  bool   // the tree with colours of a terminal
}

// Draw writes a picture. The error is the writer's, or that of an unknown
// format.
func Draw(w io.Writer, p Picture, o Options) error {
	if err := p.check(); err != nil {
		return err
	}
	switch o.Format {
	case Tree, "":
		return drawTree(w, p, o.Color)
	case DOT:
		return drawDOT(w, p)
	case Mermaid:
		return drawMermaid(w, p)
	case JSON:
		return drawJSON(w, p)
	case SVG:
		return drawSVG(w, p)
	case HTML:
		return drawPage(w, p)
	}
	return fmt.Errorf("there is no format %q", o.Format)
}

// check finds mistakes of the caller.
func (p Picture) check() error {
	for i, n := range p.Nodes {
		for _, e := range n.Edges {
			if e.To < 0 || e.To >= i {
				return fmt.Errorf("an edge of node %s leads to one that does not stand before it", n.Name)
			}
		}
	}
	return nil
}

// index returns the places of nodes and groups by name.
func (p Picture) index() (nodes, groups map[string]int) {
	nodes, groups = make(map[string]int, len(p.Nodes)), make(map[string]int, len(p.Groups))
	for i, n := range p.Nodes {
		nodes[n.Name] = i
	}
	for i, g := range p.Groups {
		groups[g.Name] = i
	}
	return nodes, groups
}
