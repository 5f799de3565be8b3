package lint

import "github.com/hashicorp/hcl/v2"

func redeclared() *Rule {
	return &Rule{
		Name: "redeclared", Severity: hcl.DiagWarning,
		Title: "a group, variable or function that is declared again in the same file",
		Why:   `Of several such blocks the last one stands alone; the others have no effect. A later file may do that: it is what it is for.`,
		Bad: `-- build.hcl --
group "default" { targets = ["app"] }
group "default" { targets = ["tool"] }
group "all" { targets = ["app", "tool"] }
target "app" {}
target "tool" {}
-- Dockerfile --
FROM scratch
`,
		Good: `-- build.hcl --
group "default" { targets = ["app", "tool"] }
target "app" {}
target "tool" {}
-- Dockerfile --
FROM scratch
`,
		check: func(p *pass) {
			for _, r := range p.s.Trace.Redeclared() {
				if r.First.Filename == r.Last.Filename {
					p.report(r.First, "This %s %q has no effect: the one at %s stands in its place. Remove one of them, or bring them together.", r.Kind, r.Name, line(r.Last))
				}
			}
		},
	}
}
