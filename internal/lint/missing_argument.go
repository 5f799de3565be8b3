package lint

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

func missingArgument() *Rule {
	return &Rule{
		Name: "missing-argument", Severity: hcl.DiagWarning,
		Title: "an ARG without a default that an instruction needs and a target does not give",
		Why: `The instruction gets nothing in its place: COPY copies another directory than meant, and FROM, where the build fails,
names no image. An empty default (ARG NAME=), or one where it is used (${NAME:-text}), says that nothing is meant. RUN is
left alone, as a shell can deal with what is not set.`,
		Bad: `-- build.hcl --
target "default" {}
-- Dockerfile --
FROM scratch
ARG SERVICE
COPY services/${SERVICE} /
`,
		Good: `-- build.hcl --
target "default" { args = { SERVICE = "api" } }
-- Dockerfile --
FROM scratch
ARG SERVICE
COPY services/${SERVICE} /
`,
		check: func(p *pass) {
			found := map[string]*missing{}
			var order []string
			for _, t := range p.s.Config.Targets {
				x := p.byTarget[t.Name]
				if p.templates[t.Name] || x == nil || x.Text == nil {
					continue
				}
				for _, n := range p.missing(t, x) {
					at, extra := p.place(t.Name, n.Range)
					key := fmt.Sprint(line(at), n.Name)
					if found[key] == nil {
						found[key] = &missing{need: n, at: at, extra: extra}
						order = append(order, key)
					}
					found[key].targets = append(found[key].targets, t.Name)
				}
			}
			for _, key := range order {
				m := found[key]
				p.add(m.at, m.need.Instruction == "FROM", fmt.Sprintf("%s uses the argument %s, which has no default here and no value in args of %s. Set it there, or give the ARG a default.%s",
					m.need.Instruction, m.need.Name, some(m.targets), m.extra))
			}
		},
	}
}

type missing struct {
	need    buildkit.DockerfileNeed
	at      hcl.Range
	extra   string
	targets []string
}

// missing lists what a target does not give to the stages that it is built
// of. A FROM counts only where BuildKit cannot do without.
func (p *pass) missing(t *config.Target, x *buildkit.Examination) []buildkit.DockerfileNeed {
	stage, ok := x.Text.Stage(t.Stage)
	if !ok {
		return nil
	}
	reached := x.Text.Reached(stage)
	var out []buildkit.DockerfileNeed
	for _, n := range x.Text.Needs {
		given := slices.ContainsFunc(t.Args, func(kv config.KeyValue) bool { return kv.Key == n.Name })
		isFrom := n.Instruction == "FROM" // which BuildKit reads of all stages
		if given || predefined(n.Name) || !isFrom && !slices.Contains(reached, n.Stage) || isFrom && !fails(x, n.Range.Start.Line) {
			continue
		}
		out = append(out, n)
	}
	return out
}

// fails reports whether BuildKit has an error in a line.
func fails(x *buildkit.Examination, line int) bool {
	return slices.ContainsFunc(x.Findings, func(f buildkit.Finding) bool { return f.Rule == "" && f.Range.Start.Line == line })
}
