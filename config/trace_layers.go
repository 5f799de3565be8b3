package config

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// The layers of an attribute, in the order in which merge lays them, and what
// became of each.

// of returns the layers of an attribute: those of the parents, each where it
// is laid last, the blocks of the target, what --set says.
func (tr *Trace) of(t *instance, i int) []*Layer {
	key := traced{t, i}
	if out, ok := tr.layers[key]; ok {
		return out
	}
	var out []*Layer
	if attributes[i].rule != ruleNone {
		for _, p := range t.linked.parents {
			out = append(out, tr.of(p, i)...)
		}
	}
	for _, l := range t.own {
		if a := l.b.attr(i); a != nil {
			out = append(out, tr.blockLayer(t, i, l, a))
		}
	}
	out = append(out, tr.overrides(t, i)...)
	out = lastOfEach(out)
	tr.layers[key] = out
	return out
}

// lastOfEach keeps of each layer its last place. What one block or flag says
// of several targets, parents among them, is one layer where it says the same.
func lastOfEach(in []*Layer) []*Layer {
	if len(in) < 2 {
		return in
	}
	type said struct {
		rng   hcl.Range
		block string
		value string
	}
	seen := make(map[said]bool, len(in))
	out := make([]*Layer, 0, len(in))
	for _, l := range slices.Backward(in) {
		key := said{l.Range, l.Block, string(l.Value)}
		if !seen[key] {
			seen[key] = true
			out = append(out, l)
		}
	}
	slices.Reverse(out)
	return out
}

// blockLayer is what a block says of an attribute.
func (tr *Trace) blockLayer(t *instance, i int, l layer, a *attrExpr) *Layer {
	out := &Layer{Kind: LayerTarget, Owner: t.name, Block: blockName(l.b), Range: a.rng, scope: l.scope}
	if l.b.kind == "variant" {
		out.Kind = LayerVariant
		if !slices.Contains(tr.ev.mod.variants, l.b) {
			out.Block = fmt.Sprintf("variant %q of target %q", l.b.label, t.label)
		}
	}
	out.value = tr.layerValue(t, i, l, a)
	out.Value = jsonOf(out.value)
	if l.b.composed() {
		tr.composed(out, attributes[i].name)
		return out
	}
	out.Expr = tr.text(a.expr.Range())
	if out.expr = tr.fresh(a.expr); out.expr != nil {
		out.Inputs = tr.inputs(out.expr, l.scope)
	}
	return out
}

func blockName(b *block) string { return b.kind + " " + strconv.Quote(b.label) }

// layerValue evaluates an attribute of one layer once more.
func (tr *Trace) layerValue(t *instance, i int, l layer, a *attrExpr) cty.Value {
	null := cty.NullVal(cty.DynamicPseudoType)
	if attributes[i].rule == ruleNone {
		s := l.scope
		if i == attrMatrix || i == attrVariants {
			s = nil
		}
		if v, ok := tr.ev.eval(a.expr, s, t.whose(i)); ok {
			return v
		}
		return null
	}
	v, ok := tr.ev.fit(t, i, l, a)
	if !ok || v == nil {
		return null
	}
	return attributes[i].kind.value(v)
}

// overrides returns a layer for each flag that sets the attribute.
func (tr *Trace) overrides(t *instance, i int) []*Layer {
	all := t.over[i]
	if all == nil {
		return nil
	}
	a := &attributes[i]
	keeps := all.append
	if a.set == setListAppend {
		keeps = !all.clear
	}
	var out []*Layer
	for n := range tr.ev.in.Overrides {
		o := &tr.ev.in.Overrides[n]
		key, ok := setKeyIndex[o.Key]
		if !ok || key.attr != i || wrongSetting(o, key, true) != "" || !slices.Contains(tr.ev.matching(o, hcl.Range{Filename: o.Flag}), t) {
			continue
		}
		l := &Layer{Kind: LayerOverride, Owner: t.name, Block: o.Flag, Range: hcl.Range{Filename: o.Flag}}
		l.value, ok = tr.overrideValue(t, i, o, key)
		if !ok {
			continue
		}
		l.Value = jsonOf(l.value)
		isItems := !o.HasSub && key.flag == "" && (a.set == setList || a.set == setListAppend)
		l.resets = isItems && !keeps && !slices.ContainsFunc(out, func(l *Layer) bool { return l.resets })
		l.adds = !l.resets && (isItems || o.HasSub || key.flag != "")
		out = append(out, l)
	}
	return out
}

// overrideValue is the value of one flag, in the form of the attribute; false
// if it changes nothing.
func (tr *Trace) overrideValue(t *instance, i int, o *Override, key setKey) (cty.Value, bool) {
	a := &attributes[i]
	value := o.Value
	if o.NoValue {
		v, ok := tr.ev.in.Env[o.Sub]
		if !ok {
			return cty.NilVal, false
		}
		value = v
	}
	switch {
	case key.flag != "":
		return cty.StringVal(o.Key + "=" + value), true
	case o.HasSub:
		return cty.MapVal(map[string]cty.Value{o.Sub: cty.StringVal(value)}), true
	case a.set == setBool:
		b, err := strconv.ParseBool(value)
		return cty.BoolVal(b), err == nil
	case a.set == setText:
		return cty.StringVal(value), true
	case value == "":
		return cty.ListValEmpty(cty.DynamicPseudoType), true
	}
	f := &fitting{rep: &report{}, whose: whom{kind: "target", name: t.name}, attr: a.name, rng: hcl.Range{Filename: o.Flag}}
	v := a.kind.parse(f, []string{value})
	return a.kind.value(v), !f.failed
}

// attributed says what became of each layer, and who made the entries.
func attributed(a *attribute, layers []*Layer, final cty.Value) ([]UsedLayer, []Entry) {
	out := make([]UsedLayer, len(layers))
	start := 0
	for n, l := range layers {
		out[n] = UsedLayer{l, ResultCovered}
		if l.Value == nil {
			out[n].Result = ResultNull
			continue
		}
		if l.resets || !l.adds && (a.rule == ruleReplace || a.rule == ruleNone) {
			start = n
		}
	}
	some := func(n int) bool { return n >= start && out[n].Result != ResultNull }
	var from []int
	for n := range out {
		if some(n) {
			from = append(from, n)
		}
	}
	if len(from) == 0 || jsonOf(final) == nil {
		return out, nil
	}
	switch {
	case isMap(final) && a.rule == ruleByKey:
		return out, mapEntries(out, from, final)
	case isList(final) && len(from) > 1:
		return out, listEntries(a, out, from, final)
	}
	out[from[len(from)-1]].Result = ResultWon
	return out, nil
}

// mapEntries finds who sets each key of a map, and who wins it.
func mapEntries(layers []UsedLayer, from []int, final cty.Value) []Entry {
	var out []Entry
	wins := map[int]int{}
	for it := final.ElementIterator(); it.Next(); { // by key in ascending order
		k, v := it.Element()
		if v.IsNull() {
			continue
		}
		e := Entry{Key: k.AsString(), Value: jsonOf(v)}
		for _, n := range from {
			if own, ok := keyed(layers[n].value, e.Key); ok {
				e.Layers = append(e.Layers, EntryLayer{Layer: n, Value: jsonOf(own)})
			}
		}
		if len(e.Layers) > 0 {
			wins[e.Layers[len(e.Layers)-1].Layer]++
		}
		out = append(out, e)
	}
	for _, n := range from {
		layers[n].Result = share(wins[n], keysOf(layers[n].value))
		if x, ok := layers[n].expr.(*hclsyntax.ObjectConsExpr); ok && len(out) > 0 && len(x.Items) > 0 && keysOf(layers[n].value) == 0 {
			layers[n].Result = ResultNull // every value is
		}
	}
	return out
}

// keysOf counts the keys of a map that are not null.
func keysOf(v cty.Value) int {
	n := 0
	for it := v.ElementIterator(); it.Next(); {
		if _, e := it.Element(); !e.IsNull() {
			n++
		}
	}
	return n
}

// share says what became of a layer of which some entries are in the value.
func share(wins, of int) Result {
	switch {
	case wins >= of: // an empty one too: there is nothing of it that is not there
		return ResultWon
	case wins > 0:
		return ResultPart
	}
	return ResultCovered
}

// listEntries finds which layer each element of a list is from: of several
// that have it the first, or the last by the rule for entries with an ID.
// What no layer has as it stands is what the last flag made of it.
func listEntries(a *attribute, layers []UsedLayer, from []int, final cty.Value) []Entry {
	var out []Entry
	wins := map[int]int{}
	for _, v := range elementsOf(final) {
		e := Entry{Value: jsonOf(v)}
		for _, n := range from {
			if holds(layers[n].value, v) {
				e.Layers = append(e.Layers, EntryLayer{Layer: n, Value: e.Value})
			}
		}
		if a.rule == ruleAppend && len(e.Layers) > 1 {
			slices.Reverse(e.Layers) // the first one stands
		}
		if len(e.Layers) == 0 {
			e.Layers = []EntryLayer{{Layer: from[len(from)-1], Value: e.Value}}
		}
		wins[e.Layers[len(e.Layers)-1].Layer]++
		out = append(out, e)
	}
	for _, n := range from {
		layers[n].Result = share(wins[n], len(elementsOf(layers[n].value)))
	}
	return out
}
