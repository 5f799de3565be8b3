package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Evaluation: layers to values, each on demand and once. What an expression
// refers to is evaluated before it.

// maxStack bounds how many values may need each other in a row.
const maxStack = 5000

// An evaluator evaluates the expressions of one Load.
type evaluator struct {
	mod      *module
	in       *Inputs
	rep      *report
	meter    *meter
	root     *hcl.EvalContext // the variables evaluated so far, and all functions
	vars     map[string]*variable
	funcs    map[string]*userFunc
	targets  map[string]*instance
	order    []*instance
	labels   map[string]*label
	families map[string][]string // instances by the name that their variants share
	groups   map[string]*groupDecl
	facts    map[string]fact
	expanded bool // targets are known
	stack    []frame
	hushed   bool // a function failed whose errors have been reported
}

// whom names what an expression is for.
type whom struct {
	kind, name, attr string
}

func (w whom) String() string {
	switch {
	case w.attr == "":
		return fmt.Sprintf("%s %q", w.kind, w.name)
	case w.name == "":
		return w.kind
	}
	return fmt.Sprintf("attribute %q of %s %q", w.attr, w.kind, w.name)
}

// A state is how far the evaluation of something is.
type state uint8

const (
	untouched state = iota
	busy            // it is on the stack
	done
	failed // its error has been reported
)

// A frame is something that is being evaluated.
type frame struct {
	node any // *variable, *slot, *groupDecl, *userFunc
	who  whom
	rng  hcl.Range
}

// enter puts a node on the stack. It fails, with a report, if that is too
// deep. leave takes it off.
func (ev *evaluator) enter(node any, who whom, rng hcl.Range) bool {
	if len(ev.stack) >= maxStack {
		ev.rep.errorf(rng, "Nested too deeply", "At most %d values may need each other in a row, and %s is one more.", maxStack, who)
		return false
	}
	ev.stack = append(ev.stack, frame{node, who, rng})
	return true
}

func (ev *evaluator) leave() { ev.stack = ev.stack[:len(ev.stack)-1] }

// cycle reports that node, which is on the stack, is needed by what is on top.
func (ev *evaluator) cycle(node any) {
	from := 0
	for i, f := range ev.stack {
		if f.node == node {
			from = i
			break
		}
	}
	loop := ev.stack[from:]
	first := 0 // begin at the place that comes first, so that the text does not depend on who asked
	for i, f := range loop {
		if f.rng.Filename == loop[first].rng.Filename && f.rng.Start.Byte < loop[first].rng.Start.Byte {
			first = i
		}
	}
	var b strings.Builder
	for i := range loop {
		f := loop[(first+i)%len(loop)]
		if i == 0 {
			fmt.Fprintf(&b, "To evaluate %s (%s)", f.who, at(f.rng))
		} else {
			fmt.Fprintf(&b, " needs %s (%s), which", f.who, at(f.rng))
		}
		if i == 0 {
			b.WriteString(" one")
		}
	}
	fmt.Fprintf(&b, " needs %s again. One of them must do without the next.", loop[first].who)
	ev.rep.errorf(loop[first].rng, "Reference cycle", "%s", b.String())
}

// eval evaluates an expression in a scope, nil for one without axes. It
// returns false if that failed, which has been reported.
func (ev *evaluator) eval(x *expression, s *scope, who whom) (cty.Value, bool) {
	x.prepare(ev.meter)
	if x.static {
		return x.val, true
	}
	if x.err.HasErrors() {
		ev.rep.addAll(x.err)
		return cty.NilVal, false
	}
	ok := true
	var missing []missingRef
	for _, name := range x.roots {
		if s.has(name) || ev.known(name) && ev.variable(name) {
			continue
		}
		if ev.known(name) {
			ok = false
		} else {
			missing = append(missing, missingRef{root: name})
		}
	}
	ctx := ev.root
	if len(x.deep) > 0 {
		vars, gaps, fine := ev.deepRefs(x.deep, s)
		missing = append(missing, gaps...)
		ok = ok && fine
		ctx = ctx.NewChild()
		ctx.Variables = vars
	}
	if !ok {
		return cty.NilVal, false
	}
	if s != nil && s.ctx != nil {
		inner := ctx.NewChild()
		inner.Variables = s.ctx.Variables
		ctx = inner
	}
	return ev.value(x, ctx, missing, who)
}

// value evaluates an expression in a scope that holds all it needs.
func (ev *evaluator) value(x *expression, ctx *hcl.EvalContext, missing []missingRef, who whom) (cty.Value, bool) {
	before, hushed := ev.rep.errors, ev.hushed
	ev.hushed = false
	v, diags := evaluate(x.syn, ctx)
	reported := ev.hushed || ev.rep.errors > before
	ev.hushed = hushed
	if diags.HasErrors() && !reported {
		ev.explain(diags, missing, who)
	}
	if diags.HasErrors() || reported && !v.IsWhollyKnown() || ev.meter.told {
		return cty.NilVal, false
	}
	return v, true
}

// evaluate is Value, but a panic, which is a mistake of the library that the
// file brings out, becomes a diagnostic.
func evaluate(e hclsyntax.Expression, ctx *hcl.EvalContext) (v cty.Value, diags hcl.Diagnostics) {
	defer func() {
		if r := recover(); r != nil {
			v, diags = cty.DynamicVal, hcl.Diagnostics{problem(hcl.DiagError, e.Range(), "Cannot be evaluated", "The evaluator fails on this expression: %v. Write it in another way.", r)}
		}
	}()
	return e.Value(ctx)
}

// A missingRef is something that an expression refers to and that is not
// there. That is no error by itself: try and can may catch it.
type missingRef struct {
	root string        // an unknown variable; "" for others
	ref  hcl.Traversal // otherwise
	why  string        // for others: what is wrong
	head string        // summary
}

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
			why = "No target has this name." + near(name, b.ev.targetNames())
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
			if i != attrMatrix && i != attrVariants && i != attrDependsOn { // what bake's has
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
		b.miss(ref, "Unknown group", "This refers to group %q, which is not declared.%s", name, near(name, b.ev.groupNames()))
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

// explain reports why an expression could not be evaluated. Where HCL says
// only that something is not there, what is missing is said in its place.
func (ev *evaluator) explain(diags hcl.Diagnostics, missing []missingRef, who whom) {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		if m := missingAt(missing, d); m != nil {
			ev.rep.add(ev.missingDiag(m, d, who))
			continue
		}
		own := *d
		own.Detail = strings.TrimSpace(own.Detail)
		if who.kind != "" {
			own.Detail += fmt.Sprintf(" This is in %s.", who)
		}
		ev.rep.add(&own)
	}
}

// missingAt finds the missing reference that a diagnostic is about.
func missingAt(missing []missingRef, d *hcl.Diagnostic) *missingRef {
	for i, m := range missing {
		if m.root != "" {
			for _, ref := range exprRefs(d) {
				if ref.RootName() == m.root && d.Subject != nil && ref.SourceRange().Overlaps(*d.Subject) {
					return &missing[i]
				}
			}
			continue
		}
		if d.Subject != nil && m.ref.SourceRange().Overlaps(*d.Subject) {
			return &missing[i]
		}
	}
	return nil
}

func exprRefs(d *hcl.Diagnostic) []hcl.Traversal {
	if d.Expression == nil {
		return nil
	}
	return d.Expression.Variables()
}

func (ev *evaluator) missingDiag(m *missingRef, d *hcl.Diagnostic, who whom) *hcl.Diagnostic {
	if m.root != "" {
		hint := near(m.root, ev.variableNames())
		if hint == "" {
			hint = fmt.Sprintf(" To take it from the environment or from --var, declare it: variable %q {}.", m.root)
			if ev.targets[m.root] != nil {
				hint = fmt.Sprintf(" To refer to the target of this name, write target.%s.", m.root)
			}
		}
		return problem(hcl.DiagError, *d.Subject, "Unknown variable", "There is no variable %q, needed for %s.%s", m.root, who, hint)
	}
	rng := m.ref.SourceRange()
	return problem(hcl.DiagError, rng, m.head, "%s This is in %s.", m.why, who)
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
