package picture

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// drawDOT writes the language of Graphviz, as its documentation has it ("The
// DOT Language"): an edge leads from a node to what it needs, as `dot -Tsvg`
// draws it. Groups are tabs with dotted lines to their members.
func drawDOT(w io.Writer, p Picture) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "digraph %s {\n", quoteDOT(orElse(p.Title, "kiln")))
	fmt.Fprintln(b, "  rankdir=LR;")
	fmt.Fprintln(b, `  node [shape=box, style=rounded, fontname="monospace"];`)
	fmt.Fprintln(b, `  edge [fontname="monospace", fontsize=10];`)
	for _, n := range p.Nodes {
		var attrs []string
		if n.Description != "" {
			attrs = append(attrs, "tooltip="+quoteDOT(n.Description))
		}
		switch {
		case n.Image:
			attrs = append(attrs, "shape=cylinder")
		case n.Requested:
			attrs = append(attrs, `style="rounded,bold"`)
		}
		fmt.Fprintf(b, "  %s%s;\n", quoteDOT(n.Name), attrsDOT(attrs))
	}
	for _, n := range p.Nodes {
		for _, e := range n.Edges {
			to := p.Nodes[e.To].Name
			var attrs []string
			if e.Kind != Context || e.Name != to {
				attrs = append(attrs, "label="+quoteDOT(orElse(e.Name, string(e.Kind))))
			}
			switch e.Kind {
			case DependsOn:
				attrs = append(attrs, "style=dashed")
			case Base:
				attrs = append(attrs, "style=dotted")
			}
			fmt.Fprintf(b, "  %s -> %s%s;\n", quoteDOT(n.Name), quoteDOT(to), attrsDOT(attrs))
		}
	}
	groups := p.drawnGroups()
	for _, g := range groups {
		fmt.Fprintf(b, "  %s [label=%s, shape=tab];\n", quoteDOT("group:"+g.Name), quoteDOT(g.Name))
		for _, m := range g.Members {
			fmt.Fprintf(b, "  %s -> %s [style=dotted, arrowhead=none];\n", quoteDOT("group:"+g.Name), quoteDOT(m))
		}
	}
	fmt.Fprintln(b, "}")
	return b.Flush()
}

// drawnGroups returns the groups with the members that are in the picture;
// of a group among them the name is "group:" and its own.
func (p Picture) drawnGroups() []Group {
	nodes, groups := p.index()
	out := make([]Group, len(p.Groups))
	for i, g := range p.Groups {
		out[i] = Group{Name: g.Name}
		for _, m := range g.Members {
			_, isGroup := groups[m]
			_, isNode := nodes[m]
			switch {
			case isGroup && m != g.Name:
				out[i].Members = append(out[i].Members, "group:"+m)
			case isNode:
				out[i].Members = append(out[i].Members, m)
			}
		}
	}
	return out
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func attrsDOT(attrs []string) string {
	if len(attrs) == 0 {
		return ""
	}
	return " [" + strings.Join(attrs, ", ") + "]"
}

// quoteDOT writes a string of DOT. Of names only the quote needs an escape,
// but labels read \n, \N and their like, so a backslash is doubled; control
// characters have no place in a label.
func quoteDOT(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(plain(s)) + `"`
}

// plain puts a blank for line ends and other control characters.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// drawMermaid writes a flowchart of Mermaid, as GitHub and GitLab show it in
// Markdown. Nodes have numbers for names, for words such as "end" mean
// something to Mermaid.
func drawMermaid(w io.Writer, p Picture) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "flowchart LR")
	nodes, groups := p.index()
	for i, n := range p.Nodes {
		open, end := "[", "]"
		switch {
		case n.Image:
			open, end = "[(", ")]"
		case n.Requested:
			open, end = "([", "])"
		}
		fmt.Fprintf(b, "  n%d%s%s%s\n", i, open, quoteMermaid(n.Name), end)
	}
	for i, n := range p.Nodes {
		for _, e := range n.Edges {
			label := ""
			if to := p.Nodes[e.To].Name; e.Kind != Context || e.Name != to {
				label = "|" + quoteMermaid(orElse(e.Name, string(e.Kind))) + "|"
			}
			arrow := "-->"
			if e.Kind != Context {
				arrow = "-.->"
			}
			fmt.Fprintf(b, "  n%d %s%s n%d\n", i, arrow, label, e.To)
		}
	}
	drawn := p.drawnGroups()
	for i, g := range drawn {
		fmt.Fprintf(b, "  g%d{{%s}}\n", i, quoteMermaid(g.Name))
	}
	for i, g := range drawn {
		for _, m := range g.Members {
			if name, isGroup := strings.CutPrefix(m, "group:"); isGroup {
				fmt.Fprintf(b, "  g%d -.- g%d\n", i, groups[name])
			} else {
				fmt.Fprintf(b, "  g%d -.- n%d\n", i, nodes[m])
			}
		}
	}
	return b.Flush()
}

// quoteMermaid writes a string of Mermaid, which knows entities by number and
// reads backquotes and brackets within.
func quoteMermaid(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range plain(s) {
		if strings.ContainsRune("\"#&<>`\\[]{}()|;", r) {
			fmt.Fprintf(&b, "#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// The JSON form, described in docs/json.md.
type (
	jsonPicture struct {
		Version int        `json:"version"`
		Nodes   []jsonNode `json:"nodes"`
		Edges   []jsonEdge `json:"edges"`
		Groups  []Group    `json:"groups"`
	}
	jsonNode struct {
		Name        string `json:"name"`
		Kind        string `json:"kind"`
		Description string `json:"description,omitempty"`
		Variant     string `json:"variant,omitempty"`
		Requested   bool   `json:"requested,omitempty"`
		File        string `json:"file,omitempty"`
		Line        int    `json:"line,omitempty"`
	}
	jsonEdge struct {
		From string `json:"from"`
		To   string `json:"to"`
		Kind Kind   `json:"kind"`
		Name string `json:"name,omitempty"`
		File string `json:"file,omitempty"`
		Line int    `json:"line,omitempty"`
	}
)

func drawJSON(w io.Writer, p Picture) error {
	out := jsonPicture{Version: Version, Nodes: []jsonNode{}, Edges: []jsonEdge{}, Groups: []Group{}}
	for _, n := range p.Nodes {
		kind := "target"
		if n.Image {
			kind = "image"
		}
		out.Nodes = append(out.Nodes, jsonNode{n.Name, kind, n.Description, n.Variant, n.Requested, n.File, n.Line})
		for _, e := range n.Edges {
			out.Edges = append(out.Edges, jsonEdge{n.Name, p.Nodes[e.To].Name, e.Kind, e.Name, e.File, e.Line})
		}
	}
	for _, g := range p.Groups {
		if g.Members == nil {
			g.Members = []string{}
		}
		out.Groups = append(out.Groups, g)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
