package lint

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

func unknownStage() *Rule {
	return &Rule{
		Name: "unknown-stage", Severity: hcl.DiagWarning,
		Title: "a stage in target or no-cache-filter that the Dockerfile does not have",
		Why:   `The build fails, or for no-cache-filter does not do what it says.`,
		Bad: `-- build.hcl --
target "default" { target = "relase" }
-- Dockerfile --
FROM scratch AS release
`,
		Good: `-- build.hcl --
target "default" { target = "release" }
-- Dockerfile --
FROM scratch AS release
`,
		check: func(p *pass) {
			for _, t := range p.s.Config.Targets {
				x := p.byTarget[t.Name]
				if p.templates[t.Name] || x == nil || x.Text == nil || len(x.Text.Stages) == 0 {
					continue
				}
				var names []string
				for _, s := range x.Text.Stages {
					names = append(names, s.Name)
				}
				wrong := func(attribute, stage string, wouldFail bool) {
					near := ""
					if n := config.Nearest(stage, names); n != "" {
						near = fmt.Sprintf(" Did you mean %q?", n)
					}
					p.add(attr(t, attribute), wouldFail, fmt.Sprintf("%s of target %q names the stage %q, but %s has %s.%s", attribute, t.Name, stage, p.named(t), strings.Join(names, ", "), near))
				}
				if _, ok := x.Text.Stage(t.Stage); !ok {
					wrong("target", t.Stage, true)
				}
				for _, stage := range t.NoCacheFilter {
					if _, ok := x.Text.Stage(stage); !ok {
						wrong("no-cache-filter", stage, false)
					}
				}
			}
		},
	}
}

// named is the Dockerfile of a target in a sentence.
func (p *pass) named(t *config.Target) string {
	if x := p.byTarget[t.Name]; x != nil && x.Text != nil && x.Text.Path != "" {
		return x.Text.Path
	}
	return "its Dockerfile"
}
