package config

import (
	"fmt"
	"path"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
)

// Overrides of attributes: --set, and the flags that are short for it.

// A setForm is what --set may do with an attribute.
type setForm int

const (
	setNothing    setForm = iota
	setText               // KEY=text
	setBool               // KEY=bool
	setList               // KEY=entry replaces, KEY+=entry appends
	setListAppend         // both append
	setKeys               // KEY.SUB=text
)

// An override is what all settings of one attribute of one target come to.
type override struct {
	set    bool     // text, items or keys hold something
	text   string   // setText, setBool
	items  []string // setList
	clear  bool     // an empty value cleared what was there
	append bool     // decided by the last setting
	keys   []KeyValue
	wrong  []wrongValue // unless a later setting took its place
	rng    hcl.Range
	push   *bool // on outputs
	load   *bool
}

// A wrongValue is a setting whose value does not fit: of that key, or of that
// flag or name below the key.
type wrongValue struct {
	flag, sub string
	diag      *hcl.Diagnostic
}

// setKey is what a key of --set means.
type setKey struct {
	attr int
	flag string // "push" or "load", on outputs
}

// setKeyIndex finds attributes by the keys of --set.
var setKeyIndex = func() map[string]setKey {
	index := map[string]setKey{"push": {attrOutput, "push"}, "load": {attrOutput, "load"}}
	for i, a := range attributes {
		if a.set == setNothing {
			continue
		}
		for _, key := range append([]string{a.name}, a.aliases...) {
			index[key] = setKey{attr: i}
		}
	}
	return index
}()

func setKeyNames() []string {
	var names []string
	for _, a := range attributes {
		if a.set != setNothing {
			names = append(append(names, a.name), a.aliases...)
		}
	}
	return append(names, "push", "load")
}

// overrides sorts the settings by target and attribute. What no target could
// have is an error; what is wrong with a key or value is none unless a target
// it is for gets built: bake.md §6.4.
func (ev *evaluator) overrides() {
	for i := range ev.in.Overrides {
		o := &ev.in.Overrides[i]
		rng := hcl.Range{Filename: o.Flag}
		wrong := func(why string) *hcl.Diagnostic {
			return problem(hcl.DiagError, rng, "Unsuitable override", "%s: %s", o.Flag, why)
		}
		key, known := setKeyIndex[o.Key]
		if why := wrongForm(o, key, known); why != "" {
			ev.rep.add(wrong(why))
			continue
		}
		why := wrongSetting(o, key, known)
		for _, t := range ev.matching(o, rng) {
			if !known {
				t.deferred = append(t.deferred, wrong(why))
				continue
			}
			into := t.overrideOf(key.attr)
			into.wrong = slices.DeleteFunc(into.wrong, func(w wrongValue) bool { return w.flag == key.flag && w.sub == o.Sub })
			if why != "" {
				into.wrong = append(into.wrong, wrongValue{key.flag, o.Sub, wrong(why)})
				continue
			}
			ev.note(into, o, key, rng)
		}
	}
}

func (t *instance) overrideOf(attr int) *override {
	if t.over == nil {
		t.over = map[int]*override{}
	}
	if t.over[attr] == nil {
		t.over[attr] = &override{}
	}
	return t.over[attr]
}

// wrongForm says what is wrong with the form of a setting: a name after the
// key, += and the lack of a value. "" is nothing.
func wrongForm(o *Override, key setKey, known bool) string {
	a := &attributes[key.attr]
	isSecret := key.attr == attrSecret && o.Key == "secret"
	switch {
	case o.NoValue && (!known || key.attr != attrArgs):
		return fmt.Sprintf("a value is needed: %s.%s=VALUE. Only args take theirs from the environment.", o.Pattern, o.Key)
	case !known:
		return ""
	case o.HasSub && (key.flag != "" || a.set != setKeys && !isSecret):
		return fmt.Sprintf("key %q has nothing below it; write %s.%s=VALUE.", o.Key, o.Pattern, o.Key)
	case a.set == setKeys && !o.HasSub:
		return fmt.Sprintf("key %q needs a name: %s.%s.NAME=VALUE.", o.Key, o.Pattern, o.Key)
	case o.Append && (key.attr == attrResources || isSecret && o.HasSub):
		return fmt.Sprintf("key %q cannot be appended to; use = in place of +=.", o.Key)
	}
	return ""
}

// wrongSetting says what is wrong with the key or the value of a setting; ""
// is nothing.
func wrongSetting(o *Override, key setKey, known bool) string {
	if !known {
		if _, ok := attributeIndex[o.Key]; ok {
			return fmt.Sprintf("attribute %q can be changed only in the file.", o.Key)
		}
		return fmt.Sprintf("there is no key %q.%s", o.Key, near(o.Key, setKeyNames()))
	}
	if key.attr == attrSecret && o.HasSub && o.Sub == "" {
		return fmt.Sprintf("key %q needs the ID of a secret after the dot.", o.Key)
	}
	if attributes[key.attr].set == setBool || key.flag != "" {
		if _, err := strconv.ParseBool(o.Value); err != nil {
			return fmt.Sprintf("the value must be true or false, but is %q.", clip(o.Value))
		}
	}
	if key.attr == attrResources {
		return wrongResource(o)
	}
	return ""
}

// wrongResource says what is wrong with a setting of resources; "" is nothing.
func wrongResource(o *Override) string {
	if !slices.Contains(resourceKeys, o.Sub) {
		return fmt.Sprintf("there is no resource %q; there are %s.%s", o.Sub, list(resourceKeys), near(o.Sub, resourceKeys))
	}
	_, numbers := resourceFields(&Resources{})
	if _, number := numbers[o.Sub]; number {
		if _, err := strconv.ParseInt(o.Value, 10, 64); err != nil {
			return fmt.Sprintf("resource %q must be a whole number, but is %q.", o.Sub, clip(o.Value))
		}
	}
	return ""
}

// matching returns the targets that a setting is for: the one of that name;
// else those of a group or of a variant of that name; else those whose names
// match the pattern, and failing that the groups whose names do.
func (ev *evaluator) matching(o *Override, rng hcl.Range) []*instance {
	if t := ev.targets[o.Pattern]; t != nil {
		return []*instance{t}
	}
	if out := ev.membersOf(o.Pattern, map[string]bool{}); len(out) > 0 {
		return out
	}
	var out []*instance
	for _, t := range ev.order {
		if t.variant != "" && t.variant == o.Pattern {
			out = append(out, t)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, t := range ev.order {
		if ok, err := path.Match(o.Pattern, t.name); err == nil && ok {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		for _, g := range ev.groupNames() {
			if ok, err := path.Match(o.Pattern, g); err == nil && ok {
				out = append(out, ev.membersOf(g, map[string]bool{})...)
			}
		}
	}
	if len(out) == 0 {
		ev.rep.errorf(rng, "Unknown target", "%s: no target, group or variant has the name %q or matches it.%s", o.Flag, o.Pattern,
			ev.rep.near(o.Pattern, func() []string { return append(ev.targetNames(), ev.groupNames()...) }))
	}
	return out
}

// membersOf returns the targets of a group and of the groups in it.
func (ev *evaluator) membersOf(name string, seen map[string]bool) []*instance {
	if seen[name] {
		return nil
	}
	seen[name] = true
	var names []string
	if g := ev.groups[name]; g != nil {
		if ev.group(g) {
			names = g.members
		}
	} else if l := ev.labels[name]; l != nil {
		names = l.names.list
	} else {
		names = ev.families[name]
	}
	var out []*instance
	for _, n := range names {
		if n != name || ev.groups[name] != nil {
			if t := ev.targets[n]; t != nil && (ev.groups[n] == nil || n == name) {
				out = append(out, t)
				continue
			}
			out = append(out, ev.membersOf(n, seen)...)
		}
	}
	return out
}

// note adds a setting to what is known of its attribute.
func (ev *evaluator) note(into *override, o *Override, key setKey, rng hcl.Range) {
	value := o.Value
	if o.NoValue {
		v, ok := ev.in.Env[o.Sub]
		if !ok && ev.in.Env != nil {
			return // not in the environment: no change
		}
		value = v
	}
	switch {
	case key.flag != "":
		b, _ := strconv.ParseBool(value)
		if key.flag == "push" {
			into.push = &b
		} else {
			into.load = &b
		}
		if !into.set {
			into.rng = rng
		}
		return
	case o.HasSub:
		into.keys = append(into.keys, KeyValue{o.Sub, value})
	case attributes[key.attr].set == setText || attributes[key.attr].set == setBool:
		into.text, into.set = value, true
	case !o.Append && value == "":
		into.items, into.clear, into.append, into.set = nil, true, false, true
	default:
		into.items = append(into.items, value)
		into.append = o.Append && !into.clear
		into.set = true
	}
	into.rng = rng
}

// override applies the settings of one attribute to what the files say. A
// value that does not fit is no matter unless the target is built.
func (ev *evaluator) override(t *instance, i int, m *merger, o *override) {
	before := *m
	f := &fitting{rep: &report{}, whose: whom{kind: "target", name: t.name}, attr: attributes[i].name, rng: o.rng}
	if o.set || len(o.keys) > 0 {
		m.rng = o.rng
	}
	ev.apply(t, i, m, o, f)
	t.deferred = append(t.deferred, f.rep.list...)
	for _, w := range o.wrong {
		t.deferred = append(t.deferred, w.diag)
	}
	if f.failed {
		*m = before
	}
}

func (ev *evaluator) apply(t *instance, i int, m *merger, o *override, f *fitting) {
	a := &attributes[i]
	switch a.set {
	case setText:
		m.val = any(o.text)
		switch {
		case i == attrContext:
			m.val = contextPath{o.text, nil}
		case a.kind.parse != nil:
			m.val = a.kind.parse(f, []string{o.text})
		}
	case setBool:
		if o.set {
			b, _ := strconv.ParseBool(o.text)
			m.val = b
		}
	case setKeys:
		if len(o.keys) > 0 {
			m.val = overlaid(i, m.val, byKey(slices.Clone(o.keys)), o.rng)
		}
	case setList, setListAppend:
		if o.set {
			ev.overrideList(m, o, f)
		}
		if i == attrSecret {
			ev.overrideSecrets(t, m, o, f)
		}
		if i == attrOutput {
			m.val = flaggedOutputs(m, o)
		}
	}
}

func (ev *evaluator) overrideList(m *merger, o *override, f *fitting) {
	items := m.a.kind.parse(f, slices.Clone(o.items))
	keep := o.append
	if m.a.set == setListAppend {
		keep = !o.clear
	}
	if keep && m.val != nil {
		items = m.a.kind.join(m.val, items)
	}
	m.val = items
}

// overlaid sets single keys of a map attribute.
func overlaid(i int, base any, kvs []KeyValue, rng hcl.Range) any {
	var upper any = kvs
	switch i {
	case attrContexts:
		named := make([]namedContext, len(kvs))
		for n, kv := range kvs {
			named[n] = namedContext{kv.Key, contextPath{kv.Value, nil}, rng}
		}
		upper = named
	case attrResources:
		upper = resourcesOf(kvs)
	}
	if base == nil {
		return upper
	}
	return attributes[i].kind.join(base, upper)
}

func resourcesOf(kvs []KeyValue) *Resources {
	r := &Resources{}
	texts, numbers := resourceFields(r)
	for _, kv := range kvs {
		if into, ok := texts[kv.Key]; ok {
			*into = &kv.Value
		} else if n, err := strconv.ParseInt(kv.Value, 10, 64); err == nil {
			*numbers[kv.Key] = &n
		}
	}
	return r
}

// overrideSecrets changes the sources of declared secrets.
func (ev *evaluator) overrideSecrets(t *instance, m *merger, o *override, f *fitting) {
	for _, kv := range byKey(slices.Clone(o.keys)) {
		secrets, _ := m.val.([]based[Secret])
		n, ids := -1, []string(nil)
		for i, s := range secrets {
			ids = append(ids, s.v.ID)
			if s.v.ID == kv.Key {
				n = i // the last, which is the one that stays of several
			}
		}
		if n < 0 {
			t.deferred = append(t.deferred, problem(hcl.DiagError, o.rng, "Unknown secret",
				"%s: target %q declares no secret %q whose source could be changed.%s Use secret=id=%s,… to add one.", o.rng.Filename, t.name, kv.Key, near(kv.Key, ids), kv.Key))
			continue
		}
		next, ok := secretText(&entryParser{f: f, rng: o.rng, what: "the value"}, kv.Value)
		if ok && next.ID != "" && next.ID != kv.Key {
			f.failf(o.rng, "the value gives the ID %q to secret %q.", next.ID, kv.Key)
		}
		next.ID = kv.Key
		secrets = slices.Clone(secrets)
		secrets[n] = based[Secret]{v: next}
		m.val = secrets
	}
}

// flaggedOutputs applies --push, then --load, to outputs.
func flaggedOutputs(m *merger, o *override) any {
	before, _ := m.val.([]based[Export])
	outputs := slices.Clone(before)
	if o.push != nil {
		outputs = pushed(outputs, *o.push)
	}
	if o.load != nil && *o.load {
		outputs = loaded(outputs)
	}
	if outputs == nil {
		return m.val
	}
	if len(outputs) != len(before) || o.push != nil && *o.push {
		m.rng = o.rng
	}
	return outputs
}

// pushed turns pushing on or off. An image output is added only if there is
// none but docker ones.
func pushed(outputs []based[Export], push bool) []based[Export] {
	if !push {
		outputs = slices.DeleteFunc(outputs, func(e based[Export]) bool { return e.v.Type == "registry" })
	}
	add := push
	for i, e := range outputs {
		if e.v.Type != "docker" {
			add = false
		}
		if e.v.Type == "image" {
			attrs := append(slices.Clone(e.v.Attrs), KeyValue{"push", strconv.FormatBool(push)})
			outputs[i].v.Attrs = byKey(attrs)
		}
	}
	if add {
		outputs = append(outputs, based[Export]{v: Export{Type: "image", Attrs: []KeyValue{{"push", "true"}}}})
	}
	return outputs
}

// loaded adds a docker output without destination, unless there is one or a
// result that is written to files.
func loaded(outputs []based[Export]) []based[Export] {
	for _, e := range outputs {
		switch e.v.Type {
		case "docker":
			if e.v.Dest == "" {
				return outputs
			}
		case "image", "registry", "oci":
		default:
			return outputs
		}
	}
	return append(outputs, based[Export]{v: Export{Type: "docker"}})
}
