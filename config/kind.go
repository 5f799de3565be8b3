package config

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// A kind is a type of attribute values: how a value of the language becomes
// one of Go, how two of them are merged, and how it is seen by expressions
// that refer to it.
type kind struct {
	words  string // as the reference and diagnostics say it
	strict bool   // null is an error instead of "not set"
	fit    func(f *fitting, v cty.Value) any
	join   func(lower, upper any) any           // for the rules that keep the lower layer; the result is new
	tidy   func(v any) any                      // after merging: drops repeats
	value  func(v any) cty.Value                // v is nil if the attribute is not set
	parse  func(f *fitting, items []string) any // values of --set
}

// A fitting is the work of making one value fit an attribute, and whom to
// blame if it does not.
type fitting struct {
	rep    *report
	whose  whom // the target or group
	attr   string
	x      *expression // nil for --set
	rng    hcl.Range
	base   *pathBase
	places map[string]hcl.Range // of the values of an object, by key, once wanted
	failed bool
}

// failf reports that the value, or what is at rng in it, does not fit.
func (f *fitting) failf(rng hcl.Range, format string, args ...any) {
	f.failed = true
	f.rep.errorf(rng, "Unsuitable value", "Attribute %q of %s: %s", f.attr, f.whose, fmt.Sprintf(format, args...))
}

// place is the range of the i-th element if it is written out, or of all.
func (f *fitting) place(i int) hcl.Range {
	if f.x != nil {
		if t, ok := f.x.syn.(*hclsyntax.TupleConsExpr); ok && i < len(t.Exprs) {
			return t.Exprs[i].Range()
		}
	}
	return f.rng
}

// placeOf is the range of a key's value if it is written out, or of all.
func (f *fitting) placeOf(key string) hcl.Range {
	if f.places == nil {
		f.places = map[string]hcl.Range{}
		if f.x != nil {
			f.notePlaces()
		}
	}
	if rng, ok := f.places[key]; ok {
		return rng
	}
	return f.rng
}

func (f *fitting) notePlaces() {
	obj, ok := f.x.syn.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return
	}
	for _, it := range obj.Items {
		k, diags := it.KeyExpr.Value(nil)
		if !diags.HasErrors() && k.Type() == cty.String && k.IsKnown() && !k.IsNull() {
			f.places[k.AsString()] = it.ValueExpr.Range()
		}
	}
}

var textKind = &kind{
	words: "string",
	fit: func(f *fitting, v cty.Value) any {
		s, ok := f.text(v, f.rng, "")
		if !ok {
			return nil
		}
		return s
	},
	value: textValue,
}

// describeKind is a text that does not count when it is empty.
var describeKind = &kind{
	words:  "string",
	strict: true,
	fit: func(f *fitting, v cty.Value) any {
		if s, ok := f.text(v, f.rng, ""); ok && s != "" {
			return s
		}
		return nil
	},
	value: func(v any) cty.Value {
		if v == nil {
			return cty.StringVal("")
		}
		return textValue(v)
	},
}

var boolKind = &kind{
	words: "bool",
	fit: func(f *fitting, v cty.Value) any {
		b, err := convert.Convert(v, cty.Bool)
		if err != nil || !b.IsKnown() {
			f.failf(f.rng, "a bool is needed, true or false, but this is %s.", describe(v))
			return nil
		}
		return b.True()
	},
	value: func(v any) cty.Value {
		if v == nil {
			return cty.NullVal(cty.Bool)
		}
		return cty.BoolVal(v.(bool))
	},
}

var listKind = &kind{
	words: "list of strings",
	fit:   fitList,
	join:  func(lower, upper any) any { return slices.Concat(lower.([]string), upper.([]string)) },
	tidy:  func(v any) any { return withoutRepeats(v.([]string)) },
	value: func(v any) cty.Value {
		if v == nil {
			return cty.NullVal(cty.List(cty.String))
		}
		return stringList(v.([]string))
	},
	parse: func(_ *fitting, items []string) any { return items },
}

var mapKind = &kind{
	words: "map of strings",
	fit:   func(f *fitting, v cty.Value) any { return fitMap(f, v, true) },
	join:  joinMaps,
	value: mapValue,
}

// matrixKind is decoded by the expansion of the matrix itself.
var matrixKind = &kind{words: "map of lists", value: func(any) cty.Value { return cty.NullVal(cty.DynamicPseudoType) }}

// text converts v to a string. What names a part of the attribute's value,
// as "entry 2"; "" is the whole.
func (f *fitting) text(v cty.Value, rng hcl.Range, what string) (string, bool) {
	v = wholeText(v)
	if v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
		return v.AsString(), true
	}
	need := "a string is needed, but this is %s."
	if what != "" {
		need = what + " must be a string, but is %s."
	}
	if tooGreat(v) {
		f.failf(rng, "the number is too great to be written out.")
		return "", false
	}
	s, err := convert.Convert(v, cty.String)
	if err != nil || s.IsNull() || !s.IsKnown() {
		f.failf(rng, need, describe(v))
		return "", false
	}
	return s.AsString(), true
}

// wholeText returns the text of a whole number that fits 64 bits, and other
// values as they are. The general conversion gives the same text, but needs a
// quarter of a millisecond for it, since numbers are 512 bits wide.
func wholeText(v cty.Value) cty.Value {
	if v.IsMarked() || v.Type() != cty.Number || !v.IsKnown() || v.IsNull() {
		return v
	}
	n, accuracy := v.AsBigFloat().Int64()
	if accuracy != big.Exact || n == 0 { // there is a negative zero
		return v
	}
	return cty.StringVal(strconv.FormatInt(n, 10))
}

// tooGreat reports whether writing a number out would take too long.
func tooGreat(v cty.Value) bool {
	if v.Type() != cty.Number || !v.IsKnown() || v.IsNull() {
		return false
	}
	e := v.AsBigFloat().MantExp(nil)
	return e > numberBits || e < -numberBits
}

// describe says what a value is: `the string "x"`, `null`, "an object".
func describe(v cty.Value) string {
	switch {
	case v == cty.NilVal:
		return "nothing"
	case v.IsNull():
		return "null"
	case !v.IsKnown():
		return "not known"
	}
	switch t := v.Type(); {
	case t == cty.String:
		return fmt.Sprintf("the string %q", clip(v.AsString()))
	case t == cty.Number && !tooGreat(v), t == cty.Bool:
		s, err := convert.Convert(v, cty.String)
		if err != nil {
			return "a " + t.FriendlyName()
		}
		return "the " + t.FriendlyName() + " " + clip(s.AsString())
	case t.IsTupleType(), t.IsListType():
		return "a list"
	case t.IsObjectType():
		return "an object"
	default:
		return "a " + t.FriendlyName()
	}
}

// clip shortens a value for a message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// elements returns the elements of a list, tuple or set.
func (f *fitting) elements(v cty.Value) ([]cty.Value, bool) {
	t := v.Type()
	if v.IsKnown() && (t.IsTupleType() || t.IsListType() || t.IsSetType()) {
		if v.LengthInt() == 0 {
			return nil, true
		}
		return v.AsValueSlice(), true
	}
	hint := ""
	if t == cty.String && v.IsKnown() && !v.IsNull() {
		hint = fmt.Sprintf(" Write [%q].", clip(v.AsString()))
	}
	f.failf(f.rng, "a %s is needed, but this is %s.%s", "list", describe(v), hint)
	return nil, false
}

func fitList(f *fitting, v cty.Value) any {
	elems, ok := f.elements(v)
	if !ok {
		return nil
	}
	out := make([]string, 0, len(elems))
	for i, e := range elems {
		if s, ok := f.text(e, f.place(i), fmt.Sprintf("entry %d", i+1)); ok {
			out = append(out, s)
		}
	}
	return out
}

// fitMap returns the pairs of an object or map by key. Nulls are left out.
func fitMap(f *fitting, v cty.Value, nulls bool) any {
	t := v.Type()
	if !v.IsKnown() || !t.IsObjectType() && !t.IsMapType() {
		f.failf(f.rng, "a map is needed, as { KEY = \"value\" }, but this is %s.", describe(v))
		return nil
	}
	out := make([]KeyValue, 0, v.LengthInt())
	for it := v.ElementIterator(); it.Next(); { // by key in ascending order
		k, e := it.Element()
		key := k.AsString()
		if e.IsNull() && nulls {
			continue
		}
		if e.Type() == cty.String && e.IsKnown() && !e.IsNull() {
			out = append(out, KeyValue{key, e.AsString()})
		} else if s, ok := f.text(e, f.placeOf(key), strconv.Quote(key)); ok {
			out = append(out, KeyValue{key, s})
		}
	}
	return out
}

// joinMaps merges two lists of pairs, each in ascending order of keys.
func joinMaps(lower, upper any) any {
	return overlay(lower.([]KeyValue), upper.([]KeyValue), func(kv KeyValue) string { return kv.Key })
}

// overlay merges two lists that are sorted by key. Of two entries with one
// key the upper list's is taken.
func overlay[E any](lower, upper []E, key func(E) string) []E {
	out := make([]E, 0, len(lower)+len(upper))
	for len(lower) > 0 && len(upper) > 0 {
		switch strings.Compare(key(lower[0]), key(upper[0])) {
		case -1:
			out, lower = append(out, lower[0]), lower[1:]
		case 0:
			lower = lower[1:]
		default:
			out, upper = append(out, upper[0]), upper[1:]
		}
	}
	return append(append(out, lower...), upper...)
}

// withoutRepeats drops empty strings and all but the first of equal ones. An
// empty list stays a list, as it clears what is inherited.
func withoutRepeats(in []string) []string {
	if len(in) < 2 && (len(in) == 0 || in[0] != "") {
		return in
	}
	out := make([]string, 0, len(in))
	var seen map[string]bool
	if len(in) > 8 {
		seen = make(map[string]bool, len(in))
	}
	for _, s := range in {
		if s == "" || seen[s] || seen == nil && slices.Contains(out, s) {
			continue
		}
		if seen != nil {
			seen[s] = true
		}
		out = append(out, s)
	}
	return out
}

func textValue(v any) cty.Value {
	if v == nil {
		return cty.NullVal(cty.String)
	}
	return cty.StringVal(v.(string))
}

func stringList(ss []string) cty.Value {
	if len(ss) == 0 {
		return cty.ListValEmpty(cty.String)
	}
	vals := make([]cty.Value, len(ss))
	for i, s := range ss {
		vals[i] = cty.StringVal(s)
	}
	return cty.ListVal(vals)
}

func mapValue(v any) cty.Value {
	if v == nil {
		return cty.NullVal(cty.Map(cty.String))
	}
	return stringMap(v.([]KeyValue))
}

func stringMap(kvs []KeyValue) cty.Value {
	if len(kvs) == 0 {
		return cty.MapValEmpty(cty.String)
	}
	m := make(map[string]cty.Value, len(kvs))
	for _, kv := range kvs {
		m[kv.Key] = cty.StringVal(kv.Value)
	}
	return cty.MapVal(m)
}
