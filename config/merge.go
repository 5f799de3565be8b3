package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Merging: what a target inherits, its own layers and what --set says become
// one value for each attribute, worked out when it is asked for.

// An inheritance is what is known of a target's parents.
type inheritance struct {
	state   state
	parents []*instance
	mask    uint64 // attributes that anything sets, parents included
}

// A slot holds the merged value of one attribute.
type slot struct {
	attr  int
	state state
	val   any // nil if all layers leave it unset
	rng   hcl.Range
}

// slot finds the slot of an attribute; nil if nothing sets it.
func (t *instance) slot(i int) *slot {
	for n := range t.slots {
		if t.slots[n].attr == i {
			return &t.slots[n]
		}
	}
	return nil
}

// inherit finds the parents of t, and what is set in t or any of them. It
// returns false if that fails, which has been reported.
func (ev *evaluator) inherit(t *instance) bool {
	switch t.linked.state {
	case done:
		return true
	case failed:
		return false
	case busy:
		ev.inheritCycle(t)
		return false
	}
	t.linked.state = busy
	ok := ev.enter(&t.linked, whom{kind: "target", name: t.name}, ev.inheritsRange(t))
	if ok {
		ok = ev.findParents(t)
		ev.leave()
	}
	if !ok {
		t.linked.state = failed
		return false
	}
	t.linked.mask |= t.ownMask()
	for i := range attributes {
		if t.linked.mask&(1<<i) != 0 {
			t.slots = append(t.slots, slot{attr: i})
		}
	}
	t.linked.state = done
	return true
}

func (t *instance) ownMask() uint64 {
	var mask uint64
	for _, l := range t.own {
		for _, a := range l.b.attrs {
			mask |= 1 << a.index
		}
	}
	for i := range t.over {
		mask |= 1 << i
	}
	if mask&(1<<attrNetwork) != 0 {
		mask |= 1 << attrEntitlements // host needs one
	}
	for i := attrName; i <= attrInherits; i++ {
		mask &^= 1 << i
	}
	return mask
}

func (ev *evaluator) inheritsRange(t *instance) hcl.Range {
	for i := len(t.own) - 1; i >= 0; i-- {
		if a := t.own[i].b.attr(attrInherits); a != nil {
			return a.expr.Range()
		}
	}
	return t.rng
}

func (ev *evaluator) findParents(t *instance) bool {
	ok := true
	for _, l := range t.own {
		a := l.b.attr(attrInherits)
		if a == nil {
			continue
		}
		names, fit, fine := ev.strings(t, l, a)
		ok = ok && fine
		for i, name := range names {
			p, why := ev.resolve(name, t.variant)
			if p == nil {
				t.deferred = append(t.deferred, ev.unknownParent(t, name, why, fit.place(i)))
				continue
			}
			if !ev.inherit(p) {
				ok = false
				continue
			}
			t.linked.parents = append(t.linked.parents, p)
			t.linked.mask |= p.linked.mask
		}
	}
	return ok
}

func (ev *evaluator) unknownParent(t *instance, name, why string, rng hcl.Range) *hcl.Diagnostic {
	if why == "" {
		why = "There is no target of this name." + ev.rep.near(name, ev.targetNames)
		if ev.groups[name] != nil || ev.labels[name] != nil {
			why = "It is a group, and only targets can be inherited from."
		}
	}
	return problem(hcl.DiagError, rng, "Unknown target", "Target %q inherits from %q. %s", t.name, name, why)
}

// inheritCycle reports the whole circle of targets that inherit each other.
func (ev *evaluator) inheritCycle(t *instance) {
	from := slices.IndexFunc(ev.stack, func(f frame) bool { return f.node == any(&t.linked) })
	loop := ev.stack[max(from, 0):]
	first := 0
	for i, f := range loop {
		if f.rng.Filename == loop[first].rng.Filename && f.rng.Start.Byte < loop[first].rng.Start.Byte {
			first = i
		}
	}
	names := make([]string, 0, len(loop)+1)
	for i := range loop {
		f := loop[(first+i)%len(loop)]
		names = append(names, fmt.Sprintf("%s (%s)", f.who.name, at(f.rng)))
	}
	names = append(names, loop[first].who.name)
	ev.rep.errorf(loop[first].rng, "Inheritance cycle", "Targets cannot inherit from themselves: %s.", strings.Join(names, " inherits "))
}

// strings evaluates an attribute of one layer that is a list of names.
func (ev *evaluator) strings(t *instance, l layer, a *attrExpr) ([]string, *fitting, bool) {
	v, ok := ev.eval(a.expr, l.scope, t.whose(a.index))
	if !ok {
		return nil, nil, false
	}
	f := ev.fitting(t, a.index, a.expr, l.b.file)
	if v.IsNull() {
		return nil, f, true
	}
	names, _ := fitList(f, v).([]string)
	return names, f, !f.failed
}

// ownNames joins a list attribute over the layers of t alone.
func (ev *evaluator) ownNames(t *instance, i int) ([]string, bool) {
	var out []string
	ok := true
	for _, l := range t.own {
		if a := l.b.attr(i); a != nil {
			names, _, fine := ev.strings(t, l, a)
			out, ok = append(out, names...), ok && fine
		}
	}
	return out, ok
}

func (t *instance) whose(i int) whom {
	return whom{kind: "target", name: t.name, attr: attributes[i].name}
}

func (ev *evaluator) fitting(t *instance, i int, x *expression, u *unit) *fitting {
	f := &fitting{rep: ev.rep, whose: whom{kind: "target", name: t.name}, attr: attributes[i].name, x: x}
	if x != nil {
		f.rng = x.Range()
	}
	if u != nil {
		f.base = u.base
	}
	return f
}

// merged returns the value of an attribute with all its layers; nil if
// nothing sets it. It returns false if that fails, which has been reported.
func (ev *evaluator) merged(t *instance, i int) (any, bool) {
	if !ev.inherit(t) {
		return nil, false
	}
	s := t.slot(i)
	if s == nil {
		return nil, true
	}
	switch s.state {
	case done:
		return s.val, true
	case failed:
		return nil, false
	case busy:
		ev.cycle(s)
		return nil, false
	}
	if !ev.enter(s, t.whose(i), ev.rangeOf(t, i)) {
		s.state = failed
		return nil, false
	}
	s.state = busy
	val, rng, ok := ev.merge(t, i)
	ev.leave()
	s.val, s.rng, s.state = val, rng, done
	if !ok {
		s.state = failed
	}
	return val, ok
}

// rangeOf is where an attribute is set by the target itself, or the target.
func (ev *evaluator) rangeOf(t *instance, i int) hcl.Range {
	for n := len(t.own) - 1; n >= 0; n-- {
		if a := t.own[n].b.attr(i); a != nil {
			return a.rng
		}
	}
	return t.rng
}

// merge lays the layers of one attribute upon each other: parents, own
// layers, overrides.
func (ev *evaluator) merge(t *instance, i int) (any, hcl.Range, bool) {
	a := &attributes[i]
	m := &merger{a: a}
	own := ev.ownValues(t, i)
	if own == nil {
		return nil, t.rng, false
	}
	if a.rule != ruleReplace || !slices.ContainsFunc(own, func(v layered) bool { return v.val != nil }) {
		for _, p := range t.linked.parents {
			v, ok := ev.merged(p, i)
			if !ok {
				return nil, t.rng, false
			}
			rng := t.rng
			if s := p.slot(i); s != nil {
				rng = s.rng
			}
			m.lay(layered{v, rng})
			if len(t.linked.parents) > 4 {
				m.tidy() // lest what many parents share piles up
			}
			if !ev.bounded(t, m) {
				return nil, t.rng, false
			}
		}
	}
	for _, v := range own {
		m.lay(v)
	}
	if o := t.over[i]; o != nil {
		ev.override(t, i, m, o)
	}
	ok := i != attrEntitlements || ev.hostNetwork(t, m)
	m.tidy()
	return m.val, m.rng, ok
}

// maxPolicies bounds the entries of policy, the one list that keeps repeats:
// what is inherited twice at each of many levels would fill the memory.
const maxPolicies = 1 << 12

func (ev *evaluator) bounded(t *instance, m *merger) bool {
	policies, ok := m.val.([]based[Policy])
	if !ok || len(policies) <= maxPolicies {
		return true
	}
	ev.rep.errorf(m.rng, "Too many policies", "Target %q has more than %d entries in policy, as it inherits the same ones again and again.", t.name, maxPolicies)
	return false
}

// A layered value is that of one layer.
type layered struct {
	val any
	rng hcl.Range
}

// A merger lays values of an attribute upon each other.
type merger struct {
	a   *attribute
	val any
	rng hcl.Range
}

func (m *merger) lay(l layered) {
	if l.val == nil {
		return
	}
	if m.val != nil && m.a.rule != ruleReplace {
		l.val = m.a.kind.join(m.val, l.val)
	}
	m.val, m.rng = l.val, l.rng
}

func (m *merger) tidy() {
	if m.val != nil && m.a.kind.tidy != nil {
		m.val = m.a.kind.tidy(m.val)
	}
}

// ownValues evaluates the layers of t itself. All are evaluated, so that an
// error in one that is covered by another is found; nil if one fails.
func (ev *evaluator) ownValues(t *instance, i int) []layered {
	out := make([]layered, 0, len(t.own))
	ok := true
	for _, l := range t.own {
		a := l.b.attr(i)
		if a == nil {
			continue
		}
		val, fine := ev.fit(t, i, l, a)
		ok = ok && fine
		out = append(out, layered{val, a.rng})
	}
	if !ok {
		return nil
	}
	return out
}

// fit evaluates an attribute of one layer and makes it fit.
func (ev *evaluator) fit(t *instance, i int, l layer, a *attrExpr) (any, bool) {
	if a.fitted != nil {
		return a.fitted, true
	}
	if same, ok := ev.sameOf(a.expr, i, l.scope); ok {
		return ev.merged(same, i)
	}
	v, ok := ev.eval(a.expr, l.scope, t.whose(i))
	if !ok {
		return nil, false
	}
	k := attributes[i].kind
	f := ev.fitting(t, i, a.expr, l.b.file)
	if v.IsNull() {
		if k.strict {
			f.failf(f.rng, "it must not be null. Remove the attribute, or give it a value.")
		}
		return nil, !f.failed
	}
	val := k.fit(f, v)
	return val, !f.failed
}

// sameOf recognises an expression that is exactly the same attribute of
// another target, so that its paths keep their base.
func (ev *evaluator) sameOf(x *expression, i int, s *scope) (*instance, bool) {
	x.prepare(ev.meter)
	if len(x.deep) != 1 || len(x.deep[0]) != 3 || x.deep[0].RootName() != "target" {
		return nil, false
	}
	if _, diags := hcl.AbsTraversalForExpr(x.src); diags.HasErrors() {
		return nil, false
	}
	name, ok1 := step(x.deep[0], 1)
	attr, ok2 := step(x.deep[0], 2)
	if !ok1 || !ok2 || attr != attributes[i].name || s.has("target") {
		return nil, false
	}
	variant := ""
	if s != nil {
		variant = s.variant
	}
	t, _ := ev.resolve(name, variant)
	return t, t != nil
}

// hostNetwork adds the entitlement that the host's network needs.
func (ev *evaluator) hostNetwork(t *instance, m *merger) bool {
	network, ok := ev.merged(t, attrNetwork)
	if ok && network == "host" {
		rng := m.rng
		if s := t.slot(attrNetwork); m.val == nil && s != nil {
			rng = s.rng
		}
		m.lay(layered{[]string{"network.host"}, rng})
	}
	return ok
}

// hold gives each target the errors that count only if it is built: its own,
// and those of all that it inherits from.
func (ev *evaluator) hold(cfg *Config) {
	if !slices.ContainsFunc(ev.order, func(t *instance) bool { return len(t.deferred) > 0 }) {
		return
	}
	for _, t := range ev.order {
		if out := cfg.targets[t.name]; out != nil {
			out.Deferred = append(t.held(map[*instance]bool{}), out.Deferred...)
		}
	}
}

func (t *instance) held(seen map[*instance]bool) hcl.Diagnostics {
	if seen[t] {
		return nil
	}
	seen[t] = true
	out := slices.Clone(t.deferred)
	for _, p := range t.linked.parents {
		out = append(out, p.held(seen)...)
	}
	return out
}
