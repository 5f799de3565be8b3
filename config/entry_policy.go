package config

import (
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/gocty"
)

// policyKind reads source policies.
var policyKind = entryKind(entryForm[Policy]{
	words:   "list of policies (strings or objects)",
	element: cty.Map(cty.String),
	value:   policyValue,
	text: func(p *entryParser, s string) []Policy {
		kvs, ok := p.fields(s, true)
		if !ok {
			return nil
		}
		return policy(p, kvs)
	},
	object: func(p *entryParser, v cty.Value) []Policy {
		var kvs []KeyValue
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			if e.IsNull() || !e.IsKnown() {
				continue
			}
			s, ok := p.f.text(e, p.rng, p.what+", key \""+k.AsString()+"\",")
			if !ok {
				return nil
			}
			if s != "" {
				kvs = append(kvs, KeyValue{strings.ToLower(k.AsString()), s})
			}
		}
		return policy(p, kvs)
	},
})

// logLevels maps the names of levels to the ones that they are printed as.
var logLevels = map[string]string{
	"panic": "panic", "fatal": "fatal", "error": "error", "warn": "warning", "warning": "warning",
	"info": "info", "debug": "debug", "trace": "trace",
}

func policy(p *entryParser, kvs []KeyValue) []Policy {
	var out Policy
	for _, kv := range kvs {
		switch key := strings.TrimSpace(kv.Key); key {
		case "filename":
			if kv.Value == "" {
				p.failf("has an empty filename.")
				return nil
			}
			if out.Filename == "" {
				out.Filename = kv.Value
			} else {
				out.More = append(out.More, kv.Value)
			}
		case "reset":
			out.Reset = p.parseBool(key, kv.Value)
		case "disabled":
			out.Disabled = p.parseBool(key, kv.Value)
		case "strict":
			b := p.parseBool(key, kv.Value)
			out.Strict = &b
		case "log-level":
			level, ok := logLevels[strings.ToLower(kv.Value)]
			if !ok {
				p.failf("has log-level = %q; there are panic, fatal, error, warn, info, debug and trace.", clip(kv.Value))
			}
			out.LogLevel = level
		default:
			p.failf("has the key %q, which policies do not have.%s", key, near(key, []string{"filename", "reset", "disabled", "strict", "log-level"}))
			return nil
		}
	}
	return []Policy{out}
}

func policyValue(p Policy) cty.Value {
	var kvs []KeyValue
	if p.Filename != "" {
		kvs = append(kvs, KeyValue{"filename", p.Filename})
	}
	if p.Reset {
		kvs = append(kvs, KeyValue{"reset", "true"})
	}
	if p.Disabled {
		kvs = append(kvs, KeyValue{"disabled", "true"})
	}
	if p.Strict != nil {
		kvs = append(kvs, KeyValue{"strict", strconv.FormatBool(*p.Strict)})
	}
	if p.LogLevel != "" {
		kvs = append(kvs, KeyValue{"log-level", p.LogLevel})
	}
	return stringMap(kvs)
}

// resourcesKind reads the limits of RUN steps.
var resourcesKind = &kind{
	words:  "object",
	strict: true,
	fit:    fitResources,
	join:   func(lower, upper any) any { return joinResources(lower.(*Resources), upper.(*Resources)) },
	value:  resourcesValue,
}

// resourceFields finds the fields of r by their keys: strings and numbers.
func resourceFields(r *Resources) (map[string]**string, map[string]**int64) {
	return map[string]**string{"memory": &r.Memory, "memory-swap": &r.MemorySwap, "cpuset-cpus": &r.CPUSetCPUs, "cpuset-mems": &r.CPUSetMems},
		map[string]**int64{"cpu-shares": &r.CPUShares, "cpu-period": &r.CPUPeriod, "cpu-quota": &r.CPUQuota}
}

// resourceKeys lists the keys of resources in the order of the reference.
var resourceKeys = []string{"memory", "memory-swap", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems"}

func fitResources(f *fitting, v cty.Value) any {
	if t := v.Type(); !v.IsKnown() || !t.IsObjectType() && !t.IsMapType() {
		f.failf(f.rng, "an object is needed, but this is %s.", describe(v))
		return nil
	}
	p := &entryParser{f: f, rng: f.rng, what: "the object"}
	p.ignored(v, resourceKeys)
	r := &Resources{}
	texts, numbers := resourceFields(r)
	for _, key := range resourceKeys {
		e, ok := member(v, key)
		if !ok || e.IsNull() || !e.IsKnown() {
			continue
		}
		if into, ok := texts[key]; ok {
			if s, ok := f.text(e, f.placeOf(key), strconv.Quote(key)); ok {
				*into = &s
			}
			continue
		}
		var n int64
		num, err := convert.Convert(e, cty.Number)
		if err == nil && !tooGreat(num) {
			err = gocty.FromCtyValue(num, &n)
		}
		if err != nil || tooGreat(num) {
			f.failf(f.placeOf(key), "%q must be a whole number, but is %s.", key, describe(e))
		}
		*numbers[key] = &n
	}
	return r
}

func joinResources(lower, upper *Resources) *Resources {
	out := *lower
	toText, toNumber := resourceFields(&out)
	fromText, fromNumber := resourceFields(upper)
	for _, key := range resourceKeys {
		if from, ok := fromText[key]; ok && *from != nil {
			*toText[key] = *from
		}
		if from, ok := fromNumber[key]; ok && *from != nil {
			*toNumber[key] = *from
		}
	}
	return &out
}

func resourcesValue(v any) cty.Value {
	types := map[string]cty.Type{}
	vals := map[string]cty.Value{}
	r, set := v.(*Resources)
	if !set {
		r = &Resources{}
	}
	texts, numbers := resourceFields(r)
	for _, key := range resourceKeys {
		if field, ok := texts[key]; ok {
			types[key], vals[key] = cty.String, cty.NullVal(cty.String)
			if *field != nil {
				vals[key] = cty.StringVal(**field)
			}
			continue
		}
		types[key], vals[key] = cty.Number, cty.NullVal(cty.Number)
		if field := numbers[key]; *field != nil {
			vals[key] = cty.NumberIntVal(**field)
		}
	}
	if !set {
		return cty.NullVal(cty.Object(types))
	}
	return cty.ObjectVal(vals)
}
