package graph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// maxListed bounds how many names a message lists.
const maxListed = 12

func problem(summary string, subject *hcl.Range, detail string, a ...any) *hcl.Diagnostic {
	if subject != nil && *subject == (hcl.Range{}) {
		subject = nil
	}
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  summary,
		Detail:   fmt.Sprintf(detail, a...),
		Subject:  subject,
	}
}

// unique drops repeats: a group with an unknown member may be met several
// times.
func unique(diags hcl.Diagnostics) hcl.Diagnostics {
	seen := make(map[string]bool, len(diags))
	return slices.DeleteFunc(diags, func(d *hcl.Diagnostic) bool {
		key := fmt.Sprint(d.Summary, d.Detail, d.Subject)
		again := seen[key]
		seen[key] = true
		return again
	})
}

func duplicateTarget(t, first *config.Target) *hcl.Diagnostic {
	return problem("Duplicate target", &t.DeclRange, "There is a target %q already, at %s. Target names must differ.", t.Name, place(first.DeclRange))
}

// unknownContext tells of a context that reads a target which is not there.
func (l *links) unknownContext(t *config.Target, c config.NamedSource, name string, near nearFunc) *hcl.Diagnostic {
	what := fmt.Sprintf("Target %q reads %q as context %q, but", t.Name, "target:"+name, c.Name)
	if own := l.variants[name]; len(own) > 0 && t.Variant != "" {
		return problem("Unknown variant", &c.Range, "%s %s has no variant %q. It has %s.", what, name, t.Variant, list(own))
	}
	if g := l.group[name]; g != nil {
		remedy := "The group is empty."
		if len(g.Members) > 0 {
			remedy = fmt.Sprintf("Name one of its members: %s.", list(g.Members))
		}
		return problem("Not a target", &c.Range, "%s %s is a group, and a context is read from a single target. %s", what, name, remedy)
	}
	return problem("Unknown target", &c.Range, "%s no target has that name.%s", what, near(name, l.targetNames()))
}

func (l *links) unknownDependsOn(t *config.Target, ref config.Ref, near nearFunc) *hcl.Diagnostic {
	return problem("Unknown target", &ref.Range, "Target %q depends on %q, but no target or group has that name.%s", t.Name, ref.Name, near(ref.Name, l.names()))
}

func (l *links) unknownMember(g *config.Group, name string, rng hcl.Range) *hcl.Diagnostic {
	return problem("Unknown target", &rng, "Group %q lists %q, but no target or group has that name.%s", g.Name, name, near(name, l.names()))
}

// unknownRequest tells of a name on the command line that nothing has.
func (l *links) unknownRequest(name string) *hcl.Diagnostic {
	names := l.names()
	switch {
	case len(names) == 0:
		return problem("Nothing to build", nil, "The build files declare no target.%s", l.read())
	case name == "default":
		return problem("No default target", nil, "No target was named, and there is no group or target %q. Name what to build, one or more of: %s; or declare group %q.%s",
			name, list(names), name, l.read())
	}
	return problem("Unknown target", nil, "No target or group is named %q.%s There are: %s.%s", name, near(name, names), list(names), l.read())
}

func (l *links) noMatch(pattern string) *hcl.Diagnostic {
	return problem("Unknown target", nil, "No target or group matches the pattern %q. There are: %s.%s", pattern, list(l.names()), l.read())
}

func badPattern(pattern string) *hcl.Diagnostic {
	return problem("Invalid pattern", nil, "%q is no pattern for names: a bracket is not closed, or holds nothing. A pattern is made of * (any text), ? (any one character) and [abc] (one of these).", pattern)
}

func unknownVariant(variant string, others []string) *hcl.Diagnostic {
	slices.Sort(others)
	others = slices.Compact(others)
	if len(others) == 0 {
		return problem("Unknown variant", nil, "Nothing that was asked for has variants, so there is no variant %q to choose.", variant)
	}
	return problem("Unknown variant", nil, "Nothing that was asked for has a variant %q.%s There are: %s.", variant, near(variant, others), list(others))
}

func missingPlatforms(reader, read *config.Target, missing []string, rng hcl.Range) *hcl.Diagnostic {
	return problem("Platforms do not match", &rng,
		"Target %q is built for %s and reads target %q, which is built for %s only: there is no result for %s. Add that to the platforms of %q, or take it from those of %q.",
		reader.Name, strings.Join(reader.Platforms, ", "), read.Name, strings.Join(read.Platforms, ", "), strings.Join(missing, ", "), read.Name, reader.Name)
}

// A step is an edge of a cycle with the target it starts from.
type step struct {
	at   int
	edge edge
}

// cycle tells of targets that wait for each other, from the one declared
// first.
func (l *links) cycle(way []step) *hcl.Diagnostic {
	first := 0
	for i, s := range way {
		if s.at < way[first].at {
			first = i
		}
	}
	var b strings.Builder
	for i := range way {
		s := way[(first+i)%len(way)]
		verb := "reads"
		if s.edge.after {
			verb = "depends on"
		}
		fmt.Fprintf(&b, "\n  %s %s %s (%s)", l.targets[s.at].Name, verb, l.targets[s.edge.to].Name, place(l.rng(s.at, s.edge)))
	}
	what := "These targets wait for each other, so that none can be built:"
	if len(way) == 1 {
		what = "This target waits for itself, so that it cannot be built:"
	}
	rng := l.rng(way[first].at, way[first].edge)
	return problem("Dependency cycle", &rng, "%s%s\nRemove one of these links.", what, b.String())
}

// groupCycle tells of groups that hold each other.
func groupCycle(way []membership) *hcl.Diagnostic {
	var b strings.Builder
	for _, m := range way {
		fmt.Fprintf(&b, "\n  %s lists %s (%s)", m.group.Name, m.group.Members[m.member], place(m.rng()))
	}
	rng := way[0].rng()
	return problem("Group cycle", &rng, "A group cannot be a member of itself:%s\nRemove one of these members.", b.String())
}

// names returns the names of all groups and then targets, as declared.
func (l *links) names() []string {
	var out []string
	for _, g := range l.groups {
		out = append(out, g.Name)
	}
	for _, t := range l.targets {
		if l.group[t.Name] == nil {
			out = append(out, t.Name)
		}
	}
	return out
}

func (l *links) targetNames() []string {
	out := make([]string, len(l.targets))
	for i, t := range l.targets {
		out[i] = t.Name
	}
	return out
}

// read says which files the names come from.
func (l *links) read() string {
	if len(l.files) == 0 {
		return ""
	}
	return fmt.Sprintf(" Read from %s.", list(l.files))
}

// A nearFunc returns a sentence that offers the nearest name, or nothing.
type nearFunc func(name string, among []string) string

// near returns a sentence that offers the nearest name, or nothing.
func near(name string, among []string) string {
	if n := config.Nearest(name, among); n != "" {
		return fmt.Sprintf(" Did you mean %q?", n)
	}
	return ""
}

func list(names []string) string {
	if len(names) > maxListed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), len(names)-maxListed)
	}
	return strings.Join(names, ", ")
}

// place returns file:line of a range, or how else it is known.
func place(r hcl.Range) string {
	switch {
	case r.Filename == "":
		return "place unknown"
	case r.Start.Line == 0:
		return r.Filename
	}
	return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line)
}
