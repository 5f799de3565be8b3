package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Variables: declared ones with their types and overrides, free attributes,
// and those that are there without being declared.

// A variable is anything that expressions refer to by a bare name.
type variable struct {
	name        string
	block       *block         // nil if none declares it
	free        *freeAttribute // its expression counts more than the block's default
	description string
	typ         cty.Type // DynamicPseudoType if none is declared
	typed       bool
	builtin     bool
	state       state
	val         cty.Value
	origin      string
}

// reserved are names that declarations cannot take.
var reserved = []string{"target", "group", "BAKE_CMD_CONTEXT", "BAKE_LOCAL_PLATFORM"}

// declareVariables gathers all variables. Of several blocks with one name the
// last stands alone, as in bake.
func (ev *evaluator) declareVariables() {
	for _, b := range ev.mod.variables {
		if ev.isReserved(b.label, b.labelRange, "variable") {
			continue
		}
		ev.vars[b.label] = &variable{name: b.label, block: b, typ: cty.DynamicPseudoType}
	}
	seen := map[string]*freeAttribute{}
	for _, a := range ev.mod.free {
		if ev.isReserved(a.name, a.rng, "attribute") {
			continue
		}
		seen[a.name] = a
		v := ev.vars[a.name]
		if v == nil {
			v = &variable{name: a.name, typ: cty.DynamicPseudoType}
			ev.vars[a.name] = v
		}
		v.free = a
	}
	for name, val := range map[string]string{"BAKE_CMD_CONTEXT": ev.in.CmdContext, "BAKE_LOCAL_PLATFORM": ev.in.Platform} {
		ev.vars[name] = &variable{name: name, builtin: true, state: done, val: cty.StringVal(val)}
		ev.root.Variables[name] = cty.StringVal(val)
	}
}

func (ev *evaluator) isReserved(name string, rng hcl.Range, what string) bool {
	if !slices.Contains(reserved, name) {
		return false
	}
	ev.rep.warnf(rng, "Reserved name", "%q always means the same in expressions; the %s of that name is ignored. Rename it.", name, what)
	return true
}

func (ev *evaluator) known(name string) bool { _, ok := ev.vars[name]; return ok }

func (ev *evaluator) variableNames() []string { return slices.Sorted(maps.Keys(ev.vars)) }

// variable evaluates a variable, once, and makes it known to all expressions.
// It returns false if that fails, which has been reported.
func (ev *evaluator) variable(name string) bool {
	v := ev.vars[name]
	switch v.state {
	case done:
		return true
	case failed:
		return false
	case busy:
		ev.cycle(v)
		return false
	}
	who := whom{kind: "variable", name: name}
	if v.block == nil {
		who.kind = "free attribute"
	}
	if !ev.enter(v, who, v.place()) {
		v.state = failed
		return false
	}
	v.state = busy
	val, ok := ev.valueOf(v, who)
	ev.leave()
	if ok && !ev.affordable(v, val) {
		ok = false
	}
	if !ok {
		v.state = failed
		return false
	}
	v.state, v.val = done, val
	ev.root.Variables[name] = val
	return true
}

// affordable refuses a value that is heavier than any sensible one.
func (ev *evaluator) affordable(v *variable, val cty.Value) bool {
	if w := weigh(val); w > valueBytes {
		ev.rep.errorf(v.place(), "Too much work", "The value of %q is too great: a value may take 64 MiB, be nested %d deep, and a number may have 39,000 digits.", v.name, valueDepth)
		return false
	}
	return true
}

// place is where the variable is declared.
func (v *variable) place() hcl.Range {
	switch {
	case v.block != nil:
		return v.block.rng
	case v.free != nil:
		return v.free.rng
	}
	return hcl.Range{Filename: v.name}
}

// valueOf works out a variable's value: the default, which is evaluated in
// any case, then what overrides it.
func (ev *evaluator) valueOf(v *variable, who whom) (cty.Value, bool) {
	if v.block != nil && !ev.declaration(v) {
		return cty.NilVal, false
	}
	def, rng := v.definition()
	val := cty.NilVal
	if def != nil {
		var ok bool
		if val, ok = ev.eval(def, nil, who); !ok {
			return cty.NilVal, false
		}
		fitted, err := convert.Convert(val, v.typ)
		if err != nil {
			ev.rep.errorf(rng, "Unsuitable default", "Variable %q has the type %s, but its default is %s: %v.", v.name, v.typ.FriendlyNameForConstraint(), describe(val), err)
			return cty.NilVal, false
		}
		val = fitted
	}
	v.origin = "default"
	if v.block == nil {
		return val, true
	}
	o := ev.overriding(v)
	switch {
	case o != nil:
		v.origin = o.origin
		return ev.convertOverride(v, o, val)
	case def != nil:
		return val, true
	case v.typed:
		return cty.NullVal(v.typ), true
	}
	return cty.StringVal(""), true
}

// definition returns the expression that gives the value; nil if none does.
func (v *variable) definition() (*expression, hcl.Range) {
	if v.free != nil {
		return v.free.expr, v.free.expr.Range()
	}
	if a := v.block.named("default"); a != nil {
		return a.expr, a.expr.Range()
	}
	return nil, v.block.rng
}

// declaration reads the type and the description of a block.
func (ev *evaluator) declaration(v *variable) bool {
	if a := v.block.named("description"); a != nil {
		val, diags := a.expr.src.Value(nil)
		if !diags.HasErrors() {
			val, _ = convert.Convert(val, cty.String)
		}
		if diags.HasErrors() || val == cty.NilVal || val.IsNull() || !val.IsKnown() {
			ev.rep.errorf(a.expr.Range(), "Unsuitable description", "The description of variable %q must be a literal string, without references.", v.name)
			return false
		}
		v.description = val.AsString()
	}
	a := v.block.named("type")
	if a == nil || v.free != nil {
		return true
	}
	t, diags := typeexpr.TypeConstraint(a.expr.src)
	if diags.HasErrors() {
		if null, nd := a.expr.src.Value(nil); !nd.HasErrors() && null.IsNull() {
			return true
		}
		for _, d := range diags {
			own := *d
			own.Detail += " This is in the type of variable \"" + v.name + "\". Types are string, number, bool, any, list(T), set(T), map(T), tuple([T, …]) and object({ KEY = T, … })."
			ev.rep.add(&own)
		}
		return false
	}
	v.typ = t
	v.typed = t != cty.DynamicPseudoType || hcl.ExprAsKeyword(a.expr.src) == "any"
	return true
}

// validate checks the rules of all variables.
func (ev *evaluator) validate() {
	for _, b := range ev.mod.variables {
		v := ev.vars[b.label]
		if v == nil || v.block != b || v.state != done {
			continue
		}
		for _, rule := range b.nested {
			ev.check(v, rule)
		}
	}
}

func (ev *evaluator) check(v *variable, rule *block) {
	who := whom{kind: "validation of variable", name: v.name}
	cond, message := rule.named("condition"), rule.named("error_message")
	if cond == nil {
		ev.rep.errorf(rule.rng, "Missing condition", "The validation of variable %q has no condition. Add condition = …, which must be true.", v.name)
		return
	}
	val, ok := ev.eval(cond.expr, nil, who)
	if !ok {
		return
	}
	b, err := convert.Convert(val, cty.Bool)
	if err != nil || b.IsNull() || !b.IsKnown() {
		ev.rep.errorf(cond.expr.Range(), "Unsuitable condition", "The condition of variable %q must be true or false, but is %s.", v.name, describe(val))
		return
	}
	if b.True() {
		return
	}
	text := "The condition does not hold."
	if message != nil {
		m, ok := ev.eval(message.expr, nil, who)
		if !ok {
			return
		}
		if s, err := convert.Convert(m, cty.String); err == nil && !s.IsNull() && s.IsKnown() && !tooGreat(m) {
			text = s.AsString()
		} else {
			ev.rep.errorf(message.expr.Range(), "Unsuitable message", "The error message of variable %q must be a string, but is %s.", v.name, describe(m))
		}
	}
	ev.rep.errorf(cond.expr.Range(), "Validation failed", "%s Variable %q is %s, from %s.", strings.TrimSpace(text), v.name, describe(v.val), strings.Replace(v.origin, "default", "its default", 1))
}

// list returns the variables of the blocks as `kiln list` shows them.
func (ev *evaluator) listVariables() []*Variable {
	var out []*Variable
	for _, b := range ev.mod.variables {
		v := ev.vars[b.label]
		if v == nil || v.block != b || v.state != done {
			continue
		}
		item := &Variable{Name: v.name, Description: v.description, Null: v.val.IsNull(), Origin: v.origin, DeclRange: b.rng}
		if v.typed {
			item.Type = v.typ.FriendlyNameForConstraint()
		}
		if !item.Null {
			item.Value = v.words()
		}
		out = append(out, item)
	}
	return out
}

// words writes a value as bake lists it: primitives bare, others as JSON, a
// string of a declared type as JSON without its quotes.
func (v *variable) words() string {
	if !v.typed && v.val.Type().IsPrimitiveType() {
		s, err := convert.Convert(v.val, cty.String)
		if err != nil {
			return ""
		}
		return s.AsString()
	}
	typ := v.typ
	if !v.typed {
		typ = v.val.Type()
	}
	b, err := ctyjson.Marshal(v.val, typ)
	if err != nil {
		return ""
	}
	if typ == cty.String {
		return strings.Trim(string(b), `"`)
	}
	return string(b)
}
