package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// Variants: named flavours of a target, each an instance of its own.

// flavors are the variants of one target.
type flavors struct {
	names  []string            // the list variants, then blocks, as written
	ranges []hcl.Range         // where each is named first
	own    map[string][]*block // variant blocks within the target
}

// flavorsOf returns the variants of a target; nil if it has none.
func (e *expander) flavorsOf(l *label) *flavors {
	f := &flavors{own: map[string][]*block{}}
	for _, b := range l.blocks {
		if a := b.attr(attrVariants); a != nil {
			e.listed(f, l, a)
		}
	}
	for _, b := range l.blocks {
		for _, n := range b.nested {
			if e.note(f, l, n.label, n.labelRange) {
				f.own[n.label] = append(f.own[n.label], n)
			}
		}
	}
	if len(f.names) == 0 {
		return nil
	}
	return f
}

func (e *expander) listed(f *flavors, l *label, a *attrExpr) {
	v, ok := e.ev.eval(a.expr, nil, whom{kind: "target", name: l.name, attr: "variants"})
	if !ok || v.IsNull() {
		return
	}
	fit := &fitting{rep: e.ev.rep, whose: whom{kind: "target", name: l.name}, attr: "variants", x: a.expr, rng: a.expr.Range()}
	names, _ := fitList(fit, v).([]string)
	for i, n := range names {
		e.note(f, l, n, fit.place(i))
	}
}

// note adds a variant that is not known yet.
func (e *expander) note(f *flavors, l *label, name string, rng hcl.Range) bool {
	if !nameForm.MatchString(name) {
		e.ev.rep.errorf(rng, "Invalid name", "Variant %q of target %q may hold only %s.", clip(name), l.name, nameChars)
		return false
	}
	if !slices.Contains(f.names, name) {
		f.names = append(f.names, name)
		f.ranges = append(f.ranges, rng)
	}
	return true
}

// layVariants lays the variant blocks over the instances: those at the top
// level, then the target's own.
func (e *expander) layVariants(top []*block) {
	byName := map[string][]*block{}
	for _, b := range top {
		if !nameForm.MatchString(b.label) {
			e.ev.rep.errorf(b.labelRange, "Invalid name", "Variant name %q may hold only %s.", clip(b.label), nameChars)
		}
		byName[b.label] = append(byName[b.label], b)
	}
	used := map[string]bool{}
	for _, l := range e.labels {
		if l.flavor == nil {
			continue
		}
		for _, name := range l.names.list {
			t := e.ev.targets[name]
			if t.label != l.name {
				continue
			}
			used[t.variant] = true
			scope := t.own[len(t.own)-1].scope
			for _, b := range slices.Concat(byName[t.variant], l.flavor.own[t.variant]) {
				t.own = append(t.own, layer{b, scope})
			}
		}
	}
	for _, b := range top {
		for _, a := range b.attrs {
			if a.index == attrMatrix || a.index == attrName || a.index == attrVariants {
				e.ev.rep.errorf(a.rng, "Misplaced attribute", "Attribute %q of variant %q belongs in a target block.", a.name, b.label)
			}
		}
		if !used[b.label] {
			e.ev.rep.warnf(b.labelRange, "Unused variant", "No target has the variant %q.", b.label)
		}
	}
}

// families notes which names stand for one instance in each variant.
func (e *expander) families() {
	for _, l := range e.labels {
		e.ev.labels[l.name] = l
		if l.flavor == nil {
			continue
		}
		combos := l.groups.list
		if len(combos) == 0 {
			combos = []string{l.name}
		}
		for _, name := range combos {
			var members []string
			for _, v := range l.flavor.names {
				members = append(members, name+"-"+v)
			}
			e.ev.families[name] = members
		}
	}
}

// resolve finds the instance that a name means to a target in a variant: the
// one of that name, else that of the same variant. Without one, a sentence
// says why, if variants have to do with it.
func (ev *evaluator) resolve(name, variant string) (*instance, string) {
	if t := ev.targets[name]; t != nil {
		return t, ""
	}
	have := ev.families[name]
	switch {
	case have == nil:
		return nil, ""
	case variant == "":
		return nil, "It has variants: name one of " + list(have) + "."
	}
	if t := ev.targets[name+"-"+variant]; t != nil && slices.Contains(have, t.name) {
		return t, ""
	}
	return nil, "It does not have the variant \"" + variant + "\"; there are " + list(have) + "."
}
