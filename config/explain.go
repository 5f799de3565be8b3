package config

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// What is wrong with an expression, in the words of build files.

// A missingRef is something that an expression refers to and that is not
// there. That is no error by itself: try and can may catch it.
type missingRef struct {
	root string        // an unknown variable; "" for others
	ref  hcl.Traversal // otherwise
	why  string        // for others: what is wrong
	head string        // summary
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
		own.Detail = strings.TrimSpace(own.Detail) + nulls(d)
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
	e := d.Expression
	if m, ok := e.(*meteredExpr); ok {
		e = m.Expression
	}
	if e == nil {
		return nil
	}
	return e.Variables()
}

// nulls says which of the values that failed together are null, as HCL does
// not name them.
func nulls(d *hcl.Diagnostic) string {
	if d.EvalContext == nil {
		return ""
	}
	var names []string
	for _, ref := range exprRefs(d) {
		if v, diags := ref.TraverseAbs(d.EvalContext); !diags.HasErrors() && v.IsNull() {
			names = append(names, spelled(ref))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " Here " + list(names) + " is null."
}

// spelled gives a traversal as it stands in a file.
func spelled(ref hcl.Traversal) string {
	var b strings.Builder
	for i, s := range ref {
		switch s := s.(type) {
		case hcl.TraverseRoot:
			b.WriteString(s.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + s.Name)
		case hcl.TraverseIndex:
			if name, ok := step(ref, i); ok {
				fmt.Fprintf(&b, "[%q]", name)
			} else {
				b.WriteString("[" + strings.TrimPrefix(describe(s.Key), "the number ") + "]")
			}
		}
	}
	return b.String()
}

func (ev *evaluator) missingDiag(m *missingRef, d *hcl.Diagnostic, who whom) *hcl.Diagnostic {
	if m.root != "" {
		hint := ev.rep.near(m.root, ev.variableNames)
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
