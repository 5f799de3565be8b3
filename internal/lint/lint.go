// Package lint looks for what is allowed in build files and Dockerfiles and
// yet is most likely a mistake. It gets a definition as it was evaluated, the
// graph of its targets and what was found in their Dockerfiles, and returns
// problems. It reads no file and asks nobody.
//
// A rule is a file of its own, named for it, and a row in the table of rules,
// which the pages of docs/lint are made of. What turns rules off is in
// ignore.go.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
)

// A Subject is what is looked at.
type Subject struct {
	Files    []config.File
	Config   *config.Config
	Trace    *config.Trace
	Graph    *graph.Graph            // of all targets; nil if they cannot be linked
	Examined []*buildkit.Examination // of the targets of Graph, in its order
	Root     string                  // the repository's root, absolute; "" if there is none
	Dir      string                  // what relative paths are relative to, absolute
	// Real returns where a path leads to through symbolic links; nil is the
	// path itself.
	Real func(path string) string
}

// A Problem is something that a rule has found.
type Problem struct {
	Rule string // name of the rule, for BuildKit's checks theirs
	Doc  string // address of a page about it; "" if there is none
	// WouldFail says that a build of what it is about would end with it. It
	// is a warning all the same, as --print takes the definition: a variable
	// or a file may be missing only here.
	WouldFail bool
	*hcl.Diagnostic
}

// A Rule is one kind of mistake. The examples are files in the txtar format.
type Rule struct {
	Name     string
	Severity hcl.DiagnosticSeverity // hcl.DiagWarning or diag.Note
	Title    string                 // what it finds, in some words
	Why      string                 // why that is a mistake, and when it is none
	Bad      string                 // files in which it finds something
	Good     string                 // the same without the mistake

	check func(*pass)
}

// Summary is the name as the head of a problem, "Unused variable".
func (r *Rule) Summary() string { return Spoken(r.Name) }

// Spoken makes a head of a name: "unused-variable" is "Unused variable".
func Spoken(name string) string {
	s := strings.ReplaceAll(name, "-", " ")
	return strings.ToUpper(s[:1]) + s[1:]
}

// Name makes the name of a rule of a diagnostic's head, as those have that
// are told by every command: "Unknown attribute" is "unknown-attribute".
func Name(summary string) string {
	return strings.ReplaceAll(strings.ToLower(summary), " ", "-")
}

// Rules lists kiln's own rules by name.
func Rules() []*Rule { return rules() }

// Find returns the rule of a name; nil if it is none of kiln's own.
func Find(name string) *Rule {
	for _, r := range Rules() {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// told are the names of warnings that every command tells, and that a check
// can leave out as well.
var told = []string{"unknown-attribute", "unknown-block", "reserved-name", "ignored-key", "name-of-built-in-function", "unused-variant", "unknown-key-of-x-bake"}

// refused are the names of warnings of what a build would refuse.
var refused = []string{
	"dependency-cycle", DockerfileRule, "empty-frontend", "group-cycle", "incomplete-cache", "invalid-annotation", "invalid-context-name",
	"invalid-host-address", "invalid-image-name", "invalid-platform", "invalid-size", "invalid-tag", "invalid-ulimit", "missing-context-directory",
	"missing-directory", "missing-dockerfile", "missing-tag", "not-a-target", "platforms-do-not-match", "unknown-parent", "unknown-target",
	"unknown-variant", "unsuitable-value", "unsupported-context", "unsupported-host-address", "unsupported-network", "unsupported-output", "unsupported-policy",
}

// Names lists all names that can be turned off, sorted.
func Names() []string {
	names := slices.Concat(told, refused, buildkit.Checks())
	for _, r := range Rules() {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return names
}

// Run returns what is known already, what the rules find that are not off, and
// BuildKit's checks, without what comments in the files ignore; sorted by file
// and position, files in the order of the subject and then by name.
func Run(s *Subject, known []Problem, off []string) []Problem {
	p := &pass{s: s, inlines: map[string]inline{}, out: slices.Clone(known)}
	p.prepare()
	for _, r := range Rules() {
		p.rule = r
		r.check(p)
	}
	p.findings()
	ig := ignored(s, p.texts())
	return ig.Without(append(p.out, ig.problems...), off)
}

// A pass is one run of all rules.
type pass struct {
	s    *Subject
	rule *Rule
	out  []Problem

	byTarget  map[string]*buildkit.Examination
	inlines   map[string]inline // by target
	templates map[string]bool   // see Templates
	reached   map[string]bool   // see reachedLabels
	parents   map[string]bool   // targets that others inherit from
}

func (p *pass) prepare() {
	p.byTarget = map[string]*buildkit.Examination{}
	for _, x := range p.s.Examined {
		p.byTarget[x.Target] = x
	}
	p.parents = parents(p.s)
	p.reached = reachedLabels(p.s)
	p.templates = templates(p.s, p.parents, p.reached)
}

func parents(s *Subject) map[string]bool {
	out := map[string]bool{}
	for _, t := range s.Config.Targets {
		for _, name := range s.Trace.Parents(t.Name) {
			out[name] = true
		}
	}
	return out
}

// Templates are the targets that are only there to be inherited from: by their
// names, which begin with an underscore, or because others inherit from them
// and no group or other target reaches them.
func Templates(s *Subject) map[string]bool { return templates(s, parents(s), reachedLabels(s)) }

func templates(s *Subject, parents, reached map[string]bool) map[string]bool {
	out := map[string]bool{}
	for _, t := range s.Config.Targets {
		if strings.HasPrefix(t.Name, "_") || parents[t.Name] && !reached[t.Label] {
			out[t.Name] = true
		}
	}
	return out
}

// report adds a problem of the rule at hand.
func (p *pass) report(at hcl.Range, format string, args ...any) {
	p.add(at, false, fmt.Sprintf(format, args...))
}

// add is report; wouldFail as in Problem.
func (p *pass) add(at hcl.Range, wouldFail bool, detail string) {
	p.out = append(p.out, Problem{Rule: p.rule.Name, Doc: Page(p.rule.Name), WouldFail: wouldFail, Diagnostic: &hcl.Diagnostic{
		Severity: p.rule.Severity, Summary: p.rule.Summary(), Detail: detail, Subject: &at,
	}})
}

// Page is the path of the page about one of kiln's rules in the repository.
func Page(rule string) string { return "docs/lint/" + rule + ".md" }

// texts lists the Dockerfiles that stand in files of their own, each once.
func (p *pass) texts() []*buildkit.DockerfileText {
	var out []*buildkit.DockerfileText
	for _, x := range p.s.Examined {
		if x.Text != nil && x.Text.Path != "" && !slices.Contains(out, x.Text) {
			out = append(out, x.Text)
		}
	}
	return out
}

// attr is where an attribute of a target was set, or the target.
func attr(t *config.Target, name string) hcl.Range {
	if r, ok := t.AttrRange[name]; ok {
		return r
	}
	return t.DeclRange
}

// An inline is where the text of a Dockerfile stands in a build file.
type inline struct {
	attr  hcl.Range
	first int // line of the file that its first line is; 0 if that is not known
}

// place turns a place of a target's Dockerfile into one of a file: for a
// Dockerfile that the build file holds a line there. Note is "" or says which
// line it was.
func (p *pass) place(target string, at hcl.Range) (hcl.Range, string) {
	if at.Filename != "" {
		return at, ""
	}
	in, ok := p.inlines[target]
	if !ok {
		in = p.findInline(target)
		p.inlines[target] = in
	}
	if in.first == 0 {
		return in.attr, fmt.Sprintf(" This is line %d of dockerfile-inline.", at.Start.Line)
	}
	at.Filename = in.attr.Filename
	at.Start.Line += in.first - 1
	at.End.Line += in.first - 1
	return at, ""
}

// findInline finds the text of a Dockerfile that is written as a heredoc
// without indentation of its own.
func (p *pass) findInline(target string) inline {
	t := p.s.Config.Target(target)
	out := inline{attr: attr(t, "dockerfile-inline")}
	for _, f := range p.s.Files {
		if f.Name == out.attr.Filename && out.attr.End.Byte <= len(f.Data) {
			if head, _, ok := strings.Cut(string(f.Data[out.attr.Start.Byte:out.attr.End.Byte]), "\n"); ok && strings.Contains(head, "<<") && !strings.Contains(head, "<<-") {
				out.first = out.attr.Start.Line + 1
			}
		}
	}
	return out
}

// sorted orders problems by file and position.
func sorted(files []config.File, out []Problem) []Problem {
	rank := map[string]int{}
	for i, f := range files {
		if _, ok := rank[f.Name]; !ok {
			rank[f.Name] = i + 1 - len(files)*2 // before files that are none of these
		}
	}
	slices.SortStableFunc(out, func(a, b Problem) int {
		x, y := a.at(), b.at()
		return cmp.Or(cmp.Compare(rank[x.Filename], rank[y.Filename]), strings.Compare(x.Filename, y.Filename),
			cmp.Compare(x.Start.Line, y.Start.Line), cmp.Compare(x.Start.Column, y.Start.Column),
			strings.Compare(a.Rule, b.Rule), strings.Compare(a.Detail, b.Detail))
	})
	return slices.CompactFunc(out, func(a, b Problem) bool {
		return a.Rule == b.Rule && a.Detail == b.Detail && a.at() == b.at()
	})
}

func (p Problem) at() hcl.Range {
	if p.Subject == nil {
		return hcl.Range{}
	}
	return *p.Subject
}

// some lists names as "a, b and 3 more".
func some(names []string) string {
	const most = 4
	if len(names) > most {
		return strings.Join(names[:most-1], ", ") + fmt.Sprintf(" and %d more", len(names)-most+1)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// line is a place in the middle of a sentence.
func line(r hcl.Range) string { return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line) }

const note = diag.Note
