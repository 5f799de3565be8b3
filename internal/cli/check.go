package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
)

// checkCommand is `kiln check`: all that can be known without building, of
// all files and all targets, asked for or not.
func checkCommand(a *app) *cobra.Command {
	var d definitionFlags
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the build files without building",
		Long: `Check everything that can be known without building: syntax, names, values,
cycles, and that the directories and Dockerfiles that targets name are there.
All files, all targets. Exit code 2 if something is wrong.`,
		Example: "  kiln check\n  kiln check -f docker-bake.hcl",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			def, err := a.load(c.Context(), d, nil)
			if err != nil {
				return err
			}
			return a.check(def)
		},
	}
	d.register(c.Flags())
	return c
}

func (a *app) check(def *definition) error {
	g, diags := graph.New(def.cfg)
	if g != nil {
		diags = append(diags, g.Check()...)
	}
	for _, t := range def.cfg.Targets {
		_, more := buildkit.Lower(t, buildkit.LowerOptions{})
		diags = append(diags, more...)
		diags = append(diags, a.sourcesOf(t)...)
	}
	a.tell(diags, def.files)
	if diags.HasErrors() {
		return &exitError{code: codeUsage, err: diags, told: true}
	}
	fmt.Fprintf(a.Err, "%d targets in %d files: nothing wrong\n", len(def.cfg.Targets), len(def.files))
	return nil
}

// sourcesOf says which local files of t are not there.
func (a *app) sourcesOf(t *config.Target) hcl.Diagnostics {
	var diags hcl.Diagnostics
	missing := func(attr, what, path, remedy string) {
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError,
			Summary:  "Missing " + what,
			Detail:   fmt.Sprintf("Target %q needs the %s %q, which does not exist. %s", t.Name, what, path, remedy),
			Subject:  attrRange(t, attr).Ptr(),
		})
	}
	local, isLocal := t.Context.(config.Local)
	if isLocal && !isDir(a.path(local.Path)) {
		missing("context", "context directory", local.Path, "Make it, or name another one in context.")
		return diags
	}
	if path, ok := dockerfilePath(t); ok && !a.dockerfileExists(path) {
		missing("dockerfile", "Dockerfile", path, "Write it, or name another one in dockerfile.")
	}
	for _, c := range t.Contexts {
		if l, ok := c.From.(config.Local); ok && !isDir(a.path(l.Path)) {
			missing("contexts", "context directory", l.Path, fmt.Sprintf("It is the named context %q.", c.Name))
		}
	}
	return diags
}

// dockerfilePath is the path of t's Dockerfile where that is a local file.
func dockerfilePath(t *config.Target) (string, bool) {
	if t.DockerfileInline != "" {
		return "", false
	}
	if p, ok := strings.CutPrefix(t.Dockerfile, "cwd://"); ok {
		return p, true
	}
	local, isLocal := t.Context.(config.Local)
	switch {
	case filepath.IsAbs(t.Dockerfile):
		return t.Dockerfile, true
	case isLocal && !strings.Contains(t.Dockerfile, "://"):
		return filepath.Join(local.Path, t.Dockerfile), true
	}
	return "", false
}

// dockerfileExists reports whether there is a file at path, or, as BuildKit
// has it, one whose name is in lower case.
func (a *app) dockerfileExists(path string) bool {
	p := a.path(path)
	lower := filepath.Join(filepath.Dir(p), strings.ToLower(filepath.Base(p)))
	return isFile(p) || isFile(lower)
}

// path makes a path of a definition absolute.
func (a *app) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(a.dir, p)
}

func isDir(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.IsDir()
}

func isFile(p string) bool {
	st, err := os.Stat(p)
	return err == nil && !st.IsDir()
}

// attrRange is where an attribute of t was set, or the block's header.
func attrRange(t *config.Target, name string) hcl.Range {
	if r, ok := t.AttrRange[name]; ok {
		return r
	}
	return t.DeclRange
}
