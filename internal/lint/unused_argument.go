package lint

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

func unusedArgument() *Rule {
	return &Rule{
		Name: "unused-argument", Severity: hcl.DiagWarning,
		Title: "a build argument that the Dockerfile never declares",
		Why: `It changes nothing in the image. Often the name is written another way in the Dockerfile. An argument that several
targets get from one place is in order if one of their Dockerfiles declares it; those that every build knows (HTTP_PROXY,
SOURCE_DATE_EPOCH, BUILDKIT_…, TARGETARCH and its kin) always are.`,
		Bad: `-- build.hcl --
target "default" { args = { GO_VERSON = "1.26" } }
-- Dockerfile --
ARG GO_VERSION=1.25
FROM golang:${GO_VERSION}
`,
		Good: `-- build.hcl --
target "default" { args = { GO_VERSION = "1.26" } }
-- Dockerfile --
ARG GO_VERSION=1.25
FROM golang:${GO_VERSION}
`,
		check: func(p *pass) {
			a := &arguments{p: p, at: map[place]*argument{}}
			for _, t := range p.s.Config.Targets {
				if len(t.Args) > 0 && !p.templates[t.Name] {
					a.target(t)
				}
			}
			for _, key := range a.order {
				arg := a.at[key]
				if arg.used {
					continue
				}
				near := ""
				if arg.near != "" {
					near = " Did you mean " + arg.near + "?"
				}
				p.report(arg.rng, "No ARG in %s takes the build argument %s of %s.%s", arg.file, key.key, some(arg.targets), near)
			}
		},
	}
}

// An argument is a build argument where it is written.
type argument struct {
	rng        hcl.Range
	targets    []string
	file, near string
	used       bool
}

type arguments struct {
	p     *pass
	at    map[place]*argument
	order []place
}

// target notes the arguments of a target, each at the place that gave it its
// value.
func (a *arguments) target(t *config.Target) {
	x := a.p.byTarget[t.Name]
	unknown := x == nil || x.Text == nil || len(x.Text.Stages) == 0
	for _, e := range a.p.s.Trace.Attribute(t.Name, "args").Entries {
		if predefined(e.Key) || len(e.Layers) == 0 {
			continue
		}
		rng := e.Layers[len(e.Layers)-1].Range
		k := place{rng.Filename, rng.Start.Byte, e.Key}
		arg := a.at[k]
		if arg == nil {
			arg = &argument{rng: rng, file: a.p.named(t)}
			a.at[k] = arg
			a.order = append(a.order, k)
		}
		arg.targets = append(arg.targets, t.Name)
		if unknown || x.Text.Declares(e.Key) {
			arg.used = true
			continue
		}
		var names []string
		for _, d := range x.Text.Args {
			names = append(names, d.Name)
		}
		if n := config.Nearest(e.Key, names); n != "" {
			arg.near = n
		}
	}
}

// predefined reports whether a build knows an argument without an ARG.
func predefined(name string) bool {
	switch strings.ToUpper(name) {
	case "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY":
		return true
	}
	return slices.Contains([]string{"SOURCE_DATE_EPOCH", "TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
		"BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"}, name) || strings.HasPrefix(name, "BUILDKIT_")
}
