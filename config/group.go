package config

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Groups: names for several targets.

// A groupDecl is a group as declared. It is evaluated on demand.
type groupDecl struct {
	name        string
	block       *block
	composed    *Group // from Compose files, in place of a block
	state       state
	description string
	members     []string // nil if targets is null
	ranges      []hcl.Range
}

// declareGroups gathers the groups. A later block replaces an earlier one.
func (ev *evaluator) declareGroups() {
	if c := ev.mod.composed; c != nil && c.Group != nil {
		ev.groups[c.Group.Name] = &groupDecl{name: c.Group.Name, composed: c.Group}
	}
	for _, b := range ev.mod.groups {
		if !nameForm.MatchString(b.label) {
			ev.rep.errorf(b.labelRange, "Invalid name", "Group name %q may hold only %s.", clip(b.label), nameChars)
		}
		for _, name := range []string{"matrix", "name"} {
			if a := b.named(name); a != nil {
				ev.rep.errorf(a.rng, "Misplaced attribute", "Group %q has the attribute %q, which only targets have. The instances of a target with a matrix are a group already, of the target's name.", b.label, name)
			}
		}
		if b.named("targets") == nil {
			ev.rep.errorf(b.rng, "Missing targets", "Group %q does not say what belongs to it. Add targets = [\"NAME\", …], which may be empty.", b.label)
		}
		if old := ev.groups[b.label]; old != nil && old.block != nil {
			ev.group(old) // so that its errors are found
		}
		ev.groups[b.label] = &groupDecl{name: b.label, block: b}
	}
}

func (ev *evaluator) groupNames() []string { return slices.Sorted(maps.Keys(ev.groups)) }

// group evaluates a group, once.
func (ev *evaluator) group(g *groupDecl) bool {
	switch g.state {
	case done:
		return true
	case failed:
		return false
	case busy:
		ev.cycle(g)
		return false
	}
	if g.block == nil {
		g.state, g.description, g.members, g.ranges = done, g.composed.Description, g.composed.Members, g.composed.MemberRange
		return true
	}
	who := whom{kind: "group", name: g.name}
	if !ev.enter(g, who, g.block.rng) {
		g.state = failed
		return false
	}
	g.state = busy
	ok := ev.groupMembers(g) && ev.groupDescription(g)
	ev.leave()
	g.state = done
	if !ok {
		g.state = failed
	}
	return ok
}

func (ev *evaluator) groupMembers(g *groupDecl) bool {
	a := g.block.named("targets")
	if a == nil {
		return false
	}
	v, ok := ev.eval(a.expr, nil, whom{"group", g.name, "targets"})
	if !ok || v.IsNull() {
		return ok
	}
	f := &fitting{rep: ev.rep, whose: whom{kind: "group", name: g.name}, attr: "targets", x: a.expr, rng: a.expr.Range()}
	names, _ := fitList(f, v).([]string)
	if f.failed {
		return false
	}
	g.members = []string{}
	seen := make(map[string]bool, len(names))
	for i, n := range names {
		if !seen[n] {
			seen[n] = true
			g.members = append(g.members, n)
			g.ranges = append(g.ranges, f.place(i))
		}
	}
	return true
}

func (ev *evaluator) groupDescription(g *groupDecl) bool {
	a := g.block.named("description")
	if a == nil {
		return true
	}
	v, ok := ev.eval(a.expr, nil, whom{"group", g.name, "description"})
	if !ok {
		return false
	}
	s, err := convert.Convert(v, cty.String)
	if err != nil || s.IsNull() || !s.IsKnown() || tooGreat(v) {
		ev.rep.errorf(a.expr.Range(), "Unsuitable value", "Attribute \"description\" of group %q: a string is needed, but this is %s.", g.name, describe(v))
		return false
	}
	g.description = s.AsString()
	return true
}

// allGroups returns the groups, declared and generated, in the order of
// declaration; one that holds the instances of a target stands where the
// target is declared. Beside them it returns those generated ones whose names
// declared ones have.
func (ev *evaluator) allGroups(e *expander) (out, shadowed []*Group) {
	if c := ev.mod.composed; c != nil && c.Group != nil && ev.groups[c.Group.Name].composed != nil {
		out = append(out, c.Group)
	}
	listed := map[string]bool{}
	for _, b := range ev.mod.groups {
		g := ev.groups[b.label]
		if listed[b.label] {
			continue
		}
		listed[b.label] = true
		if g.state == done {
			out = append(out, &Group{Name: g.name, Description: g.description, Members: g.members, MemberRange: g.ranges, DeclRange: g.block.rng})
		}
	}
	for _, l := range e.labels {
		for _, g := range ev.generated(l) {
			if ev.groups[g.Name] != nil {
				shadowed = append(shadowed, g)
			} else {
				out = append(out, g)
			}
		}
	}
	return out, shadowed
}

// generated returns the groups that hold the instances of a target.
func (ev *evaluator) generated(l *label) []*Group {
	var out []*Group
	add := func(name string, members []string) {
		rng := l.blocks[0].rng
		g := &Group{Name: name, Members: members, Generated: true, DeclRange: rng}
		for range members {
			g.MemberRange = append(g.MemberRange, rng)
		}
		out = append(out, g)
	}
	if names := l.names.list; len(names) > 1 || len(names) == 1 && names[0] != l.name {
		if real := ev.groups[l.name]; real != nil && l.flavor != nil {
			ev.taken(l, l.name, "group", real.place())
		} else {
			add(l.name, names)
		}
	}
	if l.flavor == nil {
		return out
	}
	for _, combo := range l.groups.list {
		switch real, t := ev.groups[combo], ev.targets[combo]; {
		case real != nil:
			ev.taken(l, combo, "group", real.place())
		case t != nil:
			ev.taken(l, combo, "target", t.rng)
		default:
			add(combo, ev.families[combo])
		}
	}
	return out
}

// taken reports that variants make a name that is there already.
func (ev *evaluator) taken(l *label, name, what string, rng hcl.Range) {
	ev.rep.errorf(l.blocks[0].labelRange, "Name already taken",
		"Target %q has variants, which makes %q the name of a group or target; but there is a %s of this name at %s. Rename one of them.", l.name, name, what, at(rng))
}

func (g *groupDecl) place() hcl.Range {
	if g.block != nil {
		return g.block.rng
	}
	return g.composed.DeclRange
}
