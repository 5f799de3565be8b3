package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Expansion: target blocks to instances. A block with a matrix stands for
// one instance for each combination of its axes, and a target with variants
// for one instance for each of them.

// maxInstances bounds the instances that matrices and variants make.
const maxInstances = 1 << 16

var nameForm = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

const nameChars = "letters, digits, - and _"

// An instance is a target as it will be built, in layers that are not
// evaluated yet.
type instance struct {
	name, label, variant string
	own                  []layer // lowest first
	rng                  hcl.Range
	linked               inheritance
	over                 map[int]*override // --set, by attribute
	slots                []slot            // merged values, one for each set attribute
	deferred             hcl.Diagnostics
}

// A layer is a block in the scope of one instance.
type layer struct {
	b     *block
	scope *scope
}

// A scope is what expressions of one instance see beside the variables of all.
type scope struct {
	ctx     *hcl.EvalContext // nil if there is nothing
	variant string
}

func (s *scope) has(name string) bool {
	if s == nil || s.ctx == nil {
		return false
	}
	_, ok := s.ctx.Variables[name]
	return ok
}

// A combination is one instance of a block's matrix.
type combination struct {
	name  string
	scope map[string]cty.Value
}

// An expander makes the instances of all targets.
type expander struct {
	ev     *evaluator
	made   int  // by matrices and variants
	full   bool // they have made too many, which has been reported
	labels []*label
}

// A label is all target blocks of one name.
type label struct {
	name   string
	blocks []*block
	flavor *flavors // nil without variants
	names  nameList // of the instances, in order
	groups nameList // names of combinations that have variants
}

// A nameList is a list of names without repeats.
type nameList struct {
	list []string
	has  map[string]bool
}

func (l *nameList) add(name string) {
	if l.has[name] {
		return
	}
	if l.has == nil {
		l.has = map[string]bool{}
	}
	l.has[name] = true
	l.list = append(l.list, name)
}

func (e *expander) expand(blocks []*block) {
	byName := map[string]*label{}
	for _, b := range blocks {
		l := byName[b.label]
		if l == nil {
			l = &label{name: b.label}
			byName[b.label] = l
			e.labels = append(e.labels, l)
		}
		l.blocks = append(l.blocks, b)
	}
	for _, l := range e.labels {
		l.flavor = e.flavorsOf(l)
	}
	for _, b := range blocks {
		for _, c := range e.combine(b) {
			e.instances(byName[b.label], b, c)
		}
	}
}

// instances adds the block, in one combination, to the instances it is for.
func (e *expander) instances(l *label, b *block, c combination) {
	if l.flavor == nil {
		e.add(l, b, c.name, "", e.scope(c.scope, ""))
		return
	}
	if c.name != l.name {
		l.groups.add(c.name)
	}
	for _, v := range l.flavor.names {
		if !e.count(b) {
			return
		}
		e.add(l, b, c.name+"-"+v, v, e.scope(c.scope, v))
	}
}

func (e *expander) scope(axes map[string]cty.Value, variant string) *scope {
	if len(axes) == 0 && variant == "" {
		return nil
	}
	ctx := e.ev.root.NewChild()
	ctx.Variables = make(map[string]cty.Value, len(axes)+1)
	for k, v := range axes {
		ctx.Variables[k] = v
	}
	if variant != "" {
		ctx.Variables["variant"] = cty.StringVal(variant)
	}
	return &scope{ctx: ctx, variant: variant}
}

// add lays the block upon the instance of that name.
func (e *expander) add(l *label, b *block, name, variant string, s *scope) {
	t := e.ev.targets[name]
	if g := e.ev.groups[name]; g != nil && variant != "" {
		e.ev.taken(l, name, "group", g.place())
		return
	}
	switch {
	case t == nil:
		t = &instance{name: name, label: l.name, variant: variant, rng: b.rng}
		e.ev.targets[name] = t
		e.ev.order = append(e.ev.order, t)
	case t.label != l.name && (t.variant != "" || variant != ""):
		e.ev.rep.errorf(b.labelRange, "Name already taken",
			"Target %q, an instance of target %q, has the name of a target at %s. Rename one of them.", name, l.name, at(t.rng))
		return
	}
	if !b.composed() || variant != "" { // a service stays out of the group of a matrix of its name, as in bake
		l.names.add(name)
	}
	t.own = append(t.own, layer{b, s})
}

// count charges instances to the limit.
func (e *expander) count(b *block) bool {
	e.made++
	if e.made > maxInstances {
		if e.full {
			return false
		}
		e.full = true
		e.ev.rep.errorf(b.labelRange, "Too many instances",
			"Matrices and variants may make %d targets; with target %q they make more.", maxInstances, b.label)
		return false
	}
	return true
}

// combine returns the combinations of a block: one, of its own name, if it
// has no matrix.
func (e *expander) combine(b *block) []combination {
	matrix, name := b.attr(attrMatrix), b.attr(attrName)
	if !nameForm.MatchString(b.label) {
		e.ev.rep.errorf(b.labelRange, "Invalid name", "Target name %q may hold only %s.", clip(b.label), nameChars)
		return nil
	}
	if matrix == nil {
		if name != nil {
			e.ev.rep.errorf(name.rng, "Name without matrix", "Target %q has a name but no matrix. Only the instances of a matrix are named by an attribute; remove it, or change the label of the block.", b.label)
		}
		return []combination{{name: b.label}}
	}
	scopes := e.scopes(b, matrix)
	if scopes == nil {
		return nil
	}
	var out []combination
	first := map[string]map[string]cty.Value{}
	for _, s := range scopes {
		n, ok := e.nameOf(b, name, s)
		if !ok {
			continue
		}
		if other, dup := first[n]; dup {
			rng := b.labelRange
			if name != nil {
				rng = name.expr.Range()
			}
			e.ev.rep.errorf(rng, "Duplicate name", "Two instances of target %q have the name %q: %s and %s. %s", b.label, n,
				axesText(other), axesText(s), "Use all axes of the matrix in the attribute name.")
			continue
		}
		first[n] = s
		out = append(out, combination{n, s})
	}
	return out
}

// nameOf evaluates the name of an instance.
func (e *expander) nameOf(b *block, name *attrExpr, axes map[string]cty.Value) (string, bool) {
	if name == nil {
		return b.label, true
	}
	who := whom{kind: "target", name: b.label, attr: "name"}
	v, ok := e.ev.eval(name.expr, e.scope(axes, ""), who)
	if !ok {
		return "", false
	}
	s, err := convert.Convert(v, cty.String)
	if err != nil || s.IsNull() || !s.IsKnown() || tooGreat(v) {
		e.ev.rep.errorf(name.expr.Range(), "Invalid name", "The name of an instance of target %q must be a string, but with %s it is %s.", b.label, axesText(axes), describe(v))
		return "", false
	}
	if !nameForm.MatchString(s.AsString()) {
		e.ev.rep.errorf(name.expr.Range(), "Invalid name", "With %s an instance of target %q has the name %q, which may hold only %s. The function sanitize replaces all others.",
			axesText(axes), b.label, clip(s.AsString()), nameChars)
		return "", false
	}
	return s.AsString(), true
}

// scopes evaluates a matrix: for each combination the values of its axes.
func (e *expander) scopes(b *block, matrix *attrExpr) []map[string]cty.Value {
	v, ok := e.ev.eval(matrix.expr, nil, whom{kind: "target", name: b.label, attr: "matrix"})
	if !ok {
		return nil
	}
	rng := matrix.expr.Range()
	if t := v.Type(); v.IsNull() || !v.IsKnown() || !t.IsObjectType() && !t.IsMapType() {
		e.ev.rep.errorf(rng, "Unsuitable matrix", "The matrix of target %q must be a map of lists, as { version = [\"1\", \"2\"] }, but is %s.", b.label, describe(v))
		return nil
	}
	out := []map[string]cty.Value{{}}
	for _, axis := range axisOrder(matrix.expr, v) {
		values, _ := member(v, axis)
		if values.IsNull() || !values.CanIterateElements() {
			e.ev.rep.errorf((&fitting{x: matrix.expr, rng: rng}).placeOf(axis), "Unsuitable matrix", "Axis %q of the matrix of target %q must be a list, but is %s.", axis, b.label, describe(values))
			return nil
		}
		n := values.LengthInt()
		if e.made+len(out)*n > maxInstances {
			e.made = maxInstances
			e.count(b)
			return nil
		}
		out = times(out, axis, values, n)
	}
	e.made += len(out)
	return out
}

// times multiplies combinations by the values of one more axis, the last of
// which changes fastest.
func times(combos []map[string]cty.Value, axis string, values cty.Value, n int) []map[string]cty.Value {
	next := make([]map[string]cty.Value, 0, len(combos)*n)
	for _, c := range combos {
		for it := values.ElementIterator(); it.Next(); {
			_, v := it.Element()
			with := make(map[string]cty.Value, len(c)+1)
			for k, x := range c {
				with[k] = x
			}
			with[axis] = v
			next = append(next, with)
		}
	}
	return next
}

// axisOrder lists the axes as they are written; those of a computed matrix
// by name.
func axisOrder(x *expression, v cty.Value) []string {
	var out []string
	if obj, ok := x.syn.(*hclsyntax.ObjectConsExpr); ok {
		for _, it := range obj.Items {
			k, diags := it.KeyExpr.Value(nil)
			if diags.HasErrors() || k.Type() != cty.String || k.IsNull() || !k.IsKnown() {
				out = nil
				break
			}
			if name := k.AsString(); !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	for it := v.ElementIterator(); it.Next(); {
		k, _ := it.Element()
		if name := k.AsString(); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// axesText writes a combination as "a = 1, b = 2".
func axesText(axes map[string]cty.Value) string {
	if len(axes) == 0 {
		return "no axes"
	}
	names := make([]string, 0, len(axes))
	for k := range axes {
		names = append(names, k)
	}
	slices.Sort(names)
	parts := make([]string, len(names))
	for i, k := range names {
		parts[i] = fmt.Sprintf("%s = %s", k, strings.TrimPrefix(strings.TrimPrefix(describe(axes[k]), "the string "), "the number "))
	}
	return strings.Join(parts, ", ")
}
