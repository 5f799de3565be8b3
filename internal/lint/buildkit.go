package lint

import (
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/diag"
)

// DockerfileRule is the rule of a Dockerfile that cannot be built.
const DockerfileRule = "dockerfile-error"

// findings are what BuildKit's checks have found, each once, however many
// targets have the Dockerfile.
func (p *pass) findings() {
	type key struct{ place, rule, detail string }
	seen := map[key]bool{}
	for _, x := range p.s.Examined {
		t := p.s.Config.Target(x.Target)
		if t == nil || p.templates[t.Name] {
			continue
		}
		for _, f := range x.Findings {
			at, extra := p.place(x.Target, f.Range)
			k := key{line(at), f.Rule, f.Detail + extra}
			if seen[k] || (f.Rule == "" || f.Rule == "InvalidDefaultArgInFrom") && p.toldBefore(x, f) {
				continue
			}
			seen[k] = true
			p.out = append(p.out, finding(f, at, extra, len(x.Text.Stages) == 0))
		}
	}
}

// finding makes a problem of a finding. In a Dockerfile that cannot be read
// that is an error: no variable and no machine makes it another.
func finding(f buildkit.Finding, at hcl.Range, extra string, unreadable bool) Problem {
	text := strings.TrimSuffix(f.Detail, ".") + "."
	if f.Rule == "" {
		severity := hcl.DiagWarning
		if unreadable {
			severity = hcl.DiagError
		}
		return Problem{Rule: DockerfileRule, WouldFail: true, Diagnostic: &hcl.Diagnostic{
			Severity: severity, Summary: Spoken(DockerfileRule), Detail: strings.ToUpper(text[:1]) + text[1:] + extra, Subject: &at,
		}}
	}
	return Problem{Rule: f.Rule, Doc: f.Doc, Diagnostic: &hcl.Diagnostic{
		Severity: hcl.DiagWarning, Summary: words(f.Rule), Detail: text + extra, Subject: &at,
	}}
}

// toldBefore reports whether one of kiln's rules says the same, and better.
func (p *pass) toldBefore(x *buildkit.Examination, f buildkit.Finding) bool {
	t := p.s.Config.Target(x.Target)
	if _, ok := x.Text.Stage(t.Stage); !ok && len(x.Text.Stages) > 0 {
		return true // unknown-stage
	}
	for _, n := range p.missing(t, x) {
		if n.Instruction == "FROM" && n.Range.Start.Line == f.Range.Start.Line {
			return true // missing-argument
		}
	}
	return false
}

// words makes a head of BuildKit's name of a rule: "StageNameCasing" is
// "Stage name casing".
func words(rule string) string {
	var b strings.Builder
	for i, r := range rule {
		upper := r >= 'A' && r <= 'Z'
		next := i+1 < len(rule) && rule[i+1] >= 'a' && rule[i+1] <= 'z'
		switch {
		case upper && i > 0 && next:
			b.WriteByte(' ')
			b.WriteRune(r + 'a' - 'A')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// diagURL is an address without a password.
func diagURL(url string) string { return diag.Redact(url) }
