package lint

import (
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

func outsideContext() *Rule {
	return &Rule{
		Name: "outside-context", Severity: hcl.DiagWarning,
		Title: "a context, or named context, outside the repository",
		Why: `The build depends on what happens to lie beside the repository: it fails on another machine, or gives something else.
Symbolic links count as what they lead to. Nothing is said outside a git work tree.`,
		Bad: `-- build.hcl --
target "default" { contexts = { other = "../elsewhere" } }
-- Dockerfile --
FROM scratch
-- ../elsewhere/file --
`,
		Good: `-- build.hcl --
target "default" { contexts = { other = "vendored" } }
-- Dockerfile --
FROM scratch
-- vendored/file --
`,
		check: func(p *pass) {
			if p.s.Root == "" {
				return
			}
			for _, t := range p.s.Config.Targets {
				if p.templates[t.Name] {
					continue
				}
				if path, ok := p.outside(t.Context); ok {
					p.report(attr(t, "context"), "The context of target %q is %s, outside the repository at %s. Keep what is built in the repository, or fetch it: a context may be a git address.", t.Name, path, p.s.Root)
				}
				for _, c := range t.Contexts {
					if path, ok := p.outside(c.From); ok {
						p.report(c.Range, "The named context %q of target %q is %s, outside the repository at %s. Keep it in the repository, or fetch it: a context may be a git address.", c.Name, t.Name, path, p.s.Root)
					}
				}
			}
		},
	}
}

// outside returns where a source is, if that is a directory outside the
// repository.
func (p *pass) outside(s config.Source) (string, bool) {
	local, ok := s.(config.Local)
	if !ok {
		return "", false
	}
	path := local.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.s.Dir, path)
	}
	root := p.s.Root
	if p.s.Real != nil {
		path, root = p.s.Real(path), p.s.Real(root)
	}
	rel, err := filepath.Rel(root, path)
	return local.Path, err == nil && (rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)))
}
