package config

import (
	"encoding/json"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Tracing: the way back from values to what was written. It looks at an
// evaluation that is over, when it is asked, so that loading pays nothing for it.

// A Trace answers where the values of a Config came from. It is not for use
// by several goroutines at once.
type Trace struct {
	ev     *evaluator
	cfg    *Config
	layers map[traced][]*Layer
	parsed map[*expression]hclsyntax.Expression

	places     map[string]composePlaces // by Compose file
	composeEnv map[string]string        // what those see; nil until it is asked for
}

// A traced attribute is one of one instance.
type traced struct {
	t *instance
	i int
}

// LoadTrace is Load, with a Trace of what it returns; nil if that is nil.
func LoadTrace(files []File, in Inputs) (*Config, *Trace, hcl.Diagnostics) {
	cfg, ev, diags := evaluated(files, in)
	if cfg == nil {
		return nil, nil, diags
	}
	return cfg, &Trace{ev: ev, cfg: cfg, layers: map[traced][]*Layer{}, parsed: map[*expression]hclsyntax.Expression{}, places: map[string]composePlaces{}}, diags
}

// A LayerKind says what sets a value.
type LayerKind string

// The kinds of layers.
const (
	LayerTarget   LayerKind = "target"      // a block of the target, or of one that it inherits from
	LayerVariant  LayerKind = "variant"     // a variant block, at the top level or in the target
	LayerOverride LayerKind = "override"    // --set, or a flag that is short for it
	LayerImplied  LayerKind = "implied"     // kiln adds it: Block says because of what
	LayerDefault  LayerKind = "default"     // of a variable: its block, or an attribute outside all blocks
	LayerOutside  LayerKind = "environment" // of a variable: --var or the environment
)

// A Layer is one place that sets an attribute or variable.
type Layer struct {
	Kind   LayerKind
	Owner  string          // the target it belongs to: the one asked for, or one that it inherits from; the variable
	Block  string          // `target "app"`, `variant "prod"`, "--set app.tags=x", "environment variable TAG"
	Range  hcl.Range       // of the attribute; without a line for what stands in no file
	Expr   string          // the value as written; "" in a Compose file, unless it is a text with variables, and outside of files
	Value  json.RawMessage // what it comes to; nil if it is null, which leaves what is below
	Inputs []Input         // what the expression refers to

	value  cty.Value
	adds   bool // it never replaces what is below, whatever the rule
	resets bool // it replaces what is below, whatever the rule
	expr   hclsyntax.Expression
	scope  *scope

	compose *composeText // nil outside of Compose files
}

// A Result is what became of a layer.
type Result string

// The results of layers.
const (
	ResultWon     Result = "won"     // all of it is in the value
	ResultPart    Result = "part"    // some of its entries are
	ResultCovered Result = "covered" // another layer stands in its place
	ResultNull    Result = "null"    // it is null and sets nothing
)

// A UsedLayer is a layer of one value, with what became of it there.
type UsedLayer struct {
	*Layer
	Result Result
}

// An Input is something that an expression refers to.
type Input struct {
	Name   string          // as written: "TAG", "target.app.tags", "git.short", "version"; a function with "()"
	Value  json.RawMessage // nil for a function, and for what is not there
	Origin string          // "default", "environment variable TAG", "--var TAG", "matrix", "variant", "built-in", "target", "group", "git", "function", "not there"; of a Compose file also ".env", "not set"
	Range  hcl.Range       // where it is declared; zero if it stands in no file
	Inputs []Input         // what its own expression refers to, where that gave the value
}

// An Entry is one element of a list, or one key of a map.
type Entry struct {
	Key    string // "" in a list
	Value  json.RawMessage
	Layers []EntryLayer // who sets it, lowest first; the last one won
}

// An EntryLayer is what one layer says of an entry.
type EntryLayer struct {
	Layer  int // index in AttributeTrace.Layers
	Value  json.RawMessage
	Range  hcl.Range // of the value where it is written out, else of the layer
	Expr   string    // likewise
	Inputs []Input   // likewise
}

// An AttributeTrace is how one attribute of a target got its value.
type AttributeTrace struct {
	Name    string
	Type    string          // in words
	Rule    string          // how layers are merged; "" if the attribute is not inherited
	Set     bool            // anything sets it
	Value   json.RawMessage // nil if it is not set
	Default string          // in words, what holds if it is not set; "" is nothing
	Layers  []UsedLayer     // lowest first
	Entries []Entry         // of a map, by key; of a list that several layers make, in its order
}

// Attribute traces an attribute of a target, both by name; nil if there is no
// such target or attribute.
func (tr *Trace) Attribute(target, attr string) *AttributeTrace {
	t := tr.ev.targets[target]
	i, ok := attributeIndex[attr]
	if t == nil || !ok {
		return nil
	}
	a := &attributes[i]
	out := &AttributeTrace{Name: a.name, Type: a.kind.words, Rule: string(a.rule), Default: a.def}
	layers := tr.of(t, i)
	final := tr.final(t, i, layers)
	if implied := tr.implied(t, i, final, layers); implied != nil {
		layers = append(slices.Clone(layers), implied)
	}
	out.Value = jsonOf(final)
	out.Set = out.Value != nil && len(layers) > 0
	if !out.Set {
		out.Value = nil
	}
	out.Layers, out.Entries = attributed(a, layers, final)
	for n := range out.Entries {
		for m := range out.Entries[n].Layers {
			tr.detail(out, &out.Entries[n], m)
		}
	}
	return out
}

// Attributes traces all attributes of a target that something sets, in the
// order of the table; nil if there is no such target.
func (tr *Trace) Attributes(target string) []*AttributeTrace {
	var out []*AttributeTrace
	for i := range attributes {
		if a := tr.Attribute(target, attributes[i].name); a != nil && len(a.Layers) > 0 {
			out = append(out, a)
		}
	}
	return out
}

// Parents lists the targets that a target inherits from itself, in order.
func (tr *Trace) Parents(target string) []string {
	t := tr.ev.targets[target]
	if t == nil {
		return nil
	}
	var out []string
	for _, p := range t.linked.parents {
		out = append(out, p.name)
	}
	return out
}

// Blocks counts the blocks that say something of a target itself: of its name
// in all files, and those of its variant.
func (tr *Trace) Blocks(target string) int {
	if t := tr.ev.targets[target]; t != nil {
		return len(t.own)
	}
	return 0
}

// final is the value of an attribute as expressions see it; null if it is
// not set.
func (tr *Trace) final(t *instance, i int, layers []*Layer) cty.Value {
	switch {
	case i == attrName:
		return cty.StringVal(t.name)
	case i == attrInherits:
		names, _ := tr.ev.ownNames(t, i)
		return listKind.value(boxed(names))
	case attributes[i].rule == ruleNone && len(layers) > 0:
		return layers[len(layers)-1].value
	case i == attrArgs && tr.cfg.Target(t.name) != nil && tr.cfg.Target(t.name).Args != nil:
		return mapValue(tr.cfg.Target(t.name).Args) // SOURCE_DATE_EPOCH among them
	}
	v, ok := tr.ev.merged(t, i)
	if !ok || v == nil {
		return cty.NullVal(cty.DynamicPseudoType)
	}
	return attributes[i].kind.value(v)
}

// implied is the layer of what kiln adds by itself; nil if it adds nothing.
func (tr *Trace) implied(t *instance, i int, final cty.Value, layers []*Layer) *Layer {
	has := func(v cty.Value) bool {
		return slices.ContainsFunc(layers, func(l *Layer) bool { return holds(l.value, v) })
	}
	switch i {
	case attrEntitlements:
		s := t.slot(attrNetwork)
		host := cty.StringVal("network.host")
		if s != nil && s.val == "host" && !has(host) {
			v := cty.ListVal([]cty.Value{host})
			return &Layer{Kind: LayerImplied, Block: `network = "host"`, Range: s.rng, Value: jsonOf(v), value: v}
		}
	case attrArgs:
		const name = "SOURCE_DATE_EPOCH"
		if v, ok := keyed(final, name); tr.ev.in.Epoch != "" && ok && !slices.ContainsFunc(layers, func(l *Layer) bool { _, ok := keyed(l.value, name); return ok }) {
			m := cty.MapVal(map[string]cty.Value{name: v})
			return &Layer{Kind: LayerImplied, Block: "environment variable " + name, Range: hcl.Range{Filename: "environment variable " + name}, Value: jsonOf(m), value: m}
		}
	}
	return nil
}

// jsonOf writes a value as JSON; nil for null and for what has no JSON.
func jsonOf(v cty.Value) json.RawMessage {
	if v == cty.NilVal || v.IsNull() || !v.IsWhollyKnown() {
		return nil
	}
	b, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return nil
	}
	return b
}

// elementsOf returns the elements of a list; nil for what is none.
func elementsOf(v cty.Value) []cty.Value {
	if v == cty.NilVal || v.IsNull() || !v.IsKnown() || !isList(v) || v.LengthInt() == 0 {
		return nil
	}
	return v.AsValueSlice()
}

// keyed returns what a map has under a key, unless that is null.
func keyed(v cty.Value, key string) (cty.Value, bool) {
	if v == cty.NilVal || v.IsNull() || !v.IsKnown() || !isMap(v) {
		return cty.NilVal, false
	}
	e, ok := member(v, key)
	return e, ok && !e.IsNull()
}

func isMap(v cty.Value) bool { return v.Type().IsMapType() || v.Type().IsObjectType() }

func isList(v cty.Value) bool {
	t := v.Type()
	return t.IsListType() || t.IsTupleType() || t.IsSetType()
}

// holds reports whether a list has an element.
func holds(list, v cty.Value) bool {
	return slices.ContainsFunc(elementsOf(list), func(e cty.Value) bool { return e.RawEquals(v) })
}
