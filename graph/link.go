package graph

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// links is the Config with its names looked up: targets are numbers, in the
// order of declaration, and edges lead from one to another.
type links struct {
	files    []string // names of the build files, sorted
	targets  []*config.Target
	groups   []*config.Group
	byName   map[string]int           // targets
	group    map[string]*config.Group // the first of its name
	variants map[string][]string      // "api" → the variants v for which there is a target "api-v" in variant v
	edges    [][]edge                 // by target: contexts in order, then depends-on in order
	broken   [][]broken               // by target: links that lead nowhere
	opened   map[string]*opener       // groups that depends-on names, opened
}

// An edge is one link from a target to another.
type edge struct {
	to    int32
	index int32 // in DependsOn, or in Contexts
	after bool  // depends-on; else a context
}

// rng returns where the edge of a target was written.
func (l *links) rng(at int, e edge) hcl.Range {
	if e.after {
		return l.targets[at].DependsOn[e.index].Range
	}
	return l.targets[at].Contexts[e.index].Range
}

// broken tells of a link that leads nowhere, once somebody asks for its
// target. The function offers the nearest name.
type broken func(near nearFunc) hcl.Diagnostics

func newLinks(cfg *config.Config) (*links, hcl.Diagnostics) {
	l := &links{
		targets:  cfg.Targets,
		groups:   cfg.Groups,
		byName:   make(map[string]int, len(cfg.Targets)),
		group:    make(map[string]*config.Group, len(cfg.Groups)),
		variants: map[string][]string{},
		edges:    make([][]edge, len(cfg.Targets)),
		broken:   make([][]broken, len(cfg.Targets)),
		opened:   map[string]*opener{},
	}
	for name := range cfg.Files {
		l.files = append(l.files, name)
	}
	slices.Sort(l.files)
	diags := l.indexNames()
	if diags.HasErrors() {
		return nil, diags
	}
	for at := range l.targets {
		l.link(at)
	}
	return l, nil
}

func (l *links) indexNames() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for at, t := range l.targets {
		if first, ok := l.byName[t.Name]; ok {
			diags = append(diags, duplicateTarget(t, l.targets[first]))
			continue
		}
		l.byName[t.Name] = at
		if t.Variant == "" {
			continue
		}
		if base, ok := strings.CutSuffix(t.Name, "-"+t.Variant); ok {
			l.variants[base] = append(l.variants[base], t.Variant)
		}
	}
	for _, g := range l.groups {
		if l.group[g.Name] == nil {
			l.group[g.Name] = g
		}
	}
	return diags
}

// link finds the edges of one target.
func (l *links) link(at int) {
	t := l.targets[at]
	n := len(t.DependsOn)
	for _, c := range t.Contexts {
		if _, ok := c.From.(config.FromTarget); ok {
			n++
		}
	}
	l.edges[at] = make([]edge, 0, n)
	for i, c := range t.Contexts {
		from, ok := c.From.(config.FromTarget)
		if !ok {
			continue
		}
		to, ok := l.find(t, from.Target)
		if !ok {
			l.breakLink(at, func(near nearFunc) hcl.Diagnostics {
				return hcl.Diagnostics{l.unknownContext(t, c, from.Target, near)}
			})
			continue
		}
		l.edges[at] = append(l.edges[at], edge{to: int32(to), index: int32(i)})
	}
	for i := range t.DependsOn {
		l.linkAfter(at, i)
	}
}

func (l *links) breakLink(at int, b broken) { l.broken[at] = append(l.broken[at], b) }

// find returns the target that a link of t means: the one of that name, else
// the one in t's own variant (product.md §1.2).
func (l *links) find(t *config.Target, name string) (int, bool) {
	if to, ok := l.byName[name]; ok {
		return to, true
	}
	if t.Variant == "" {
		return 0, false
	}
	to, ok := l.byName[name+"-"+t.Variant]
	if ok && l.targets[to].Variant != t.Variant {
		return 0, false
	}
	return to, ok
}

// linkAfter adds the edges of one name in depends-on, by its index: a target,
// in t's own variant if it has that, else a group's targets.
func (l *links) linkAfter(at, index int) {
	t := l.targets[at]
	ref := t.DependsOn[index]
	add := func(to int) {
		l.edges[at] = append(l.edges[at], edge{to: int32(to), index: int32(index), after: true})
	}
	if to, ok := l.find(t, ref.Name); ok {
		add(to)
		return
	}
	g := l.group[ref.Name]
	if g == nil {
		l.breakLink(at, func(near nearFunc) hcl.Diagnostics {
			return hcl.Diagnostics{l.unknownDependsOn(t, ref, near)}
		})
		return
	}
	o := l.opened[g.Name]
	if o == nil {
		o = newOpener(l)
		o.open(g)
		l.opened[g.Name] = o
	}
	if len(o.diags) > 0 {
		l.breakLink(at, func(nearFunc) hcl.Diagnostics { return o.diags })
	}
	for _, to := range o.targets {
		add(to)
	}
}
