package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/diag"
)

// What `kiln explain` says has secrets in it: values under names that say so,
// and whatever such a value has become a part of.

const hiddenValue = "(hidden)"

// hide takes the secrets out of e.
func (e *explained) hide(a *app) {
	h := &hider{a: a, values: map[string]bool{}}
	e.each(h.learn)
	h.ready()
	e.each(h.hide)
}

// A secretPart is a part of what is explained, with the name that says
// whether it is a secret.
type secretPart struct {
	name  string
	value *json.RawMessage
	text  *string // the expression; nil if there is none
}

// each calls do for every part of e that may hold a secret.
func (e *explained) each(do func(secretPart)) {
	for i := range e.Targets {
		for j := range e.Targets[i].Attributes {
			e.Targets[i].Attributes[j].each(do)
		}
	}
	for i := range e.Groups {
		do(secretPart{"", nil, &e.Groups[i].Expression})
		eachInput(e.Groups[i].Inputs, do)
	}
	for i := range e.Variables {
		v := &e.Variables[i]
		do(secretPart{v.Name, &v.Value, nil})
		eachLayer(v.Layers, v.Name, do)
	}
}

func (e *explainedAttribute) each(do func(secretPart)) {
	do(secretPart{"", &e.Value, nil})
	eachLayer(e.Layers, "", do)
	for i := range e.Entries {
		entry := &e.Entries[i]
		do(secretPart{entry.Key, &entry.Value, nil})
		for j := range entry.Layers {
			l := &entry.Layers[j]
			do(secretPart{entry.Key, &l.Value, &l.Expression})
			eachInput(l.Inputs, do)
		}
	}
}

func eachLayer(layers []explainedLayer, name string, do func(secretPart)) {
	for i := range layers {
		l := &layers[i]
		of := name
		if key, _, ok := strings.Cut(l.By, "="); ok && l.Kind == "override" { // --set app.args.TOKEN=…
			of = key[strings.LastIndex(key, ".")+1:]
		}
		do(secretPart{of, &l.Value, &l.Expression})
		do(secretPart{"", nil, &l.By})
		eachInput(l.Inputs, do)
	}
}

func eachInput(in []explainedInput, do func(secretPart)) {
	for i := range in {
		do(secretPart{in[i].Name, &in[i].Value, nil})
		eachInput(in[i].Inputs, do)
	}
}

// A hider knows the secrets.
type hider struct {
	a        *app
	values   map[string]bool
	replacer *strings.Replacer
}

// learn makes the secrets of a part known.
func (h *hider) learn(p secretPart) {
	if p.value == nil {
		return
	}
	var v any
	if json.Unmarshal(*p.value, &v) == nil {
		h.walk(p.name, v)
	}
}

func (h *hider) walk(name string, v any) {
	switch v := v.(type) {
	case string:
		if buildkit.IsSecretName(name) && len(v) >= leastSecret {
			h.values[v] = true
		}
	case map[string]any:
		for key, e := range v { // only gathered
			h.walk(cmp.Or(secretKey(name), key), e)
		}
	case []any:
		for _, e := range v {
			h.walk(name, e)
		}
	}
}

// secretKey is name if it says that what is below it is secret, else "".
func secretKey(name string) string {
	if buildkit.IsSecretName(name) {
		return name
	}
	return ""
}

func (h *hider) ready() {
	values := slices.SortedFunc(maps.Keys(h.values), func(a, b string) int { // one may begin with another
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	var pairs []string
	for _, v := range values {
		pairs = append(pairs, v, hiddenValue)
	}
	h.replacer = strings.NewReplacer(pairs...)
}

// hide takes the secrets out of a part.
func (h *hider) hide(p secretPart) {
	secret := buildkit.IsSecretName(p.name)
	if p.text != nil && *p.text != "" {
		if *p.text = h.text(*p.text); secret && strings.ContainsAny(*p.text, `"<`) { // a literal, not just a name
			*p.text = hiddenValue
		}
	}
	if p.value == nil || *p.value == nil {
		return
	}
	dec := json.NewDecoder(bytes.NewReader(*p.value))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if enc.Encode(h.masked(p.name, v)) == nil {
		*p.value = bytes.TrimSpace(out.Bytes())
	}
}

func (h *hider) text(s string) string {
	var b strings.Builder
	for line := range strings.Lines(h.a.discreet(h.replacer.Replace(s))) {
		b.WriteString(diag.Redact(line))
	}
	return b.String()
}

func (h *hider) masked(name string, v any) any {
	switch v := v.(type) {
	case string:
		if buildkit.IsSecretName(name) && v != "" {
			return hiddenValue
		}
		return h.text(v)
	case json.Number:
		if buildkit.IsSecretName(name) {
			return hiddenValue
		}
	case map[string]any:
		for key, e := range v { // each for itself
			v[key] = h.masked(cmp.Or(secretKey(name), key), e)
		}
	case []any:
		for i, e := range v {
			v[i] = h.masked(name, e)
		}
	}
	return v
}
