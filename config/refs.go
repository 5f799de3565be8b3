package config

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// References below target, group and git. An expression sees objects that
// hold only what it refers to.

// deepRefs evaluates what is below target, group and git, and makes objects
// of it that hold only that.
func (ev *evaluator) deepRefs(refs []hcl.Traversal, s *scope) (map[string]cty.Value, []missingRef, bool) {
	b := &deepScope{ev: ev, s: s, objects: map[string]map[string]map[string]cty.Value{}, ok: true}
	for _, ref := range refs {
		root := ref.RootName()
		switch {
		case s.has(root):
		case root == "git" && ev.known("git"):
			b.ok = ev.variable("git") && b.ok
		case root == "git":
			b.fact(ref)
		case !ev.expanded:
			b.missing = append(b.missing, missingRef{ref: ref, head: "Targets not known yet",
				why: "What decides which targets there are (a matrix, its name, variants, or a variable that they use) cannot refer to targets or groups."})
		case root == "target":
			b.target(ref)
		default:
			b.group(ref)
		}
	}
	vars := map[string]cty.Value{}
	for root, members := range b.objects {
		vals := make(map[string]cty.Value, len(members))
		for name, attrs := range members {
			vals[name] = cty.ObjectVal(attrs)
		}
		vars[root] = cty.ObjectVal(vals)
	}
	if b.git != nil {
		vars["git"] = cty.ObjectVal(b.git)
	}
	return vars, b.missing, b.ok
}

// A deepScope gathers the objects that an expression refers to.
type deepScope struct {
	ev      *evaluator
	s       *scope
	objects map[string]map[string]map[string]cty.Value // target or group, name, attribute
	git     map[string]cty.Value
	missing []missingRef
	ok      bool
}

func (b *deepScope) put(root, name, attr string, v cty.Value) {
	if b.objects[root] == nil {
		b.objects[root] = map[string]map[string]cty.Value{}
	}
	if b.objects[root][name] == nil {
		b.objects[root][name] = map[string]cty.Value{}
	}
	if attr != "" {
		b.objects[root][name][attr] = v
	}
}

func (b *deepScope) miss(ref hcl.Traversal, head, format string, args ...any) {
	b.missing = append(b.missing, missingRef{ref: ref, head: head, why: fmt.Sprintf(format, args...)})
}

// step returns the name that the i-th step of a traversal gives.
func step(ref hcl.Traversal, i int) (string, bool) {
	if i >= len(ref) {
		return "", false
	}
	switch t := ref[i].(type) {
	case hcl.TraverseAttr:
		return t.Name, true
	case hcl.TraverseIndex:
		if t.Key.Type() == cty.String && !t.Key.IsNull() {
			return t.Key.AsString(), true
		}
	}
	return "", false
}

// target adds what target.NAME.ATTR refers to.
func (b *deepScope) target(ref hcl.Traversal) {
	name, ok := step(ref, 1)
	if !ok {
		b.miss(ref, "Target not named", "All targets together are no value. Name one of them, as target.app.tags or target[\"app\"].tags.")
		return
	}
	variant := ""
	if b.s != nil {
		variant = b.s.variant
	}
	t, why := b.ev.resolve(name, variant)
	if t == nil {
		if why == "" {
			why = "No target has this name." + b.ev.rep.near(name, b.ev.targetNames)
			if b.ev.groups[name] != nil {
				why = "It is the name of a group: write group." + name + "."
			}
		}
		b.miss(ref, "Unknown target", "This refers to target %q. %s", name, why)
		return
	}
	b.put("target", name, "", cty.NilVal)
	if len(ref) < 3 {
		for i := range attributes {
			if i != attrMatrix && i != attrVariants && i != attrDependsOn && i < attrWeight { // what bake's has
				b.attr(name, t, i)
			}
		}
		return
	}
	attr, ok := step(ref, 2)
	i, known := attributeIndex[attr]
	if !ok || !known || i == attrMatrix || i == attrVariants {
		b.miss(ref, "Unknown attribute", "Targets have no attribute %q.%s", attr, near(attr, attributeNames))
		return
	}
	b.attr(name, t, i)
}

func (b *deepScope) attr(name string, t *instance, i int) {
	v, ok := b.ev.reference(t, i)
	if !ok {
		b.ok = false
		return
	}
	b.put("target", name, attributes[i].name, v)
}

// group adds what group.NAME.targets refers to.
func (b *deepScope) group(ref hcl.Traversal) {
	name, ok := step(ref, 1)
	if !ok {
		b.miss(ref, "Group not named", "All groups together are no value. Name one of them, as group.default.targets.")
		return
	}
	g := b.ev.groups[name]
	if g == nil {
		b.miss(ref, "Unknown group", "This refers to group %q, which is not declared.%s", name, b.ev.rep.near(name, b.ev.groupNames))
		return
	}
	if !b.ev.group(g) {
		b.ok = false
		return
	}
	b.put("group", name, "name", cty.StringVal(name))
	b.put("group", name, "description", cty.StringVal(g.description))
	members := cty.NullVal(cty.List(cty.String))
	if g.members != nil {
		members = stringList(g.members)
	}
	b.put("group", name, "targets", members)
}

// reference returns an attribute of a target as expressions see it.
func (ev *evaluator) reference(t *instance, i int) (cty.Value, bool) {
	if i == attrName {
		return cty.StringVal(t.name), true
	}
	if i == attrInherits {
		names, ok := ev.ownNames(t, attrInherits)
		return listKind.value(boxed(names)), ok
	}
	v, ok := ev.merged(t, i)
	if !ok {
		return cty.NilVal, false
	}
	return attributes[i].kind.value(v), true
}

func boxed(names []string) any {
	if names == nil {
		return nil
	}
	return names
}

// A fact is what Inputs.Facts answered.
type fact struct {
	value string
	err   error
}

var factNames = []string{"commit", "short", "branch", "tag", "describe", "dirty", "time"}

// fact adds what git.NAME refers to.
func (b *deepScope) fact(ref hcl.Traversal) {
	if b.git == nil {
		b.git = map[string]cty.Value{}
	}
	names := factNames
	if name, ok := step(ref, 1); ok {
		if !slices.Contains(factNames, name) {
			b.miss(ref, "Unknown fact", "There is no git.%s; there are %s.%s", name, list(factNames), near(name, factNames))
			return
		}
		names = []string{name}
	}
	for _, name := range names {
		f := b.ev.ask(name)
		if f.err != nil {
			b.miss(ref, "No such fact", "git.%s cannot be told: %v. Use try(git.%s, \"…\") to do without it.", name, f.err, name)
			continue
		}
		if name == "dirty" {
			b.git[name] = cty.BoolVal(f.value == "true")
		} else {
			b.git[name] = cty.StringVal(f.value)
		}
	}
}

// ask gets a fact, once.
func (ev *evaluator) ask(name string) fact {
	f, ok := ev.facts[name]
	if !ok {
		if ev.in.Facts == nil {
			f.err = fmt.Errorf("this is not in a git work tree")
		} else {
			f.value, f.err = ev.in.Facts(name)
		}
		ev.facts[name] = f
	}
	return f
}
