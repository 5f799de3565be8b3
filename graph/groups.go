package graph

import (
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// An opener collects the targets of groups, each target and each group once.
type opener struct {
	l       *links
	seen    map[int]bool
	state   map[*config.Group]state
	targets []int           // in the order of the members
	groups  []*config.Group // that were opened
	diags   hcl.Diagnostics
}

// A state is how far a walk has come with a node or group.
type state byte

const (
	unseen state = iota
	entered
	left
)

func newOpener(l *links) *opener {
	return &opener{l: l, seen: map[int]bool{}, state: map[*config.Group]state{}}
}

// add takes a target.
func (o *opener) add(at int) {
	if !o.seen[at] {
		o.seen[at] = true
		o.targets = append(o.targets, at)
	}
}

// open takes the targets of g and of the groups in it.
func (o *opener) open(g *config.Group) {
	if o.state[g] == unseen {
		o.enter(g, nil)
	}
}

// A membership is one step of a way through nested groups.
type membership struct {
	group  *config.Group
	member int
}

func (m membership) rng() hcl.Range {
	if m.member < len(m.group.MemberRange) {
		return m.group.MemberRange[m.member]
	}
	return m.group.DeclRange
}

// enter opens g, which way led to. Groups nest as deep as people write them,
// so this may recurse.
func (o *opener) enter(g *config.Group, way []membership) {
	o.state[g] = entered
	o.groups = append(o.groups, g)
	for i, name := range g.Members {
		o.member(append(way, membership{g, i}), name)
	}
	o.state[g] = left
}

// member takes one member of the group at the end of way. A name is a group
// first; the name of a group that is being opened is the target of that name
// (a group may hold a target of its own name, bake.md §4.3).
func (o *opener) member(way []membership, name string) {
	inner := o.l.group[name]
	at, isTarget := o.l.byName[name]
	switch {
	case inner != nil && o.state[inner] == unseen:
		o.enter(inner, way)
	case inner != nil && o.state[inner] == left:
	case isTarget:
		o.add(at)
	case inner != nil:
		from := slices.IndexFunc(way, func(m membership) bool { return m.group == inner })
		o.diags = append(o.diags, groupCycle(way[from:]))
	default:
		last := way[len(way)-1]
		o.diags = append(o.diags, o.l.unknownMember(last.group, name, last.rng()))
	}
}

// printed returns the groups that describe a selection of names (bake.md
// §4.4): "default" with the names, sorted, and with the members of the real
// default group if that was opened; then the other opened groups.
func (o *opener) printed(names []string) []*config.Group {
	def := &config.Group{Name: "default", Generated: true}
	opened := map[*config.Group]bool{}
	for _, g := range o.groups {
		opened[g] = true
	}
	for _, name := range names {
		// Once there is a group "default", its own name adds nothing to it.
		if name == "default" && (opened[o.l.group[name]] || len(def.Members) > 0) {
			continue
		}
		def.Members = append(def.Members, name)
	}
	out := []*config.Group{def}
	for _, g := range o.l.groups {
		switch {
		case !opened[g]:
		case g.Name == "default":
			def.Description, def.Generated, def.DeclRange = g.Description, g.Generated, g.DeclRange
			if def.Members == nil && g.Members != nil {
				def.Members = []string{} // which is printed as [], not null
			}
			def.Members = append(def.Members, g.Members...)
		default:
			out = append(out, g)
		}
	}
	slices.Sort(def.Members)
	def.Members = slices.Compact(def.Members)
	return out
}
