package config

import (
	"fmt"
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
	if x.static || x.ahead && s == nil {
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
	if diags.HasErrors() || reported && !v.IsWhollyKnown() || ev.meter.told.Load() {
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
