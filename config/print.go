package config

import (
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Print writes groups and targets in the JSON form of bake, each sorted by
// name: what loads back to the same targets, as far as that form can.
func Print(w io.Writer, groups []*Group, targets []*Target) error {
	p := &printer{}
	p.open('{')
	if len(groups) > 0 {
		p.key("group")
		p.open('{')
		for _, g := range slices.SortedFunc(slices.Values(groups), func(a, b *Group) int { return strings.Compare(a.Name, b.Name) }) {
			p.key(g.Name)
			p.group(g)
		}
		p.close('}')
	}
	p.key("target")
	p.open('{')
	for _, t := range slices.SortedFunc(slices.Values(targets), func(a, b *Target) int { return strings.Compare(a.Name, b.Name) }) {
		p.key(t.Name)
		p.target(t)
	}
	p.close('}')
	p.close('}')
	p.buf = append(p.buf, '\n')
	_, err := w.Write(p.buf)
	return err
}

// PrintTarget returns the JSON object of one target, as Print writes it.
func PrintTarget(t *Target) json.RawMessage {
	p := &printer{}
	p.target(t)
	return p.buf
}

// A printer writes JSON as encoding/json does with an indent of two blanks.
type printer struct {
	buf   []byte
	depth int
	some  bool // the open object or array has an element
}

func (p *printer) open(c byte) {
	p.buf = append(p.buf, c)
	p.depth++
	p.some = false
}

func (p *printer) close(c byte) {
	p.depth--
	if p.some {
		p.newline()
	}
	p.buf = append(p.buf, c)
	p.some = true
}

func (p *printer) newline() {
	p.buf = append(p.buf, '\n')
	for range p.depth {
		p.buf = append(p.buf, "  "...)
	}
}

// next begins an element.
func (p *printer) next() {
	if p.some {
		p.buf = append(p.buf, ',')
	}
	p.newline()
	p.some = true
}

func (p *printer) key(name string) {
	p.next()
	p.quote(name)
	p.buf = append(p.buf, ": "...)
}

func (p *printer) raw(s string) { p.buf = append(p.buf, s...) }

// quote writes a string with the escapes of encoding/json, those for HTML
// among them.
func (p *printer) quote(s string) {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c == 0x7f {
			b, err := json.Marshal(s)
			if err != nil {
				panic(err) // strings can always be written
			}
			p.buf = append(p.buf, b...)
			return
		}
	}
	p.buf = append(append(append(p.buf, '"'), s...), '"')
}

// field writes a string member.
func (p *printer) field(name, s string) {
	p.key(name)
	p.quote(s)
}

func (p *printer) list(name string, ss []string) {
	if len(ss) == 0 {
		return
	}
	p.key(name)
	p.strings(ss)
}

func (p *printer) strings(ss []string) {
	p.open('[')
	for _, s := range ss {
		p.next()
		p.quote(s)
	}
	p.close(']')
}

// object writes pairs that are sorted by key.
func (p *printer) object(kvs []KeyValue) {
	p.open('{')
	for _, kv := range kvs {
		p.field(kv.Key, kv.Value)
	}
	p.close('}')
}

func (p *printer) group(g *Group) {
	p.open('{')
	if g.Description != "" {
		p.field("description", g.Description)
	}
	p.key("targets")
	if g.Members == nil {
		p.raw("null")
		p.some = true
	} else {
		p.strings(g.Members)
	}
	p.close('}')
}

// escaped writes template sequences so that reading them gives them back.
func escaped(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "${", "$${"), "%{", "%%{")
}

func escapedPairs(kvs []KeyValue) []KeyValue {
	out := make([]KeyValue, len(kvs))
	for i, kv := range kvs {
		out[i] = KeyValue{kv.Key, escaped(kv.Value)}
	}
	return out
}

func (p *printer) pairs(name string, kvs []KeyValue) {
	if len(kvs) > 0 {
		p.key(name)
		p.object(escapedPairs(kvs))
	}
}

// target writes the members in the order of bake's.
func (p *printer) target(t *Target) {
	p.open('{')
	if t.Description != "" {
		p.field("description", t.Description)
	}
	annotations := make([]string, len(t.Annotations))
	for i, a := range t.Annotations {
		annotations[i] = escaped(a)
	}
	p.list("annotations", annotations)
	entries(p, "attest", t.Attest, p.attest)
	p.field("context", t.Context.String())
	if len(t.Contexts) > 0 {
		p.key("contexts")
		p.open('{')
		for _, c := range t.Contexts {
			p.field(c.Name, c.text())
		}
		p.close('}')
	}
	p.field("dockerfile", t.Dockerfile)
	p.text(t, "dockerfile-inline", escaped(t.DockerfileInline))
	p.pairs("args", t.Args)
	p.pairs("labels", t.Labels)
	p.list("tags", t.Tags)
	entries(p, "cache-from", t.CacheFrom, p.cache)
	entries(p, "cache-to", t.CacheTo, p.cache)
	p.text(t, "target", t.Stage)
	entries(p, "secret", t.Secrets, p.secret)
	entries(p, "ssh", t.SSH, p.ssh)
	p.list("platforms", t.Platforms)
	entries(p, "output", t.Outputs, p.export)
	p.flag(t, "pull", t.Pull)
	p.flag(t, "no-cache", t.NoCache)
	p.text(t, "network", t.Network)
	p.list("no-cache-filter", t.NoCacheFilter)
	p.text(t, "shm-size", t.ShmSize)
	p.list("ulimits", t.Ulimits)
	p.resources(t.Resources)
	p.text(t, "call", t.Call)
	p.list("entitlements", t.Entitlements)
	p.pairs("extra-hosts", t.ExtraHosts)
	entries(p, "policy", t.Policy, p.policy)
	p.close('}')
}

func entries[T any](p *printer, name string, es []T, each func(T)) {
	if len(es) == 0 {
		return
	}
	p.key(name)
	p.open('[')
	for _, e := range es {
		p.next()
		each(e)
	}
	p.close(']')
}

// text writes a string attribute if anything set it, also if it is empty.
func (p *printer) text(t *Target, name, s string) {
	if t.IsSet(name) || s != "" {
		p.field(name, s)
	}
}

func (p *printer) flag(t *Target, name string, b bool) {
	if t.IsSet(name) || b {
		p.key(name)
		p.raw(strconv.FormatBool(b))
	}
}

func (p *printer) attest(a Attestation) {
	p.open('{')
	kvs := append(slices.Clone(a.Attrs), KeyValue{"type", a.Type})
	if a.Disabled {
		kvs = append(kvs, KeyValue{"disabled", ""})
	}
	for _, kv := range byKey(kvs) {
		if a.Disabled && kv.Key == "disabled" {
			p.key("disabled")
			p.raw("true")
			continue
		}
		p.field(kv.Key, kv.Value)
	}
	p.close('}')
}

func (p *printer) cache(c Cache) {
	p.object(byKey(append(slices.Clone(c.Attrs), KeyValue{"type", c.Type})))
}

func (p *printer) export(e Export) {
	kvs := append(slices.Clone(e.Attrs), KeyValue{"type", e.Type})
	if e.Dest != "" {
		kvs = append(kvs, KeyValue{"dest", e.Dest})
	}
	p.object(byKey(kvs))
}

func (p *printer) secret(s Secret) {
	p.object(slices.DeleteFunc([]KeyValue{{"id", s.ID}, {"src", s.Src}, {"env", s.Env}}, func(kv KeyValue) bool { return kv.Value == "" }))
}

func (p *printer) ssh(s SSH) {
	p.open('{')
	if s.ID != "" {
		p.field("id", s.ID)
	}
	p.list("paths", s.Paths)
	p.close('}')
}

func (p *printer) resources(r *Resources) {
	if r == nil {
		return
	}
	p.key("resources")
	p.open('{')
	texts, numbers := resourceFields(r)
	for _, key := range resourceKeys {
		if s, ok := texts[key]; ok && *s != nil {
			p.field(key, **s)
		}
		if n, ok := numbers[key]; ok && *n != nil {
			p.key(key)
			p.raw(strconv.FormatInt(**n, 10))
		}
	}
	p.close('}')
}

// policy writes a policy as bake does, with the names of Go fields.
func (p *printer) policy(pol Policy) {
	p.open('{')
	p.key("Files")
	files := slices.Concat([]string{pol.Filename}, pol.More)
	if pol.Filename == "" {
		p.raw("null")
	} else {
		p.open('[')
		for _, f := range files {
			p.next()
			p.open('{')
			p.field("Filename", f)
			p.key("Data")
			p.raw("null")
			p.close('}')
		}
		p.close(']')
	}
	p.some = true
	p.key("Reset")
	p.raw(strconv.FormatBool(pol.Reset))
	p.key("Disabled")
	p.raw(strconv.FormatBool(pol.Disabled))
	p.key("Strict")
	if pol.Strict == nil {
		p.raw("null")
	} else {
		p.raw(strconv.FormatBool(*pol.Strict))
	}
	p.key("LogLevel")
	if pol.LogLevel == "" {
		p.raw("null")
	} else {
		p.quote(pol.LogLevel)
	}
	p.close('}')
}
