package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/exec/buildkit"
)

// The codes of warnings, in the order in which they come.
const (
	WouldFail      = "would-fail"      // the build would fail
	NeedsAllow     = "needs-allow"     // the build would ask for a privilege
	TagTwice       = "tag-twice"       // two targets give images the same name
	CacheTwice     = "cache-twice"     // two targets write the same cache
	OutputTwice    = "output-twice"    // two targets write the same file or directory
	NoOutput       = "no-output"       // the result stays in the builder's cache
	SecretArgument = "secret-argument" // a build argument looks like a secret
	UnpinnedBase   = "unpinned-base"   // an image is named without its digest
	NotCounted     = "not-counted"     // files could not be counted
)

// warnings finds what is doubtful.
func (m *maker) warnings(p *Plan, troubles []error) []Warning {
	out := m.failures()
	for _, l := range m.Lacking {
		out = append(out, Warning{Code: NeedsAllow, Text: m.shown(fmt.Sprintf("%s needs --allow %s: %s.", l.Target, l.Privilege, l.Why)), Targets: []string{l.Target}})
	}
	out = append(out, twice(p)...)
	for _, t := range p.Targets {
		if slices.ContainsFunc(t.Outputs, func(o Output) bool { return o.Type == noOutput }) && t.Requested && !m.asksForNone(t.Name) {
			out = append(out, Warning{NoOutput, fmt.Sprintf("%s has no output: what it makes stays in the builder's cache. Name one in output, or give --push or --load.", t.Name), []string{t.Name}, &t.Declared})
		}
	}
	for _, t := range p.Targets {
		for _, a := range t.Args {
			if a.real != "" && buildkit.IsSecretName(a.Key) {
				out = append(out, Warning{SecretArgument, fmt.Sprintf("%s has the build argument %s, which looks like a secret: arguments are kept in the image's history and in caches. Use secret and RUN --mount=type=secret.", t.Name, a.Key), []string{t.Name}, &t.Declared})
			}
		}
	}
	out = append(out, unpinned(p)...)
	for _, err := range troubles {
		out = append(out, Warning{Code: NotCounted, Text: m.shown(err.Error()), Targets: []string{}})
	}
	return list(out)
}

// asksForNone reports whether a target says itself that it has no output.
func (m *maker) asksForNone(name string) bool {
	return len(m.Graph.Node(name).Target.Outputs) > 0
}

// failures tells what the build would trip over.
func (m *maker) failures() []Warning {
	var out []Warning
	add := func(text string, targets []string, at *hcl.Range) {
		w := Warning{Code: WouldFail, Text: m.shown(text), Targets: targets}
		if at != nil {
			w.Place = &Place{at.Filename, at.Start.Line}
		}
		if !slices.ContainsFunc(out, func(o Warning) bool { return o.Text == w.Text }) {
			out = append(out, w)
		}
	}
	told := map[string]bool{}
	for _, d := range m.Problems {
		if d.Severity != hcl.DiagError {
			continue
		}
		about := m.about(d)
		for _, name := range about {
			told[name] = true
		}
		add(d.Detail, about, d.Subject)
	}
	if m.Foresight.Err != nil {
		add(m.Foresight.Err.Error(), []string{}, nil)
	}
	for _, o := range m.Foresight.Outlooks {
		rng := m.Graph.Node(o.Target).Target.DeclRange
		for _, d := range o.Diags {
			if d.Severity == hcl.DiagError {
				add(d.Detail, []string{o.Target}, d.Subject)
			}
		}
		if o.Err != nil && !told[o.Target] {
			add(fmt.Sprintf("Target %q: %s.", o.Target, strings.TrimSuffix(errorText(o.Err), ".")), []string{o.Target}, &rng)
		}
	}
	return out
}

// about finds the targets that a diagnostic is about: those whose block it
// points at.
func (m *maker) about(d *hcl.Diagnostic) []string {
	out := []string{}
	for _, n := range m.Graph.Nodes() {
		if strings.Contains(d.Detail, fmt.Sprintf("arget %q", n.Name())) {
			out = append(out, n.Name())
		}
	}
	return out
}

// A claim is something that one target alone should write.
type claim struct{ code, what string }

// twice tells what several targets write.
func twice(p *Plan) []Warning {
	var order []claim
	by := map[claim][]*Target{}
	add := func(t *Target, code, what string) {
		c := claim{code, what}
		if by[c] == nil {
			order = append(order, c)
		}
		if !slices.Contains(by[c], t) {
			by[c] = append(by[c], t)
		}
	}
	for _, t := range p.Targets {
		for _, o := range t.Outputs {
			if o.Dest != "" && o.Dest != "-" && t.Requested {
				add(t, OutputTwice, o.Dest)
			}
		}
		for _, tag := range t.Tags {
			if writesImage(t) {
				add(t, TagTwice, tag)
			}
		}
		for _, c := range t.CacheTo {
			if key := cacheKey(c); key != "" {
				add(t, CacheTwice, key)
			}
		}
	}
	says := map[string]string{
		TagTwice:    "%s is the tag of %s: which of them it will name is left to chance.",
		CacheTwice:  "The cache %s is written by %s: the last one stays.",
		OutputTwice: "%s is written by %s: what is in it at the end is left to chance.",
	}
	var out []Warning
	for _, code := range []string{TagTwice, CacheTwice, OutputTwice} {
		for _, c := range order {
			if c.code != code || len(by[c]) < 2 {
				continue
			}
			var names []string
			for _, t := range by[c] {
				names = append(names, t.Name)
			}
			out = append(out, Warning{code, fmt.Sprintf(says[code], c.what, and(names)), names, &by[c][1].Declared})
		}
	}
	return out
}

// writesImage reports whether a target's tags come to name anything.
func writesImage(t *Target) bool {
	return t.Requested && slices.ContainsFunc(t.Outputs, func(o Output) bool {
		return o.Type == "store" || o.Type == "image" || o.Type == "registry" || o.Type == "docker" || o.Type == "oci"
	})
}

// cacheKey is what a cache is written to; "" if targets cannot share it.
func cacheKey(c Cache) string {
	switch c.Type {
	case "registry":
		return fullTag(c.Attrs["ref"])
	case "local":
		return c.Attrs["dest"]
	case "gha":
		scope := c.Attrs["scope"]
		if scope == "" {
			scope = "buildkit"
		}
		return "gha " + scope
	case "s3", "azblob":
		return strings.Join([]string{c.Type, c.Attrs["bucket"] + c.Attrs["container"], c.Attrs["prefix"] + c.Attrs["name"]}, " ")
	}
	return ""
}

// unpinned tells of each image that has no digest, once.
func unpinned(p *Plan) []Warning {
	var order []string
	by := map[string][]string{}
	for _, t := range p.Targets {
		for _, b := range t.Bases {
			if b.Pinned || b.Context != "" || b.Stored != "" {
				continue
			}
			if by[b.Ref] == nil {
				order = append(order, b.Ref)
			}
			if !slices.Contains(by[b.Ref], t.Name) {
				by[b.Ref] = append(by[b.Ref], t.Name)
			}
		}
	}
	slices.Sort(order)
	var out []Warning
	for _, ref := range order {
		out = append(out, Warning{Code: UnpinnedBase, Text: fmt.Sprintf("%s, in %s, is not pinned by a digest: it may be another image tomorrow.", familiar(ref), some(by[ref])), Targets: by[ref]})
	}
	return out
}

// and lists names in words.
func and(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// some lists the first names, and how many more there are.
func some(names []string) string {
	const most = 3
	if len(names) <= most+1 {
		return and(names)
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
