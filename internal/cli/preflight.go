package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
)

// Preflight: what a build would trip over and that can be known before a
// builder is asked. Every problem is told, with its target.

// preflight tells, before anything starts, what can be known to fail.
func (a *app) preflight(ctx context.Context, p *plan) error {
	var diags hcl.Diagnostics
	for _, n := range p.graph.Nodes() {
		req, more := buildkit.Lower(n.Target, p.lower)
		diags = append(diags, more...)
		if req != nil {
			diags = append(diags, a.policiesOf(n.Target, req)...)
		}
		if len(n.After) == 0 && n.Target.Call == "" { // what it waits for may make the files
			diags = append(diags, a.sourcesOf(n.Target)...)
		}
		diags = append(diags, a.destinationsOf(n)...)
		if p.url != "" {
			diags = append(diags, a.strayDockerfile(n.Target)...)
		}
		if len(n.After) == 0 { // what it waits for may put them there
			diags = append(diags, storedOf(ctx, n.Target, p.bases)...)
		}
		diags = append(diags, a.secretsOf(n.Target)...)
	}
	a.tell(diags, p.files)
	if diags.HasErrors() {
		return &exitError{code: codeUsage, err: diags, told: true}
	}
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

// destinations tells which outputs of a plan cannot be written where they are
// to go: all that --print looks at outside the definition.
func (a *app) destinations(p *plan) error {
	var diags hcl.Diagnostics
	for _, n := range p.graph.Nodes() {
		diags = append(diags, a.destinationsOf(n)...)
	}
	a.tell(diags, p.files)
	if diags.HasErrors() {
		return &exitError{code: codeUsage, err: diags, told: true}
	}
	return nil
}

// destinationsOf says which outputs of a target are to be a directory where
// there is a file, or the other way round.
func (a *app) destinationsOf(n *graph.Node) hcl.Diagnostics {
	if len(n.After) > 0 || isCall(n.Target) { // what it waits for may change them; a call writes none
		return nil
	}
	var diags hcl.Diagnostics
	for _, o := range n.Target.Outputs {
		directory, file := o.Writes()
		if o.Dest == "" || o.Dest == "-" || !directory && !file {
			continue
		}
		st, err := os.Stat(a.path(o.Dest))
		why := ""
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			why = fmt.Sprintf("which cannot be: %v", cause(err))
		case err == nil && directory && !st.IsDir():
			why = "which is to be a directory, but there is a file of that name"
		case err == nil && file && st.IsDir():
			why = "which is to be a file, but there is a directory of that name"
		}
		if why != "" {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Unsuitable destination",
				Detail:   fmt.Sprintf("Target %q writes its %s output to %q, %s. Name another dest, or move what is there away.", n.Name(), o.Type, o.Dest, why),
				Subject:  attrRange(n.Target, "output").Ptr(),
			})
		}
	}
	return diags
}

// strayDockerfile refuses, in a definition from a repository, a Dockerfile of
// this machine that is not named as one: who reads the definition would think
// of the repository's.
func (a *app) strayDockerfile(t *config.Target) hcl.Diagnostics {
	path, ok := dockerfilePath(t)
	if !ok || strings.HasPrefix(t.Dockerfile, "cwd://") || !a.dockerfileExists(path) {
		return nil
	}
	return hcl.Diagnostics{{
		Severity: hcl.DiagError,
		Summary:  "Dockerfile of this machine",
		Detail: fmt.Sprintf("Target %q of a remote definition has a context of this machine, and would be built from the Dockerfile %q there, not from one of the repository. Write cwd://%s if that is meant.",
			t.Name, path, path),
		Subject: attrRange(t, "dockerfile").Ptr(),
	}}
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

// secretsOf says which secrets and SSH agents of t this machine lacks. A
// variable that is not set is a warning.
func (a *app) secretsOf(t *config.Target) hcl.Diagnostics {
	var diags hcl.Diagnostics
	add := func(attr, summary, format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError,
			Summary:  summary,
			Detail:   fmt.Sprintf(format, args...),
			Subject:  attrRange(t, attr).Ptr(),
		})
	}
	for _, s := range t.Secrets {
		if path := a.secretFile(s); path != "" && !isFile(a.path(path)) {
			add("secret", "Missing secret", "Secret %q of target %q is the file %q, which %s. Make it, or give env = NAME to take it from the environment.", s.ID, t.Name, path, absence(a.path(path)))
		}
		if s.Env != "" && a.env[s.Env] == "" { // no mistake: a step may do without it
			add("secret", "Secret without a value", "Secret %q of target %q is the environment variable %s, which is not set or empty. Steps that do not require it do without it.", s.ID, t.Name, s.Env)
			diags[len(diags)-1].Severity = hcl.DiagWarning
		}
	}
	for _, s := range t.SSH {
		if len(s.Paths) == 0 && a.env["SSH_AUTH_SOCK"] == "" {
			add("ssh", "No SSH agent", "Target %q forwards the SSH agent as %q, but SSH_AUTH_SOCK is not set. Start one (eval $(ssh-agent)), or name keys in paths.", t.Name, s.ID)
		}
		for _, p := range s.Paths {
			if _, err := os.Stat(a.path(p)); err != nil {
				add("ssh", "Missing SSH key", "SSH %q of target %q names %q, which does not exist.", s.ID, t.Name, p)
			}
		}
	}
	return diags
}

// absence says why there is no file at path.
func absence(path string) string {
	if isDir(path) {
		return "is a directory"
	}
	return "does not exist"
}

// policiesOf says which source policies of t cannot be enforced.
func (a *app) policiesOf(t *config.Target, req *buildkit.Request) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, err := range req.CheckPolicies(a.dir) {
		diags = append(diags, &hcl.Diagnostic{
			Severity: hcl.DiagError,
			Summary:  "Policy that cannot be enforced",
			Detail:   fmt.Sprintf("Target %q: %v.", t.Name, err),
			Subject:  attrRange(t, "policy").Ptr(),
		})
	}
	return diags
}

// attrRange is where an attribute of t was set, or the block's header.
func attrRange(t *config.Target, name string) hcl.Range {
	if r, ok := t.AttrRange[name]; ok {
		return r
	}
	return t.DeclRange
}
