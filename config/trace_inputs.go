package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// What expressions refer to. The trees that were evaluated have meters in
// them; these are read once more from the text.

// text is what stands in a file at a range; "" if that is no part of a file.
func (tr *Trace) text(rng hcl.Range) string {
	f := tr.ev.mod.files[rng.Filename]
	if f == nil || rng.Start.Byte >= rng.End.Byte || rng.End.Byte > len(f.Bytes) {
		return ""
	}
	return string(f.Bytes[rng.Start.Byte:rng.End.Byte])
}

// fresh is the tree of an expression as parsed; nil if there is none.
func (tr *Trace) fresh(x *expression) hclsyntax.Expression {
	if e, ok := tr.parsed[x]; ok {
		return e
	}
	var e hclsyntax.Expression
	if _, native := x.src.(hclsyntax.Expression); !native {
		e, _ = nativeOf(x.src)
	} else if text := tr.text(x.Range()); text != "" {
		e = reparsed(text, x.Range())
	}
	tr.parsed[x] = e
	return e
}

// reparsed parses the text of an expression that was parsed before. Its line
// breaks mean nothing within brackets, and it may be a heredoc, which needs
// the line to end.
func reparsed(text string, rng hcl.Range) hclsyntax.Expression {
	e, diags := hclsyntax.ParseExpression([]byte(text), rng.Filename, rng.Start)
	if diags.HasErrors() {
		e, diags = hclsyntax.ParseExpression([]byte(text+"\n"), rng.Filename, rng.Start)
	}
	if diags.HasErrors() {
		return nil
	}
	return e
}

// inputs lists what an expression refers to, each once, in the order of its
// mention.
func (tr *Trace) inputs(e hclsyntax.Expression, s *scope) []Input {
	return (&inputs{tr: tr, s: s, seen: map[string]bool{}}).of(e)
}

// inputs gathers what one expression refers to, also by way of others. What
// was met before is named again, but not opened.
type inputs struct {
	tr   *Trace
	s    *scope
	seen map[string]bool
}

func (in *inputs) of(e hclsyntax.Expression) []Input {
	var out []Input
	named := map[string]bool{}
	add := func(i Input) {
		if !named[i.Name] {
			named[i.Name] = true
			out = append(out, i)
		}
	}
	for _, ref := range e.Variables() {
		if !named[spelled(ref)] {
			add(in.reference(ref))
		}
	}
	for _, f := range in.tr.called(e) {
		add(in.function(f))
	}
	return out
}

// called lists the declared functions that an expression calls.
func (tr *Trace) called(e hclsyntax.Expression) []*userFunc {
	var out []*userFunc
	_ = hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		if c, ok := n.(*hclsyntax.FunctionCallExpr); ok && tr.ev.funcs[c.Name] != nil && !slices.Contains(out, tr.ev.funcs[c.Name]) {
			out = append(out, tr.ev.funcs[c.Name])
		}
		return nil
	})
	return out
}

func (in *inputs) function(f *userFunc) Input {
	out := Input{Name: f.name + "()", Origin: "function", Range: f.block.rng}
	if in.seen[out.Name] {
		return out
	}
	in.seen[out.Name] = true
	if e := in.tr.fresh(f.result); e != nil {
		inner := &inputs{tr: in.tr, seen: in.seen}
		for _, i := range inner.of(e) {
			if !slices.Contains(f.params, i.Name) && i.Name != f.variadic {
				out.Inputs = append(out.Inputs, i)
			}
		}
	}
	return out
}

func (in *inputs) reference(ref hcl.Traversal) Input {
	ev, root := in.tr.ev, ref.RootName()
	out := Input{Name: spelled(ref), Origin: "not there"}
	switch {
	case in.s.has(root):
		out.Origin = "matrix"
		if root == "variant" && in.s.variant != "" {
			out.Origin = "variant"
		}
		out.Value = valueAt(ref, in.s.ctx.Variables)
	case root == "target" || root == "group" || root == "git" && !ev.known("git"):
		vars, _, ok := ev.deepRefs([]hcl.Traversal{ref}, in.s)
		if !ok {
			return out
		}
		if out.Value = valueAt(ref, vars); out.Value != nil {
			out.Origin = root
		}
		out.Range = in.placeOf(ref)
	case ev.known(root) && ev.variable(root):
		in.variable(&out, ev.vars[root], ref)
	}
	return out
}

// placeOf is where the target or group that a reference names is declared.
func (in *inputs) placeOf(ref hcl.Traversal) hcl.Range {
	name, _ := step(ref, 1)
	ev := in.tr.ev
	if ref.RootName() == "group" {
		if g := ev.groups[name]; g != nil {
			return g.place()
		}
		return hcl.Range{}
	}
	variant := ""
	if in.s != nil {
		variant = in.s.variant
	}
	t, _ := ev.resolve(name, variant)
	if t == nil {
		return hcl.Range{}
	}
	attr, _ := step(ref, 2)
	if i, ok := attributeIndex[attr]; ok {
		if s := t.slot(i); s != nil && s.rng.Filename != "" {
			return s.rng
		}
	}
	return t.rng
}

func (in *inputs) variable(out *Input, v *variable, ref hcl.Traversal) {
	out.Value = valueAt(ref, map[string]cty.Value{v.name: v.val})
	out.Origin = v.origin
	if v.builtin {
		out.Origin = "built-in"
		return
	}
	out.Range = v.place()
	def, _ := v.definition()
	if def == nil && v.origin == "default" {
		out.Origin = "no default"
	}
	if def == nil || v.origin != "default" || in.seen[v.name] {
		return
	}
	in.seen[v.name] = true
	if e := in.tr.fresh(def); e != nil {
		out.Inputs = (&inputs{tr: in.tr, seen: in.seen}).of(e)
	}
}

// valueAt follows a reference as far as its value can be told.
func valueAt(ref hcl.Traversal, vars map[string]cty.Value) []byte {
	v, diags := ref.TraverseAbs(&hcl.EvalContext{Variables: vars})
	if diags.HasErrors() {
		return nil
	}
	if v.IsNull() {
		return []byte("null")
	}
	return jsonOf(v)
}

// detail adds to an entry what its layer writes for it: for a map that is
// written out the value of its key, else the whole layer.
func (tr *Trace) detail(a *AttributeTrace, e *Entry, m int) {
	of := &e.Layers[m]
	l := a.Layers[of.Layer].Layer
	of.Range, of.Expr, of.Inputs = l.Range, l.Expr, l.Inputs
	if l.compose != nil {
		tr.composeDetail(l, e, of)
		return
	}
	var part hclsyntax.Expression
	switch x := l.expr.(type) {
	case *hclsyntax.ObjectConsExpr:
		for _, it := range x.Items {
			k, diags := it.KeyExpr.Value(nil)
			if !diags.HasErrors() && k.Type() == cty.String && k.IsKnown() && !k.IsNull() && k.AsString() == e.Key {
				part = it.ValueExpr
			}
		}
	case *hclsyntax.TupleConsExpr:
		if e.Key == "" {
			part = elementOf(x, l.value, of.Value)
		}
	}
	if part != nil {
		of.Range, of.Expr, of.Inputs = part.Range(), tr.text(part.Range()), tr.inputs(part, l.scope)
	}
}

// elementOf is the expression of an element of a list that is written out,
// where each expression has given one element.
func elementOf(x *hclsyntax.TupleConsExpr, list cty.Value, want []byte) hclsyntax.Expression {
	elems := elementsOf(list)
	if len(elems) != len(x.Exprs) {
		return nil
	}
	for i, v := range elems {
		if string(jsonOf(v)) == string(want) {
			return x.Exprs[i]
		}
	}
	return nil
}
