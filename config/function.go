package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Functions that build files declare.

// A userFunc is a declared function.
type userFunc struct {
	name     string
	block    *block
	params   []string
	variadic string
	result   *expression
	state    state
}

// declareFunctions gathers the declared functions. Of several with one name
// the last stands; one with the name of a built-in is ignored, as in bake.
func (ev *evaluator) declareFunctions() {
	for _, b := range ev.mod.functions {
		if ev.isReserved(b.label, b.labelRange, "function") {
			continue
		}
		if _, builtin := ev.root.Functions[b.label]; builtin && ev.funcs[b.label] == nil {
			ev.rep.warnf(b.labelRange, "Name of built-in function", "There is a built-in function %q, which is called in its place; this one is ignored. Rename it.", b.label)
			continue
		}
		if f := ev.newFunc(b); f != nil {
			ev.funcs[b.label] = f
			ev.root.Functions[b.label] = ev.callable(f)
		}
	}
}

func (ev *evaluator) newFunc(b *block) *userFunc {
	f := &userFunc{name: b.label, block: b}
	result, params := b.named("result"), b.named("params")
	ok := true
	if result == nil {
		ev.rep.errorf(b.rng, "Missing result", "Function %q has no result. Add result = …, an expression that uses its parameters.", b.label)
		ok = false
	}
	if params == nil {
		ev.rep.errorf(b.rng, "Missing params", "Function %q has no params. Add params = [], which is needed also if it has none.", b.label)
		return nil
	}
	exprs, diags := hcl.ExprList(params.expr.src)
	ev.rep.addAll(diags)
	ok = ok && !diags.HasErrors()
	for _, e := range exprs {
		ok = ev.param(f, e, &f.params) && ok
	}
	if a := b.named("variadic_params"); a != nil {
		var rest []string
		if ok = ev.param(f, a.expr.src, &rest) && ok; ok {
			f.variadic = rest[0]
		}
	}
	if !ok {
		return nil
	}
	f.result = result.expr
	return f
}

func (ev *evaluator) param(f *userFunc, e hcl.Expression, into *[]string) bool {
	name := hcl.ExprAsKeyword(e)
	if name == "" {
		ev.rep.errorf(e.Range(), "Unsuitable parameter", "Each parameter of function %q must be a bare name, as params = [a, b].", f.name)
		return false
	}
	*into = append(*into, name)
	return true
}

// callable makes a function that evaluates the result with the arguments.
func (ev *evaluator) callable(f *userFunc) function.Function {
	spec := &function.Spec{Type: function.StaticReturnType(cty.DynamicPseudoType)}
	for _, p := range f.params {
		spec.Params = append(spec.Params, function.Parameter{Name: p, Type: cty.DynamicPseudoType})
	}
	if f.variadic != "" {
		spec.VarParam = &function.Parameter{Name: f.variadic, Type: cty.DynamicPseudoType}
	}
	spec.Impl = func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if err := ev.meter.spent.charge(callCost); err != nil {
			return cty.NilVal, err
		}
		return ev.call(f, args)
	}
	return function.New(spec)
}

// call evaluates a function's result.
func (ev *evaluator) call(f *userFunc, args []cty.Value) (cty.Value, error) {
	if f.state == failed || !ev.needs(f) {
		ev.hushed = true
		return cty.DynamicVal, errors.New("it has errors of its own")
	}
	ctx := ev.root.NewChild()
	ctx.Variables = make(map[string]cty.Value, len(args)+1)
	for i, p := range f.params {
		ctx.Variables[p] = args[i]
	}
	if f.variadic != "" {
		ctx.Variables[f.variadic] = cty.TupleVal(args[len(f.params):])
	}
	v, diags := f.result.syn.Value(ctx)
	if diags.HasErrors() {
		return cty.DynamicVal, callError(diags[0])
	}
	return v, nil
}

// callError tells what went wrong in a function and where.
func callError(d *hcl.Diagnostic) error {
	detail := strings.TrimSuffix(d.Detail, ".")
	if d.Subject == nil {
		return errors.New(detail)
	}
	return fmt.Errorf("%s (%s)", detail, at(*d.Subject))
}

// needs evaluates the variables that a function's result refers to.
func (ev *evaluator) needs(f *userFunc) bool {
	if f.state == done {
		return true
	}
	ok := true
	for _, r := range f.result.roots {
		if !f.isParam(r) && (!ev.known(r) || !ev.variable(r)) {
			ok = false
		}
	}
	if !ok {
		f.state = failed
		return false
	}
	f.state = done
	return true
}

func (f *userFunc) isParam(name string) bool {
	return slices.Contains(f.params, name) || f.variadic == name
}

// checkFunctions looks for names that do not exist and for calls in a circle,
// in all functions, called or not.
func (ev *evaluator) checkFunctions() {
	calls := map[string][]funcCall{}
	names := slices.Sorted(maps.Keys(ev.funcs))
	for _, name := range names {
		f := ev.funcs[name]
		if !f.result.native() {
			ev.rep.addAll(f.result.err)
			f.state = failed
			continue
		}
		ev.checkNames(f)
		calls[name] = ev.callsOf(f)
		f.result.prepare(ev.meter)
	}
	c := &callCycles{ev: ev, calls: calls, color: map[string]state{}}
	for _, name := range names {
		c.visit(name)
	}
}

// checkNames reports variables that a function refers to and that are not there.
func (ev *evaluator) checkNames(f *userFunc) {
	for _, ref := range f.result.syn.Variables() {
		root := ref.RootName()
		if f.isParam(root) || ev.known(root) {
			continue
		}
		f.state = failed
		hint := ev.rep.near(root, func() []string { return append(slices.Clone(f.params), ev.variableNames()...) })
		if root == "target" || root == "group" || root == "git" {
			hint = " A function cannot refer to targets, groups or git; give it what it needs as an argument."
		}
		ev.rep.errorf(ref.SourceRange(), "Unknown variable", "Function %q refers to %q, which is neither a parameter nor a variable.%s", f.name, root, hint)
	}
}

// A funcCall is the call of a declared function.
type funcCall struct {
	name string
	rng  hcl.Range
}

// callsOf lists what a function calls, and reports functions that are not there.
func (ev *evaluator) callsOf(f *userFunc) []funcCall {
	var out []funcCall
	_ = hclsyntax.VisitAll(f.result.syn, func(n hclsyntax.Node) hcl.Diagnostics {
		call, ok := n.(*hclsyntax.FunctionCallExpr)
		if !ok {
			return nil
		}
		if _, ok := ev.root.Functions[call.Name]; !ok {
			f.state = failed
			ev.rep.errorf(call.NameRange, "Unknown function", "Function %q calls %q, which does not exist.%s", f.name, call.Name, ev.rep.near(call.Name, ev.functionNames))
		}
		if ev.funcs[call.Name] != nil {
			out = append(out, funcCall{call.Name, call.NameRange})
		}
		return nil
	})
	return out
}

func (ev *evaluator) functionNames() []string { return slices.Sorted(maps.Keys(ev.root.Functions)) }

// callCycles finds functions that call each other in a circle.
type callCycles struct {
	ev    *evaluator
	calls map[string][]funcCall
	color map[string]state
	path  []funcCall
}

func (c *callCycles) visit(name string) {
	if c.color[name] == done {
		return
	}
	if len(c.path) > maxDepth {
		c.ev.rep.errorf(c.path[0].rng, "Nested too deeply", "Functions may call each other %d deep.", maxDepth)
		c.fail()
		return
	}
	c.color[name] = busy
	for _, call := range c.calls[name] {
		c.path = append(c.path, call)
		if c.color[call.name] == busy {
			c.report(call.name)
		} else {
			c.visit(call.name)
		}
		c.path = c.path[:len(c.path)-1]
	}
	c.color[name] = done
}

// report tells of the circle at the end of the path, which leads to name.
func (c *callCycles) report(name string) {
	from := len(c.path) - 1
	for from > 0 && c.path[from-1].name != name {
		from--
	}
	var b strings.Builder
	b.WriteString(name)
	for _, call := range c.path[from:] {
		b.WriteString(" calls " + call.name + " (" + at(call.rng) + ")")
		if call.name != name {
			b.WriteString(", which")
		}
	}
	c.ev.rep.errorf(c.path[len(c.path)-1].rng, "Function cycle", "%s. Functions cannot be recursive.", b.String())
	c.fail()
}

func (c *callCycles) fail() {
	for _, call := range c.path {
		c.ev.funcs[call.name].state = failed
	}
}
