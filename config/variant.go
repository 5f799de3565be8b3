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
	fit := &fitting{rep: e.ev.rep, whose: `target "` + l.name + `"`, attr: "variants", x: a.expr, rng: a.expr.Range()}
	names, _ := fitList(fit, v).([]string)
	for i, n := range names {
		e.note(f, l, n, fit.place(i))
	}
}

// note adds a variant that is not known yet.
func (e *expander) note(f *flavors, l *label, name string, rng hcl.Range) bool {
	if !nameForm.MatchString(name) {
		e.ev.rep.errorf(rng, "Invalid name", "Variant %q of target %q may hold only %s in its name.", clip(name), l.name, nameChars)
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

// resolve finds the instance that a name means to a target in a variant: the
// one of that name, else that of the same variant. Without one the error,
// as a sentence, says why.
func (ev *evaluator) resolve(name, variant string) (*instance, string) {
	if t := ev.targets[name]; t != nil {
		return t, ""
	}
	l := ev.flavored[name]
	if l == nil {
		return nil, ""
	}
	if t := ev.targets[name+"-"+variant]; variant != "" && t != nil && l.names.has[t.name] {
		return t, ""
	}
	var have []string
	for _, n := range l.flavor.names {
		have = append(have, name+"-"+n)
	}
	if variant == "" {
		return nil, "It has variants: name one of " + list(have) + "."
	}
	return nil, "It does not have the variant \"" + variant + "\"; there are " + list(have) + "."
}
