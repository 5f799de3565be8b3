package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A survey is what an evaluation needs to know of an expression beforehand,
// gathered in one walk; hclsyntax would take two, and three times as long.
type survey struct {
	refs      []hcl.Traversal // as Variables of hclsyntax, in the same order
	loops     []*hclsyntax.ForExpr
	templates []*hclsyntax.TemplateExpr
	local     []string // names that the loops around set
}

func (s *survey) walk(e hclsyntax.Expression) {
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr, *hclsyntax.AnonSymbolExpr:
	case *hclsyntax.ScopeTraversalExpr:
		if !slices.Contains(s.local, e.Traversal.RootName()) {
			s.refs = append(s.refs, e.Traversal)
		}
	case *hclsyntax.TemplateExpr:
		s.templates = append(s.templates, e)
		s.all(e.Parts)
	case *hclsyntax.TupleConsExpr:
		s.all(e.Exprs)
	case *hclsyntax.ObjectConsExpr:
		for _, it := range e.Items {
			s.walk(it.KeyExpr)
			s.walk(it.ValueExpr)
		}
	case *hclsyntax.ObjectConsKeyExpr:
		if e.ForceNonLiteral || hcl.ExprAsKeyword(e.Wrapped) == "" {
			s.walk(e.Wrapped)
		}
	case *hclsyntax.FunctionCallExpr:
		s.all(e.Args)
	case *hclsyntax.ForExpr:
		s.loop(e)
	default:
		s.operator(e)
	}
}

func (s *survey) all(es []hclsyntax.Expression) {
	for _, e := range es {
		s.walk(e)
	}
}

func (s *survey) loop(e *hclsyntax.ForExpr) {
	s.loops = append(s.loops, e)
	s.walk(e.CollExpr)
	outer := len(s.local)
	s.local = append(s.local, e.ValVar)
	if e.KeyVar != "" {
		s.local = append(s.local, e.KeyVar)
	}
	for _, inner := range []hclsyntax.Expression{e.KeyExpr, e.ValExpr, e.CondExpr} {
		if inner != nil {
			s.walk(inner)
		}
	}
	s.local = s.local[:outer]
}

// operator walks through what is made of other expressions in a fixed way.
func (s *survey) operator(e hclsyntax.Expression) {
	switch e := e.(type) {
	case *hclsyntax.TemplateWrapExpr:
		s.walk(e.Wrapped)
	case *hclsyntax.TemplateJoinExpr:
		s.walk(e.Tuple)
	case *hclsyntax.ParenthesesExpr:
		s.walk(e.Expression)
	case *hclsyntax.ConditionalExpr:
		s.walk(e.Condition)
		s.walk(e.TrueResult)
		s.walk(e.FalseResult)
	case *hclsyntax.BinaryOpExpr:
		s.walk(e.LHS)
		s.walk(e.RHS)
	case *hclsyntax.UnaryOpExpr:
		s.walk(e.Val)
	case *hclsyntax.IndexExpr:
		s.walk(e.Collection)
		s.walk(e.Key)
	case *hclsyntax.RelativeTraversalExpr:
		s.walk(e.Source)
	case *hclsyntax.SplatExpr:
		s.walk(e.Source)
		s.walk(e.Each)
	}
}
