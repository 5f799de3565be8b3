package diag

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// maxValue is how many characters of a value are shown.
const maxValue = 60

// values returns lines that tell what the names in the diagnostic's expression
// stood for: `with TAG = "1.2"`.
func values(d *hcl.Diagnostic) []string {
	if d.Expression == nil || d.EvalContext == nil {
		return nil
	}
	var out []string
	for _, v := range d.Expression.Variables() {
		val, diags := v.TraverseAbs(d.EvalContext)
		if diags.HasErrors() {
			continue
		}
		line := fmt.Sprintf("with %s = %s", name(v), shown(name(v), val))
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

// name writes a traversal as the file has it.
func name(t hcl.Traversal) string {
	var b strings.Builder
	for _, step := range t {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			b.WriteString(step.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + step.Name)
		case hcl.TraverseIndex:
			fmt.Fprintf(&b, "[%s]", shown("", step.Key))
		}
	}
	return b.String()
}

// shown returns a value in the notation of build files, cut; of a collection
// only its kind and size, and of what is sensitive nothing.
func shown(name string, v cty.Value) string {
	if v.IsMarked() || sensitive(name) {
		return "(hidden)"
	}
	ty := v.Type()
	switch {
	case !v.IsKnown():
		return "(not known)"
	case v.IsNull():
		return "null"
	case ty == cty.String:
		s := []rune(v.AsString())
		if len(s) > maxValue {
			return fmt.Sprintf("%q...", Redact(string(s[:maxValue])))
		}
		return fmt.Sprintf("%q", Redact(string(s)))
	case ty == cty.Bool:
		return fmt.Sprint(v.True())
	case ty == cty.Number:
		return v.AsBigFloat().Text('f', -1)
	case ty.IsCollectionType(), ty.IsTupleType(), ty.IsObjectType():
		return fmt.Sprintf("(%s of %d)", kind(ty), v.LengthInt())
	}
	return "(" + ty.FriendlyName() + ")"
}

func kind(ty cty.Type) string {
	switch {
	case ty.IsTupleType(), ty.IsListType():
		return "list"
	case ty.IsSetType():
		return "set"
	}
	return "map"
}
