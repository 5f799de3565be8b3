package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// An expression is the right side of an attribute, with what its evaluation
// needs to know beforehand, found out once.
type expression struct {
	src hcl.Expression       // as parsed: for type words and parameter names
	syn hclsyntax.Expression // what is evaluated; nil until prepared if src is JSON

	prepared bool
	err      hcl.Diagnostics // a JSON string that is no template
	static   bool            // refers to nothing: val is its value
	ahead    bool            // val is its value outside a matrix and variants
	val      cty.Value
	roots    []string        // names of variables that it refers to, each once
	deep     []hcl.Traversal // what it refers to below target, group and git
}

func newExpression(e hcl.Expression) *expression {
	x := &expression{src: e}
	x.syn, _ = e.(hclsyntax.Expression)
	return x
}

// literal is an expression with a value that is known beforehand.
func literal(v cty.Value, rng hcl.Range) *expression {
	e := &hclsyntax.LiteralValueExpr{Val: v, SrcRange: rng}
	return &expression{src: e, syn: e, prepared: true, static: true, val: v}
}

func (x *expression) Range() hcl.Range { return x.src.Range() }

// prepare finds out what x refers to, and has its evaluation charged to m.
func (x *expression) prepare(m *meter) {
	if x.prepared {
		return
	}
	x.prepared = true
	if !x.native() {
		return
	}
	if isLiteral(x.syn) {
		v, diags := x.syn.Value(nil)
		if x.static = !diags.HasErrors(); x.static {
			x.val = v
			return
		}
	}
	var s survey
	s.walk(x.syn)
	for _, ref := range s.refs {
		x.note(ref)
	}
	m.charge(&s)
}

// native sees to it that x has the native syntax. Before prepare the tree can
// be walked; after it the meters hide parts of it.
func (x *expression) native() bool {
	if x.syn == nil && x.err == nil {
		x.syn, x.err = nativeOf(x.src)
	}
	return !x.err.HasErrors()
}

func (x *expression) note(ref hcl.Traversal) {
	root := ref.RootName()
	if root == "target" || root == "group" || root == "git" {
		x.deep = append(x.deep, ref)
		return
	}
	for _, r := range x.roots {
		if r == root {
			return
		}
	}
	x.roots = append(x.roots, root)
}

// isLiteral reports whether e is made of literals alone.
func isLiteral(e hclsyntax.Expression) bool {
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return true
	case *hclsyntax.TemplateExpr:
		return all(e.Parts) && !slices.ContainsFunc(e.Parts, func(p hclsyntax.Expression) bool {
			l, ok := p.(*hclsyntax.LiteralValueExpr)
			return !ok || tooGreat(l.Val)
		})
	case *hclsyntax.TupleConsExpr:
		return all(e.Exprs)
	case *hclsyntax.ObjectConsExpr:
		for _, it := range e.Items {
			if !isLiteral(it.KeyExpr) || !isLiteral(it.ValueExpr) {
				return false
			}
		}
		return true
	case *hclsyntax.ObjectConsKeyExpr:
		return !e.ForceNonLiteral && hcl.ExprAsKeyword(e.Wrapped) != "" || isLiteral(e.Wrapped)
	}
	return false
}

func all(es []hclsyntax.Expression) bool {
	for _, e := range es {
		if !isLiteral(e) {
			return false
		}
	}
	return true
}

// nativeOf turns an expression of a JSON file into one of the native syntax,
// where its strings are templates, parsed here once instead of at each use.
func nativeOf(e hcl.Expression) (hclsyntax.Expression, hcl.Diagnostics) {
	if items, diags := hcl.ExprList(e); !diags.HasErrors() {
		out := &hclsyntax.TupleConsExpr{SrcRange: e.Range(), OpenRange: e.StartRange()}
		for _, it := range items {
			n, diags := nativeOf(it)
			if diags.HasErrors() {
				return nil, diags
			}
			out.Exprs = append(out.Exprs, n)
		}
		return out, nil
	}
	if pairs, diags := hcl.ExprMap(e); !diags.HasErrors() {
		return nativeObject(e, pairs)
	}
	v, diags := e.Value(nil)
	if diags.HasErrors() {
		return nil, diags
	}
	if v.Type() == cty.String && !v.IsNull() && hasTemplate(v.AsString()) {
		return parseTemplate(v.AsString(), e.Range())
	}
	return &hclsyntax.LiteralValueExpr{Val: v, SrcRange: e.Range()}, nil
}

func nativeObject(e hcl.Expression, pairs []hcl.KeyValuePair) (hclsyntax.Expression, hcl.Diagnostics) {
	out := &hclsyntax.ObjectConsExpr{SrcRange: e.Range(), OpenRange: e.StartRange()}
	for _, p := range pairs {
		k, diags := nativeOf(p.Key)
		if diags.HasErrors() {
			return nil, diags
		}
		v, diags := nativeOf(p.Value)
		if diags.HasErrors() {
			return nil, diags
		}
		key := &hclsyntax.ObjectConsKeyExpr{Wrapped: k, ForceNonLiteral: true}
		out.Items = append(out.Items, hclsyntax.ObjectConsItem{KeyExpr: key, ValueExpr: v})
	}
	return out, nil
}

func hasTemplate(s string) bool { return strings.Contains(s, "${") || strings.Contains(s, "%{") }

// parseTemplate parses the text of a JSON string whose range, quotes
// included, is rng. Positions inside are exact unless the string has escapes.
func parseTemplate(s string, rng hcl.Range) (hclsyntax.Expression, hcl.Diagnostics) {
	start := rng.Start
	start.Byte++
	start.Column++
	if d := tooDeepTemplate(s, rng); d != nil {
		return nil, hcl.Diagnostics{d}
	}
	return hclsyntax.ParseTemplate([]byte(s), rng.Filename, start)
}
