package lint

import (
	"maps"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/graph"
)

func unreachedTarget() *Rule {
	return &Rule{
		Name: "unreached-target", Severity: note,
		Title: "a target that no group holds and nothing needs",
		Why: `It is built only by who knows its name, and is easily left behind when others change. Targets that others inherit from
or refer to, those whose names begin with an underscore, and files without any group are left alone.`,
		Bad: `-- build.hcl --
group "default" { targets = ["app"] }
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
			if p.s.Graph == nil || !hasGroups(p.s.Config) {
				return
			}
			reached := maps.Clone(p.reached)
			refs := p.s.Trace.References()
			for _, t := range p.s.Config.Targets {
				if !reached[t.Label] && !p.templates[t.Name] && len(refs[t.Name]) == 0 {
					reached[t.Label] = true // once for all its instances
					p.report(t.DeclRange, "No group holds target %q, and no target that one holds needs it. Add it to a group, or begin its name with an underscore if it is there to be inherited from.", t.Label)
				}
			}
		},
	}
}

func hasGroups(c *config.Config) bool {
	for _, g := range c.Groups {
		if !g.Generated {
			return true
		}
	}
	return false
}

// reachedLabels are the blocks of which a group holds a target, directly or
// by what its targets need.
func reachedLabels(s *Subject) map[string]bool {
	out := map[string]bool{}
	if s.Graph == nil {
		return out
	}
	seen := map[*graph.Node]bool{}
	var visit func(n *graph.Node)
	visit = func(n *graph.Node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		out[n.Target.Label] = true
		for _, m := range n.Needs {
			visit(m)
		}
		for _, m := range n.After {
			visit(m)
		}
	}
	visit(s.Graph.Node("default"))
	for _, g := range s.Config.Groups {
		if !g.Generated {
			for _, name := range membersOf(s.Config, g.Name) {
				visit(s.Graph.Node(name))
			}
		}
	}
	return out
}

// membersOf lists the targets of a group and of the groups in it, each once.
func membersOf(c *config.Config, group string) []string {
	var out []string
	seen := map[string]bool{}
	var open func(name string)
	open = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		if t := c.Target(name); t != nil && name != group {
			out = append(out, name)
			return
		}
		if g := c.Group(name); g != nil {
			for _, m := range g.Members {
				if m == name && c.Target(m) != nil {
					out = append(out, m)
				} else {
					open(m)
				}
			}
		}
	}
	open(group)
	return out
}
