package picture

import (
	"bufio"
	"io"
	"strings"
)

// drawTree writes what the roots hold and need, each node and group once with
// what is under it; where it comes again, it is marked.
func drawTree(w io.Writer, p Picture, color bool) error {
	b := bufio.NewWriter(w)
	t := &tree{Picture: p, out: b, color: color, shown: map[string]bool{}}
	t.nodes, t.groups = p.index()
	for _, root := range p.Roots {
		t.member(root, prefix{}, false)
	}
	return b.Flush()
}

// tree is the state of drawing one.
type tree struct {
	Picture
	out           *bufio.Writer
	color         bool
	nodes, groups map[string]int
	shown         map[string]bool // "group NAME" and "NAME"
}

// prefix is what leads a line, and what leads those under it.
type prefix struct{ first, rest string }

// under returns the prefix of a child.
func (x prefix) under(last bool) prefix {
	if last {
		return prefix{x.rest + "└── ", x.rest + "    "}
	}
	return prefix{x.rest + "├── ", x.rest + "│   "}
}

// member draws a root or a member of a group: a group first, unless it is
// within the group of its own name.
func (t *tree) member(name string, at prefix, within bool) {
	if g, ok := t.groups[name]; ok && !within {
		t.group(t.Groups[g], at)
		return
	}
	if n, ok := t.nodes[name]; ok {
		t.node(n, at, "")
	}
}

func (t *tree) group(g Group, at prefix) {
	key := "group " + g.Name
	if t.shown[key] {
		t.line(at, g.Name, "group, above", true)
		return
	}
	t.shown[key] = true
	t.line(at, g.Name, "group", true)
	var members []string
	for _, m := range g.Members {
		_, isGroup := t.groups[m]
		_, isNode := t.nodes[m]
		if isNode || isGroup && m != g.Name {
			members = append(members, m)
		}
	}
	for i, m := range members {
		t.member(m, at.under(i == len(members)-1), m == g.Name)
	}
}

// node draws a node that is known above as label says.
func (t *tree) node(i int, at prefix, label string) {
	n := t.Nodes[i]
	if n.Image {
		label = join(label, "image")
	}
	if t.shown[n.Name] {
		t.line(at, n.Name, join(label, "above"), n.Requested)
		return
	}
	t.shown[n.Name] = true
	t.line(at, n.Name, label, n.Requested)
	var order []int // what it needs, each once
	labels := map[int]string{}
	for _, e := range n.Edges {
		if _, seen := labels[e.To]; !seen {
			order = append(order, e.To)
		}
		if l := e.label(t.Nodes[e.To].Name); !strings.Contains(", "+labels[e.To]+",", ", "+l+",") {
			labels[e.To] = join(labels[e.To], l)
		}
	}
	for j, to := range order {
		t.node(to, at.under(j == len(order)-1), labels[to])
	}
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", " + b
}

func (t *tree) line(at prefix, name, label string, bold bool) {
	const dim, strong, end = "\x1b[2m", "\x1b[1m", "\x1b[0m"
	lead, name, label := at.first, plain(name), plain(label)
	if t.color {
		lead = dim + lead + end
		if bold {
			name = strong + name + end
		}
	}
	t.out.WriteString(lead + name)
	if label != "" {
		label = "  (" + label + ")"
		if t.color {
			label = dim + label + end
		}
		t.out.WriteString(label)
	}
	t.out.WriteByte('\n')
}
