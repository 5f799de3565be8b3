package config

import (
	"sync/atomic"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Loops and templates are charged to the same allowance as functions (see
// funcs_limit.go), so that no file can make a value that fills the memory or
// a loop that runs for hours.

// iterationCost is what one turn of a loop costs, in the units of spent.
const iterationCost = 1024

// A meter charges expressions, and tells only once that there is no more.
type meter struct {
	spent *spent
	told  atomic.Bool
}

// A metered expression is the body of a loop or a part of a template.
type meteredExpr struct {
	hclsyntax.Expression
	meter *meter
	each  float64 // units of one evaluation, beside those of the value
	text  bool    // the value becomes text
}

func (m *meteredExpr) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	if err := m.meter.spent.charge(m.each); err != nil {
		return m.refuse(ctx)
	}
	v, diags := m.Expression.Value(ctx)
	if diags.HasErrors() || !m.text {
		return v, diags
	}
	if err := m.meter.spent.charge(4 * weigh(v)); err != nil {
		return m.refuse(ctx)
	}
	return wholeText(v), diags
}

func (m *meteredExpr) refuse(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	if m.meter.told.Swap(true) {
		return cty.DynamicVal, nil
	}
	rng := m.Range()
	return cty.DynamicVal, hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: "Too much work", Subject: &rng, Expression: m.Expression, EvalContext: ctx,
		Detail: "Evaluating this would take too much memory or time: all that the expressions of a set of files yield may be 256 MiB, and a number at most 39,000 digits long.",
	}}
}

// charge puts meters into the loops and templates that a survey found.
func (m *meter) charge(s *survey) {
	for _, f := range s.loops {
		f.ValExpr = &meteredExpr{Expression: f.ValExpr, meter: m, each: iterationCost}
		if f.CondExpr != nil {
			f.CondExpr = &meteredExpr{Expression: f.CondExpr, meter: m, each: iterationCost / 4}
		}
	}
	for _, t := range s.templates {
		for i, p := range t.Parts {
			if l, ok := p.(*hclsyntax.LiteralValueExpr); !ok || l.Val.Type() != cty.String {
				t.Parts[i] = &meteredExpr{Expression: p, meter: m, each: 16, text: true}
			}
		}
	}
}
