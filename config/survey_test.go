package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// TestSurveyFindsWhatHCLFinds compares the references, loops and templates
// that a survey finds with what hclsyntax's own walks find.
func TestSurveyFindsWhatHCLFinds(t *testing.T) {
	for _, text := range []string{
		`1`, `a`, `a.b["c"]`, `"x${a}y${b.c}"`, `"${a}"`, `[a, b, a]`, `{ a = b, "c" = d, (e) = f, "${g}" = h, i.j = k }`,
		`f(a, g(b)...)`, `[for x in y : x + z]`, `{ for k, v in m : "${k}-${w}" => [for k in v : k] if v != u }`,
		`a ? b : (c)`, `!a && -b < c[d.e]`, `f(a).b`, `a.*.b`, `a[*].b[c]`, `f(a)[*].b`,
		"<<E\n%{ for i, x in xs ~}\n${i}${x}${y}\n%{ endfor }%{ if c }${d}%{ else }e%{ endif }\nE\n",
		`[for x in [for x in x : x] : [for y in x : "${y}${x}"]]`,
	} {
		e, diags := hclsyntax.ParseExpression([]byte(text), "build.hcl", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", text, diags)
		}
		var s survey
		s.walk(e)
		if diff := cmp.Diff(ranges(e.Variables()), ranges(s.refs)); diff != "" {
			t.Errorf("%s: references (-hclsyntax +survey):\n%s", text, diff)
		}
		loops, templates := 0, 0
		_ = hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
			switch n.(type) {
			case *hclsyntax.ForExpr:
				loops++
			case *hclsyntax.TemplateExpr:
				templates++
			}
			return nil
		})
		if len(s.loops) != loops || len(s.templates) != templates {
			t.Errorf("%s: %d loops and %d templates, want %d and %d", text, len(s.loops), len(s.templates), loops, templates)
		}
	}
}

func ranges(refs []hcl.Traversal) []string {
	var out []string
	for _, r := range refs {
		out = append(out, r.RootName()+" "+r.SourceRange().String())
	}
	return out
}
