package config

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Overrides of variables: from --var or the environment, as text or JSON.

// An outside value is one that a variable is given from outside the files.
type outside struct {
	text   string
	json   bool   // it was found under the name with _JSON
	origin string // "--var", "environment NAME"
}

// overriding finds the value that overrides a variable; nil if there is none.
func (ev *evaluator) overriding(v *variable) *outside {
	o := ev.lookup(v.name)
	if o != nil && !v.typed {
		return o
	}
	name := v.name + "_JSON"
	if ev.vars[name] != nil && (ev.vars[name].block != nil || ev.vars[name].builtin) {
		return o
	}
	if j := ev.lookup(name); j != nil {
		j.json = true
		return j
	}
	return o
}

func (ev *evaluator) lookup(name string) *outside {
	if s, ok := ev.in.Vars[name]; ok {
		return &outside{text: s, origin: "--var " + name}
	}
	if s, ok := ev.in.Env[name]; ok {
		return &outside{text: s, origin: "environment variable " + name}
	}
	return nil
}

// convertOverride converts an outside value to the declared type, or to that
// of the default.
func (ev *evaluator) convertOverride(v *variable, o *outside, def cty.Value) (cty.Value, bool) {
	val, err := convertOutside(v, o, def)
	if err == nil {
		return val, true
	}
	want := "variable \"" + v.name + "\""
	if v.typed {
		want += ", which has the type " + strings.TrimSuffix(v.typ.FriendlyNameForConstraint(), " type")
	}
	ev.rep.errorf(v.block.rng, "Unsuitable override", "The value %q, from %s, does not fit %s: %v.", clip(o.text), o.origin, want, err)
	return cty.NilVal, false
}

func convertOutside(v *variable, o *outside, def cty.Value) (cty.Value, error) {
	typ := v.typ
	switch {
	case v.typed && o.json:
		val, err := fromJSON(o.text, typ)
		if err != nil {
			return cty.NilVal, fmt.Errorf("it is not JSON of that type: %w", err)
		}
		return val, nil
	case typ.IsListType(), typ.IsSetType(), typ.IsTupleType(), typ.IsMapType():
		return fromCSV(v.name, o.text, typ)
	case v.typed && typ.IsPrimitiveType():
		return fromText(o.text, typ)
	case v.typed && typ == cty.DynamicPseudoType:
		return cty.NilVal, fmt.Errorf("a variable of type any cannot be set from outside; declare a type that says more")
	case v.typed:
		return cty.NilVal, fmt.Errorf("an object can be given only as JSON, in %s_JSON", v.name)
	case def == cty.NilVal, def.Type() == cty.DynamicPseudoType:
		return cty.StringVal(o.text), nil
	case def.Type().IsPrimitiveType():
		return fromText(o.text, def.Type())
	}
	hint := "type = list(string)"
	if def.Type().IsObjectType() {
		hint = "type = map(string)"
	}
	return cty.NilVal, fmt.Errorf("its default is %s and it declares no type, so there is no telling how to read text; add %s", describe(def), hint)
}

// fromJSON reads JSON as a value of a type. The library panics on some input,
// as a tuple with elements too few.
func fromJSON(s string, typ cty.Type) (val cty.Value, err error) {
	defer func() {
		if recover() != nil {
			val, err = cty.NilVal, fmt.Errorf("the value has another form")
		}
	}()
	if tooDeepJSON(File{Data: []byte(s)}) != nil {
		return cty.NilVal, fmt.Errorf("it is nested too deeply")
	}
	return ctyjson.Unmarshal([]byte(s), typ)
}

// fromText reads text as a primitive type.
func fromText(s string, typ cty.Type) (cty.Value, error) {
	switch typ {
	case cty.String:
		return cty.StringVal(s), nil
	case cty.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return cty.NilVal, fmt.Errorf("a bool is true, false, 1, 0, t or f")
		}
		return cty.BoolVal(b), nil
	case cty.Number:
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return cty.NilVal, fmt.Errorf("a number is needed, as 10, 1.5 or 1e3")
		}
		return cty.NumberVal(big.NewFloat(n)), nil
	}
	return cty.NilVal, fmt.Errorf("text cannot be read as %s", typ.FriendlyName())
}

// fromCSV reads one CSV record as a collection of primitive values.
func fromCSV(name, s string, typ cty.Type) (cty.Value, error) {
	if s == "" {
		return cty.NilVal, fmt.Errorf("empty text is no list of values; to empty it set %s_JSON to %s", name, emptyJSON(typ))
	}
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return cty.NilVal, fmt.Errorf("it cannot be split at its commas: %w", err)
	}
	if typ.IsTupleType() {
		return tupleFromCSV(name, fields, typ.TupleElementTypes())
	}
	elem := typ.ElementType()
	if !elem.IsPrimitiveType() {
		return cty.NilVal, fmt.Errorf("a value of this type can be given only as JSON, in %s_JSON", name)
	}
	if typ.IsMapType() {
		return mapFromCSV(fields, elem)
	}
	vals := make([]cty.Value, len(fields))
	for i, f := range fields {
		if vals[i], err = fromText(f, elem); err != nil {
			return cty.NilVal, fmt.Errorf("its part %q does not fit: %w", f, err)
		}
	}
	if typ.IsSetType() {
		return cty.SetVal(vals), nil
	}
	return cty.ListVal(vals), nil
}

func emptyJSON(typ cty.Type) string {
	if typ.IsMapType() {
		return "{}"
	}
	return "[]"
}

func tupleFromCSV(name string, fields []string, types []cty.Type) (cty.Value, error) {
	if len(fields) != len(types) {
		return cty.NilVal, fmt.Errorf("%d values are needed, separated by commas, but there are %d", len(types), len(fields))
	}
	vals := make([]cty.Value, len(fields))
	for i, f := range fields {
		if !types[i].IsPrimitiveType() {
			return cty.NilVal, fmt.Errorf("a value of this type can be given only as JSON, in %s_JSON", name)
		}
		v, err := fromText(f, types[i])
		if err != nil {
			return cty.NilVal, fmt.Errorf("its part %q does not fit: %w", f, err)
		}
		vals[i] = v
	}
	return cty.TupleVal(vals), nil
}

func mapFromCSV(fields []string, elem cty.Type) (cty.Value, error) {
	p := csvvalue.Parser{Comma: ':'}
	m := make(map[string]cty.Value, len(fields))
	for _, f := range fields {
		kv, err := p.Fields(f, nil)
		if err != nil || len(kv) != 2 {
			return cty.NilVal, fmt.Errorf("its part %q is not of the form key:value, with one colon", f)
		}
		if m[kv[0]], err = fromText(kv[1], elem); err != nil {
			return cty.NilVal, fmt.Errorf("its part %q does not fit: %w", f, err)
		}
	}
	return cty.MapVal(m), nil
}
