package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/tonistiigi/go-csvvalue"
	"github.com/zclconf/go-cty/cty"
)

// Attributes that are lists of entries: output, cache-from and cache-to,
// secret, ssh, attest, policy. An entry is a string in a notation of its own
// or an object.

// A based value is one element of such an attribute, with the base of the paths in
// it: those of an inherited entry are relative to where it was written.
type based[T any] struct {
	v    T
	base *pathBase
}

// bare returns the values of entries.
func bare[T any](es []based[T]) []T {
	out := make([]T, len(es))
	for i, e := range es {
		out[i] = e.v
	}
	return out
}

// An entryForm is how entries of one kind are read and compared.
type entryForm[T any] struct {
	words   string
	text    func(p *entryParser, s string) []T // the string form
	object  func(p *entryParser, v cty.Value) []T
	key     func(T) string // entries with one key are repeats; nil if none are
	lastOf  bool           // of several that are the same the last is kept, else the first
	value   func(T) cty.Value
	element cty.Type // of value
}

// An entryParser reads one entry.
type entryParser struct {
	f    *fitting
	rng  hcl.Range
	what string // "entry 2"
}

func (p *entryParser) failf(format string, args ...any) {
	p.f.failf(p.rng, p.what+" "+format, args...)
}

// entryKind makes the kind of an attribute from the form of its entries.
func entryKind[T any](form entryForm[T]) *kind {
	return &kind{
		words:  form.words,
		strict: true,
		fit:    func(f *fitting, v cty.Value) any { return fitEntries(f, v, &form) },
		join:   func(lower, upper any) any { return joinEntries(lower.([]based[T]), upper.([]based[T]), &form) },
		tidy:   func(v any) any { return tidyEntries(v.([]based[T]), &form) },
		parse: func(f *fitting, items []string) any {
			out := []based[T]{}
			for _, s := range items {
				p := &entryParser{f: f, rng: f.rng, what: "the value"}
				if s != "" {
					out = append(out, wrap(form.text(p, s), nil)...)
				}
			}
			return out
		},
		value: func(v any) cty.Value {
			es, _ := v.([]based[T])
			if len(es) == 0 {
				return cty.ListValEmpty(form.element)
			}
			vals := make([]cty.Value, len(es))
			for i, e := range es {
				vals[i] = form.value(e.v)
			}
			return cty.ListVal(vals)
		},
	}
}

func wrap[T any](vs []T, base *pathBase) []based[T] {
	out := make([]based[T], len(vs))
	for i, v := range vs {
		out[i] = based[T]{v, base}
	}
	return out
}

func fitEntries[T any](f *fitting, v cty.Value, form *entryForm[T]) any {
	if v.Type().IsSetType() { // bake takes lists only, as the order counts
		f.failf(f.rng, "a list is needed, but this is %s.", describe(v))
		return nil
	}
	elems, ok := f.elements(v)
	if !ok {
		return nil
	}
	out := make([]based[T], 0, len(elems))
	for i, e := range elems {
		p := &entryParser{f: f, rng: f.place(i), what: "entry " + strconv.Itoa(i+1)}
		switch t := e.Type(); {
		case e.IsNull():
			p.failf("is null. Leave it out, or give it a value.")
		case !e.IsKnown():
		case t == cty.String && e.AsString() == "":
		case t == cty.String:
			out = append(out, wrap(form.text(p, e.AsString()), f.base)...)
		case t.IsObjectType() || t.IsMapType():
			out = append(out, wrap(form.object(p, e), f.base)...)
		default:
			p.failf("must be a string or an object, but is %s.", describe(e))
		}
	}
	return out
}

// joinEntries adds the entries of a layer, dropping repeats at each, as bake
// does: that decides on their order.
func joinEntries[T any](lower, upper []based[T], form *entryForm[T]) []based[T] {
	if form.key == nil || form.lastOf {
		return slices.Concat(lower, upper)
	}
	return firstOf(slices.Concat(firstOf(slices.Clone(lower), form.key), upper), form.key)
}

// tidyEntries drops repeats. An empty list becomes nil, which an inheriting
// target takes for not set.
func tidyEntries[T any](in []based[T], form *entryForm[T]) any {
	if len(in) == 0 {
		return nil
	}
	if form.key == nil || len(in) == 1 {
		return in
	}
	if !form.lastOf {
		return firstOf(slices.Clone(in), form.key)
	}
	out := make([]based[T], 0, len(in))
	index := make(map[string]int, len(in))
	for _, e := range in {
		key := form.key(e.v)
		if i, ok := index[key]; ok {
			out[i] = e
			continue
		}
		index[key] = len(out)
		out = append(out, e)
	}
	return out
}

// firstOf drops repeats of list, in place. As bake has it, the last entry
// takes the place of one that is dropped, so the order can change.
func firstOf[T any](list []based[T], key func(T) string) []based[T] {
	keys := make([]string, len(list))
	index := make(map[string]int, len(list)) // of the entries from i on, which are unique
	for i := len(list) - 1; i >= 0; i-- {
		keys[i] = key(list[i].v)
		if j, ok := index[keys[i]]; ok {
			last := len(list) - 1
			list[j], keys[j] = list[last], keys[last]
			index[keys[j]] = j
			list = list[:last]
		}
		index[keys[i]] = i
	}
	return list
}

// keyOf tells lists of pairs apart.
func keyOf(pairs []KeyValue) string {
	var b strings.Builder
	for _, p := range pairs {
		b.WriteString(strconv.Quote(p.Key))
		b.WriteString(strconv.Quote(p.Value))
	}
	return b.String()
}

// fields reads one CSV record of key=value fields. lower turns the keys to
// lower case.
func (p *entryParser) fields(s string, lower bool) ([]KeyValue, bool) {
	record, err := csvvalue.Fields(s, nil)
	if err != nil {
		p.failf("is %q, which cannot be split at its commas: %v. A field with a comma or a quote in it is written in double quotes, with inner quotes doubled.", clip(s), err)
		return nil, false
	}
	out := make([]KeyValue, 0, len(record))
	for _, field := range record {
		k, v, ok := strings.Cut(field, "=")
		if !ok {
			p.failf("has the field %q, which is not of the form key=value.", clip(field))
			return nil, false
		}
		if lower {
			k = strings.ToLower(k)
		}
		out = append(out, KeyValue{k, v})
	}
	return out, true
}

// pairs reads an object whose values are all text.
func (p *entryParser) pairs(v cty.Value) ([]KeyValue, bool) {
	out := make([]KeyValue, 0, v.LengthInt())
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		s, ok := p.f.text(e, p.rng, p.what+", key \""+k.AsString()+"\",")
		if !ok {
			return nil, false
		}
		out = append(out, KeyValue{k.AsString(), s})
	}
	return out, true
}

// take removes the last pair of a key, and all others of it, and returns its value.
func take(kvs *[]KeyValue, key string) string {
	value := ""
	*kvs = slices.DeleteFunc(*kvs, func(kv KeyValue) bool {
		if kv.Key != key {
			return false
		}
		value = kv.Value
		return true
	})
	return value
}

// byKey sorts pairs by key; of several with one key the last is kept.
func byKey(kvs []KeyValue) []KeyValue {
	slices.SortStableFunc(kvs, func(a, b KeyValue) int { return strings.Compare(a.Key, b.Key) })
	out := kvs[:0]
	for _, kv := range kvs {
		if n := len(out); n > 0 && out[n-1].Key == kv.Key {
			out[n-1] = kv
			continue
		}
		out = append(out, kv)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// parseBool reads a bool as Go does.
func (p *entryParser) parseBool(key, s string) bool {
	b, err := strconv.ParseBool(s)
	if err != nil {
		p.failf("has %s = %q, where true or false is needed.", key, clip(s))
	}
	return b
}
