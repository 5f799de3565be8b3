package lint

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
)

func unusedVariable() *Rule {
	return &Rule{
		Name: "unused-variable", Severity: hcl.DiagWarning,
		Title: "a variable, or an attribute outside all blocks, that no expression refers to",
		Why: `Setting it changes nothing, and who sets it in CI believes otherwise. Often its name is written another way where
it was to be used. That its own validation refers to it is no use of it.`,
		Bad: `-- build.hcl --
variable "VERSION" { default = "1.0" }
target "default" { tags = ["app:1.0"] }
-- Dockerfile --
FROM scratch
`,
		Good: `-- build.hcl --
variable "VERSION" { default = "1.0" }
target "default" { tags = ["app:${VERSION}"] }
-- Dockerfile --
FROM scratch
`,
		check: func(p *pass) {
			uses := p.s.Trace.Uses()
			declared := map[string]hcl.Range{}
			for _, v := range p.s.Config.Variables {
				declared[v.Name] = v.DeclRange
			}
			for _, name := range p.s.Trace.Variables() {
				if len(uses[name]) > 0 {
					continue
				}
				at, isBlock := declared[name]
				what := fmt.Sprintf("variable %q", name)
				if !isBlock {
					layers := p.s.Trace.Variable(name).Layers
					at, what = layers[len(layers)-1].Range, fmt.Sprintf("attribute %q", name)
				}
				p.report(at, "Nothing refers to %s, so that its value changes nothing. Use it, or remove it.", what)
			}
		},
	}
}
