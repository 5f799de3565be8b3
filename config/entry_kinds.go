package config

import (
	"slices"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/gocty"
)

// exportKind reads outputs.
var exportKind = entryKind(entryForm[Export]{
	words:   "list of outputs (strings or objects)",
	element: cty.Map(cty.String),
	key:     func(e Export) string { return keyOf(append([]KeyValue{{e.Type, e.Dest}}, e.Attrs...)) },
	value: func(e Export) cty.Value {
		return stringMap(append([]KeyValue{{"type", e.Type}, {"dest", e.Dest}}, e.Attrs...))
	},
	text: exportText,
	object: func(p *entryParser, v cty.Value) []Export {
		kvs, ok := p.pairs(v)
		if !ok {
			return nil
		}
		return export(p, kvs)
	},
})

func exportText(p *entryParser, s string) []Export {
	if s == "-" {
		return []Export{{Type: "tar", Dest: "-"}}
	}
	record, err := csvvalue.Fields(s, nil)
	if err == nil && len(record) == 1 && record[0] == s && !strings.HasPrefix(s, "type=") {
		return []Export{{Type: "local", Dest: s}}
	}
	kvs, ok := p.fields(s, true)
	if !ok {
		return nil
	}
	for i := range kvs {
		kvs[i].Key = strings.TrimSpace(kvs[i].Key)
	}
	return export(p, kvs)
}

func export(p *entryParser, kvs []KeyValue) []Export {
	e := Export{Type: take(&kvs, "type"), Dest: take(&kvs, "dest")}
	if e.Type == "" {
		p.failf("has no type. Add type=image, registry, docker, oci, local, tar or cacheonly.")
		return nil
	}
	e.Attrs = byKey(kvs)
	return []Export{e}
}

// cacheKind reads cache sources and destinations.
var cacheKind = entryKind(entryForm[Cache]{
	words:   "list of caches (strings or objects)",
	element: cty.Map(cty.String),
	key:     func(c Cache) string { return keyOf(append([]KeyValue{{"type", c.Type}}, c.Attrs...)) },
	value:   func(c Cache) cty.Value { return stringMap(append([]KeyValue{{"type", c.Type}}, c.Attrs...)) },
	text:    cacheText,
	object: func(p *entryParser, v cty.Value) []Cache {
		kvs, ok := p.pairs(v)
		if !ok {
			return nil
		}
		return cache(p, kvs)
	},
})

func cacheText(p *entryParser, s string) []Cache {
	if strings.Contains(s, "=") {
		kvs, ok := p.fields(s, true)
		if !ok {
			return nil
		}
		return cache(p, kvs)
	}
	refs, err := csvvalue.Fields(s, nil)
	if err != nil {
		p.failf("is %q, which cannot be split at its commas: %v.", clip(s), err)
	}
	var out []Cache
	for _, ref := range refs {
		if ref == "" || strings.ContainsAny(ref, `,"`) {
			p.failf("has the reference %q, which cannot be empty or hold commas or quotes.", clip(ref))
			continue
		}
		out = append(out, Cache{Type: "registry", Attrs: []KeyValue{{"ref", ref}}})
	}
	return out
}

func cache(p *entryParser, kvs []KeyValue) []Cache {
	c := Cache{Type: take(&kvs, "type")}
	if c.Type == "" {
		p.failf("has no type. Add type=registry, local, inline, gha, s3 or azblob.")
		return nil
	}
	c.Attrs = byKey(kvs)
	return []Cache{c}
}

// secretKind reads secrets.
var secretKind = entryKind(entryForm[Secret]{
	words:   "list of secrets (strings or objects)",
	element: cty.Object(map[string]cty.Type{"id": cty.String, "src": cty.String, "env": cty.String}),
	key:     func(s Secret) string { return s.ID },
	lastOf:  true,
	value: func(s Secret) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{"id": cty.StringVal(s.ID), "src": cty.StringVal(s.Src), "env": cty.StringVal(s.Env)})
	},
	text: func(p *entryParser, s string) []Secret {
		if sec, ok := secretText(p, s); ok {
			return []Secret{sec}
		}
		return nil
	},
	object: secretObject,
})

func secretText(p *entryParser, s string) (Secret, bool) {
	var out Secret
	kvs, ok := p.fields(s, true)
	typ := ""
	for _, kv := range kvs {
		switch kv.Key {
		case "id":
			out.ID = kv.Value
		case "src", "source":
			out.Src = kv.Value
		case "env":
			out.Env = kv.Value
		case "type":
			if typ = kv.Value; typ != "file" && typ != "env" {
				p.failf("has the type %q; there are file and env.", kv.Value)
				ok = false
			}
		default:
			p.failf("has the key %q, which secrets do not have.%s", kv.Key, near(kv.Key, []string{"id", "src", "source", "env", "type"}))
			ok = false
		}
	}
	if typ == "env" && out.Env == "" {
		out.Env, out.Src = out.Src, ""
	}
	return out, ok
}

func secretObject(p *entryParser, v cty.Value) []Secret {
	var out Secret
	p.optional(v, "id", &out.ID)
	p.optional(v, "src", &out.Src)
	p.optional(v, "env", &out.Env)
	p.ignored(v, []string{"id", "src", "env"})
	return []Secret{out}
}

// optional reads a key of an object that may be missing or null.
func (p *entryParser) optional(v cty.Value, key string, into *string) {
	e, ok := member(v, key)
	if !ok || e.IsNull() {
		return
	}
	if s, ok := p.f.text(e, p.rng, p.what+", key \""+key+"\","); ok {
		*into = s
	}
}

// ignored warns of keys that have no meaning, as bake passes over them.
func (p *entryParser) ignored(v cty.Value, known []string) {
	for it := v.ElementIterator(); it.Next(); {
		k, _ := it.Element()
		if key := k.AsString(); !slices.Contains(known, key) {
			p.f.rep.warnf(p.rng, "Ignored key", "Attribute %q of %s: %s has the key %q, which has no effect; there are %s.%s",
				p.f.attr, p.f.whose, p.what, key, list(known), near(key, known))
		}
	}
}

// member returns an element of an object or map by its key.
func member(v cty.Value, key string) (cty.Value, bool) {
	if v.Type().IsObjectType() {
		if !v.Type().HasAttribute(key) {
			return cty.NilVal, false
		}
		return v.GetAttr(key), true
	}
	k := cty.StringVal(key)
	if v.HasIndex(k).False() {
		return cty.NilVal, false
	}
	return v.Index(k), true
}

// sshKind reads SSH agents and keys.
var sshKind = entryKind(entryForm[SSH]{
	words:   "list of SSH agents or keys (strings or objects)",
	element: cty.Object(map[string]cty.Type{"id": cty.String, "paths": cty.List(cty.String)}),
	key:     func(s SSH) string { return s.ID },
	lastOf:  true,
	value: func(s SSH) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{"id": cty.StringVal(s.ID), "paths": stringList(s.Paths)})
	},
	text: func(_ *entryParser, s string) []SSH {
		id, paths, ok := strings.Cut(s, "=")
		if !ok {
			return []SSH{{ID: id}}
		}
		return []SSH{{ID: id, Paths: strings.Split(paths, ",")}}
	},
	object: sshObject,
})

func sshObject(p *entryParser, v cty.Value) []SSH {
	var out SSH
	p.optional(v, "id", &out.ID)
	p.ignored(v, []string{"id", "paths"})
	paths, ok := member(v, "paths")
	if !ok || paths.IsNull() {
		return []SSH{out}
	}
	strs, err := convert.Convert(paths, cty.List(cty.String))
	if err != nil || !strs.IsWhollyKnown() {
		p.failf("has paths = %s, where a list of strings is needed.", describe(paths))
		return nil
	}
	if err := gocty.FromCtyValue(strs, &out.Paths); err != nil {
		p.failf("has a null among its paths.")
		return nil
	}
	return []SSH{out}
}

// attestKind reads attestations.
var attestKind = entryKind(entryForm[Attestation]{
	words:   "list of attestations (strings or objects)",
	element: cty.Map(cty.String),
	key:     func(a Attestation) string { return a.Type },
	lastOf:  true,
	value:   attestValue,
	text: func(p *entryParser, s string) []Attestation {
		kvs, ok := p.fields(s, false)
		if !ok {
			return nil
		}
		for i, kv := range kvs {
			if k := strings.TrimSpace(strings.ToLower(kv.Key)); k == "type" || k == "disabled" {
				kvs[i].Key = k
			}
		}
		out := attestation(p, kvs)
		if len(out) > 0 && out[0].Type == "" {
			p.failf("has no type. Add type=sbom or type=provenance.")
			return nil
		}
		return out
	},
	object: func(p *entryParser, v cty.Value) []Attestation {
		kvs, ok := p.pairs(v)
		if !ok {
			return nil
		}
		return attestation(p, kvs)
	},
})

func attestation(p *entryParser, kvs []KeyValue) []Attestation {
	a := Attestation{Type: take(&kvs, "type")}
	if slices.ContainsFunc(kvs, func(kv KeyValue) bool { return kv.Key == "disabled" }) {
		a.Disabled = p.parseBool("disabled", take(&kvs, "disabled"))
	}
	a.Attrs = byKey(kvs)
	return []Attestation{a}
}

func attestValue(a Attestation) cty.Value {
	kvs := append([]KeyValue{{"type", a.Type}}, a.Attrs...)
	if a.Disabled {
		kvs = append(kvs, KeyValue{"disabled", "true"})
	}
	return stringMap(kvs)
}
