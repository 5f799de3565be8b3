package graph

import (
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// Select returns the graph of what the names ask for, with all that it needs.
// A name is that of a group or a target, or a pattern (`*`, `?`, `[…]`) over
// both; no name is "default". It looks among all targets of the Config, even
// if g is narrower. The Graph is nil if and only if the diagnostics hold an
// error: an unknown name, a link that leads nowhere, a cycle, a parent that
// does not exist, for the targets of the selection only.
func (g *Graph) Select(names ...string) (*Graph, hcl.Diagnostics) {
	return g.SelectVariant("", names...)
}

// SelectVariant does as Select, but of the targets asked for that have
// variants it takes only those in the given one; "" takes all. It is an error
// if none is in that variant.
func (g *Graph) SelectVariant(variant string, names ...string) (*Graph, hcl.Diagnostics) {
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
	diags = append(diags, o.diags...)
	asked, more := l.inVariant(o.targets, variant)
	if !diags.HasErrors() {
		diags = append(diags, more...)
	}
	w := newWalk(l)
	for _, at := range asked {
		w.ask(at)
	}
	out := w.graph()
	diags = unique(append(diags, w.diags...))
	if diags.HasErrors() {
		return nil, diags
	}
	out.groups = l.withoutDropped(o.printed(names), o.targets, asked)
	return out, diags
}

// expand returns the names of groups and targets that requested names mean,
// each once.
func (l *links) expand(requested []string) ([]string, hcl.Diagnostics) {
	if len(requested) == 0 {
		requested = []string{"default"}
	}
	var out []string
	var diags hcl.Diagnostics
	seen := map[string]bool{}
	for _, r := range requested {
		// Compose service names may hold a dot, target names may not.
		names, d := l.match(strings.ReplaceAll(r, ".", "_"))
		if d != nil {
			diags = append(diags, d)
		}
		for _, n := range names {
			if !seen[n] {
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	return out, diags
}

// match returns what one requested name or pattern stands for.
func (l *links) match(name string) ([]string, *hcl.Diagnostic) {
	if !strings.ContainsAny(name, "*?[]") {
		if _, ok := l.byName[name]; ok || l.group[name] != nil {
			return []string{name}, nil
		}
		return nil, l.unknownRequest(name)
	}
	if _, err := path.Match(name, ""); err != nil {
		return nil, badPattern(name)
	}
	var out []string
	add := func(n string) {
		if ok, _ := path.Match(name, n); ok {
			out = append(out, n)
		}
	}
	for _, g := range l.groups {
		add(g.Name)
	}
	for _, t := range l.targets {
		add(t.Name)
	}
	if len(out) == 0 {
		return nil, l.noMatch(name)
	}
	return out, nil
}

// inVariant drops the targets in another variant.
func (l *links) inVariant(targets []int, variant string) ([]int, hcl.Diagnostics) {
	if variant == "" {
		return targets, nil
	}
	var out []int
	var others []string
	found := false
	for _, at := range targets {
		switch v := l.targets[at].Variant; v {
		case "":
			out = append(out, at)
		case variant:
			found = true
			out = append(out, at)
		default:
			others = append(others, v)
		}
	}
	if !found {
		return nil, hcl.Diagnostics{unknownVariant(variant, others)}
	}
	return out, nil
}

// withoutDropped returns the groups without the members that the choice of a
// variant dropped, so that what is printed loads again.
func (l *links) withoutDropped(groups []*config.Group, opened, asked []int) []*config.Group {
	if len(opened) == len(asked) {
		return groups
	}
	dropped := map[string]bool{}
	for _, at := range opened {
		dropped[l.targets[at].Name] = true
	}
	for _, at := range asked {
		delete(dropped, l.targets[at].Name)
	}
	out := make([]*config.Group, len(groups))
	for i, g := range groups {
		c := *g
		c.Members, c.MemberRange = nil, nil
		for j, m := range g.Members {
			if dropped[m] && (l.group[m] == nil || m == g.Name) {
				continue
			}
			c.Members = append(c.Members, m)
			if j < len(g.MemberRange) {
				c.MemberRange = append(c.MemberRange, g.MemberRange[j])
			}
		}
		out[i] = &c
	}
	return slices.Clip(out)
}
