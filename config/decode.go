package config

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Decoding: the values of an instance become a Target.

// decode returns the target of an instance. It returns nil if one of its
// attributes failed, which has been reported.
func (ev *evaluator) decode(t *instance) *Target {
	out := &Target{Name: t.name, Label: t.label, Variant: t.variant, DeclRange: t.rng, Dockerfile: "Dockerfile"}
	ok := ev.inherit(t)
	n := 0
	for i := range t.slots {
		v, fine := ev.merged(t, t.slots[i].attr)
		ok = ok && fine
		if v != nil {
			n++
		}
	}
	if !ok {
		return nil
	}
	out.AttrRange = make(map[string]hcl.Range, n)
	for i := range t.slots {
		s := &t.slots[i]
		if s.val == nil {
			continue
		}
		a := &attributes[s.attr]
		out.AttrRange[a.name] = s.rng
		if a.fill != nil {
			a.fill(out, s.val)
		} else {
			ev.fill(out, t, s)
		}
	}
	if out.Context == nil {
		out.Context = ev.context(contextPath{".", t.base()})
	}
	if out.Dockerfile == "" {
		out.Dockerfile = "Dockerfile"
	}
	out.Listed = ev.listedDescription(t)
	ev.epoch(out)
	out.Deferred = check(out)
	return out
}

// base is what a context that is not set is relative to: the file that
// declares the target last.
func (t *instance) base() *pathBase {
	for i := len(t.own) - 1; i >= 0; i-- {
		if b := t.own[i].b; b.kind == "target" && !b.composed() {
			return b.file.base
		}
	}
	return nil
}

func (b *block) composed() bool { return b.file.compose }

// fill sets the fields whose values depend on more than themselves.
func (ev *evaluator) fill(out *Target, t *instance, s *slot) {
	switch s.attr {
	case attrContext:
		out.Context = ev.context(s.val.(contextPath))
	case attrContexts:
		for _, c := range s.val.([]namedContext) {
			out.Contexts = append(out.Contexts, ev.namedSource(t, c))
		}
	case attrOutput:
		for _, e := range s.val.([]based[Export]) {
			out.Outputs = append(out.Outputs, destined(e))
		}
	case attrCacheFrom:
		out.CacheFrom = caches(s.val.([]based[Cache]))
	case attrCacheTo:
		out.CacheTo = caches(s.val.([]based[Cache]))
	case attrSecret:
		for _, e := range s.val.([]based[Secret]) {
			e.v.Src = e.base.file(e.v.Src)
			out.Secrets = append(out.Secrets, e.v)
		}
	case attrSSH:
		for _, e := range s.val.([]based[SSH]) {
			paths := slices.Clone(e.v.Paths)
			for i, p := range paths {
				paths[i] = e.base.file(p)
			}
			out.SSH = append(out.SSH, SSH{ID: e.v.ID, Paths: paths})
		}
	case attrDependsOn:
		for _, name := range s.val.([]string) {
			if dep, _ := ev.resolve(name, t.variant); dep != nil && t.variant != "" {
				name = dep.name
			}
			out.DependsOn = append(out.DependsOn, Ref{name, s.rng})
		}
	}
}

// context turns a main context into a source: local ones are cleaned, and
// with a remote definition they are directories of it.
func (ev *evaluator) context(c contextPath) Source {
	p := c.base.context(c.path)
	local, isLocal := strings.CutPrefix(p, "cwd://")
	switch {
	case isLocal:
		return Local{path.Clean(local)}
	case isRemote(p):
		return Remote{p}
	}
	p = path.Clean(p)
	if ev.in.Remote == "" {
		return Local{p}
	}
	if p == "." {
		return Remote{ev.in.Remote}
	}
	return Remote{withSubdir(ev.in.Remote, p)}
}

// namedSource turns a named context into a source. The text is what --print
// shows, which is what was written wherever that means the same.
func (ev *evaluator) namedSource(t *instance, c namedContext) NamedSource {
	text := c.base.layout(c.base.context(c.path))
	from := ParseSource(text)
	if link, ok := from.(FromTarget); ok {
		if to, why := ev.resolve(link.Target, t.variant); to != nil {
			from = FromTarget{to.name}
		} else if why != "" {
			ev.rep.errorf(c.rng, "Unknown target", "Context %q of target %q reads target %q. %s", c.name, t.name, link.Target, why)
		}
		text = from.String()
	}
	if dir, ok := from.(Local); ok {
		from = ev.localContext(dir.Path)
	}
	return NamedSource{Name: c.name, From: from, Text: text, Range: c.rng}
}

func (ev *evaluator) localContext(p string) Source {
	if local, ok := strings.CutPrefix(p, "cwd://"); ok {
		return Local{path.Clean(local)}
	}
	if ev.in.Remote != "" && !strings.HasPrefix(p, "docker-image:") {
		if p == "." {
			return Remote{ev.in.Remote}
		}
		return Remote{withSubdir(ev.in.Remote, p)}
	}
	return Local{filepath.ToSlash(p)}
}

// destined fills in where an output goes: standard output for an archive
// without destination.
func destined(e based[Export]) Export {
	out := e.v
	out.Dest = e.base.file(out.Dest)
	if out.Dest == "" && (out.Type == "tar" || out.Type == "oci" && out.archive()) {
		out.Dest = "-"
	}
	return out
}

// Writes reports whether an output writes a directory, or one file, to its
// Dest. A docker output without one is loaded instead.
func (e Export) Writes() (directory, file bool) {
	switch e.Type {
	case "local":
		return true, false
	case "tar":
		return false, true
	case "oci", "docker":
		return !e.archive(), e.archive()
	}
	return false, false
}

// archive reports whether an oci or docker output is one file, not a directory.
func (e Export) archive() bool {
	for _, kv := range e.Attrs {
		if kv.Key == "tar" {
			return !slices.Contains([]string{"0", "f", "F", "false", "FALSE", "False"}, kv.Value)
		}
	}
	return true
}

// caches makes the paths of local caches relative to the working directory.
func caches(entries []based[Cache]) []Cache {
	out := make([]Cache, len(entries))
	for i, e := range entries {
		out[i] = e.v
		if e.v.Type != "local" || e.base == nil {
			continue
		}
		out[i].Attrs = slices.Clone(e.v.Attrs)
		for n, kv := range out[i].Attrs {
			if kv.Key == "src" || kv.Key == "dest" {
				out[i].Attrs[n].Value = e.base.file(kv.Value)
			}
		}
	}
	return out
}

// listedDescription is the description that the target's own blocks give,
// which is what bake lists.
func (ev *evaluator) listedDescription(t *instance) string {
	s := t.slot(attrDescription)
	if s == nil {
		return ""
	}
	out := ""
	for _, l := range t.own {
		if a := l.b.attr(attrDescription); a != nil {
			if d, ok := ev.fit(t, attrDescription, l, a); ok && d != nil {
				out = d.(string)
			}
		}
	}
	return out
}

// epoch adds the build argument SOURCE_DATE_EPOCH unless the target has it.
func (ev *evaluator) epoch(t *Target) {
	const name = "SOURCE_DATE_EPOCH"
	if ev.in.Epoch == "" || slices.ContainsFunc(t.Args, func(kv KeyValue) bool { return kv.Key == name }) {
		return
	}
	t.Args = byKey(append(slices.Clone(t.Args), KeyValue{name, ev.in.Epoch}))
}
