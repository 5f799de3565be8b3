package buildkit

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/hashicorp/hcl/v2"
	"github.com/moby/buildkit/client/llb"

	"github.com/kilnbuild/kiln/config"
)

// LowerOptions is what a request depends on beside the target. The zero value
// gives a plain request.
type LowerOptions struct {
	// Provenance asks for bake's default: the minimal provenance on images,
	// unless the target says otherwise.
	Provenance bool
	// NoArtifacts writes attestations in the form of an image, for registries
	// that do not know OCI artifacts, unless the output says otherwise.
	NoArtifacts bool
	// Stored sends an image without an output to kiln's image store.
	Stored bool
	// Epoch is the value of SOURCE_DATE_EPOCH, for targets without that argument.
	Epoch string
	// Proxies are the proxy settings of the client's configuration, as build
	// arguments; an argument of the target wins in any spelling.
	Proxies []config.KeyValue
	// Platform is what "local" means in platforms; "" is this machine's.
	Platform string
	// Git describes the work tree, or is nil.
	Git *GitInfo
	// Docker is the engine that is to build, or nil.
	Docker *Docker `json:"-"`
	// GitAuth is the login for a git server, or nil.
	GitAuth *GitAuth
}

// GitInfo is what provenance and labels say of the source.
type GitInfo struct {
	Revision string // commit, with "-dirty" appended where that was asked for
	Source   string // URL of the remote, without credentials
	Root     string // of the work tree, relative to the working directory or absolute
	Labels   bool   // also write the labels of the OCI image specification
}

// GitAuth are credentials for one git server, as names of environment
// variables. Targets get them that have a context there, no others.
type GitAuth struct {
	Host   string // with the port, if its addresses have one
	Token  string // variable that holds a token; "" is none
	Header string // variable that holds the value of an Authorization header; "" is none
}

// Lower says in BuildKit's terms what t asks for. It reads no file and makes
// no connection. The request is nil if and only if there is an error.
func Lower(t *config.Target, o LowerOptions) (*Request, hcl.Diagnostics) {
	l := &lowering{t: t, o: o, req: &Request{
		Target:       t.Name,
		Frontend:     builtin,
		Attrs:        map[string]string{},
		Secrets:      t.Secrets,
		SSH:          t.SSH,
		Entitlements: t.Entitlements,
	}}
	l.tags()
	l.args()
	l.labels()
	l.mainContext()
	l.namedContexts()
	l.steps()
	l.caches()
	l.exports()
	l.annotations()
	l.attestations()
	l.call()
	l.fileFormats()
	l.policies()
	l.docker()
	l.artifacts()
	l.git()
	l.gitAuth()
	if l.diags.HasErrors() {
		return nil, l.diags
	}
	return l.req, l.diags
}

// A lowering is a Request on its way.
type lowering struct {
	t     *config.Target
	o     LowerOptions
	req   *Request
	diags hcl.Diagnostics
}

// wrong notes a mistake in an attribute of the target.
func (l *lowering) wrong(attr, summary, format string, args ...any) {
	rng, ok := l.t.AttrRange[attr]
	if !ok {
		rng = l.t.DeclRange
	}
	l.diags = append(l.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  summary,
		Detail:   fmt.Sprintf("Target %q: ", l.t.Name) + fmt.Sprintf(format, args...),
		Subject:  &rng,
	})
}

func (l *lowering) tags() {
	for _, tag := range l.t.Tags {
		named, err := reference.ParseNormalizedNamed(tag)
		if err != nil {
			l.wrong("tags", "Invalid tag", "%q is not the name of an image: %v. A tag looks like %q or %q.",
				tag, err, "team/app:1.2", "registry.example.com/team/app:1.2")
			continue
		}
		l.req.Tags = append(l.req.Tags, reference.TagNameOnly(named).String())
	}
}

func (l *lowering) args() {
	have := map[string]bool{}
	for _, a := range l.t.Args {
		l.req.Attrs["build-arg:"+a.Key] = a.Value
		have[a.Key] = true
		have[strings.ToLower(a.Key)] = true
	}
	for _, p := range l.o.Proxies {
		if !have[strings.ToLower(p.Key)] {
			l.req.Attrs["build-arg:"+p.Key] = p.Value
		}
	}
	if l.o.Epoch != "" && !have["SOURCE_DATE_EPOCH"] {
		l.req.Attrs["build-arg:SOURCE_DATE_EPOCH"] = l.o.Epoch
	}
	if syntax, ok := l.req.Attrs["build-arg:BUILDKIT_SYNTAX"]; ok {
		if strings.TrimSpace(syntax) == "" {
			l.wrong("args", "Empty frontend", "the argument BUILDKIT_SYNTAX is empty. Give it the image of a frontend, or remove it.")
			return
		}
		l.frontend(syntax)
	}
}

// builtin is the daemon's own Dockerfile frontend.
const builtin = "dockerfile.v0"

// frontend has the Dockerfile read by what BUILDKIT_SYNTAX names: an image,
// or, whatever the Dockerfile asks for, the daemon's own frontend.
func (l *lowering) frontend(cmdline string) {
	source := strings.Fields(cmdline)[0]
	l.req.Attrs["cmdline"] = cmdline
	named := slices.ContainsFunc(l.t.Contexts, func(c config.NamedSource) bool { return c.Name == builtin })
	if source == builtin && !named {
		return
	}
	l.req.Frontend = "gateway.v0"
	l.req.Attrs["source"] = source
}

func (l *lowering) labels() {
	for _, kv := range l.t.Labels {
		l.req.Attrs["label:"+kv.Key] = kv.Value
	}
}

// cwd is the prefix of paths that are relative to the working directory
// whatever they would otherwise be relative to.
const cwd = "cwd://"

func (l *lowering) mainContext() {
	switch c := l.t.Context.(type) {
	case nil:
		l.localContext(".")
	case config.Local:
		l.localContext(strings.TrimPrefix(c.Path, cwd))
	case config.Remote:
		l.remoteContext(c.URL)
	default:
		l.wrong("context", "Unsupported context",
			"the context %q is neither a directory nor a URL. An image or a target can be a named context, in %q.", c.String(), "contexts")
	}
}

func (l *lowering) localContext(dir string) {
	dir = filepath.Clean(dir)
	l.req.Locals = append(l.req.Locals, Mount{"context", dir})
	if l.t.DockerfileInline != "" {
		l.inline()
		return
	}
	file := l.dockerfileName()
	if f, ok := strings.CutPrefix(file, cwd); ok {
		file = f
	} else if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	l.localDockerfile(file)
}

func (l *lowering) remoteContext(url string) {
	url = l.withoutLogin(url)
	l.req.Attrs["context"] = url
	file := l.dockerfileName()
	switch f, local := strings.CutPrefix(file, cwd); {
	case l.t.DockerfileInline != "":
		l.inline()
	case local:
		l.localDockerfile(f)
		l.req.Attrs["dockerfilekey"] = "dockerfile"
	default:
		l.req.Attrs["filename"] = file
		l.req.Dockerfile = redactURL(url) + ":" + file
	}
}

func (l *lowering) dockerfileName() string {
	if l.t.Dockerfile == "" {
		return "Dockerfile"
	}
	return l.t.Dockerfile
}

func (l *lowering) localDockerfile(file string) {
	file = filepath.Clean(file)
	l.req.Dockerfile = file
	l.req.Attrs["filename"] = filepath.Base(file)
	l.req.Locals = append(l.req.Locals, Mount{"dockerfile", filepath.Dir(file)})
}

func (l *lowering) inline() {
	l.req.Inline = l.t.DockerfileInline
	l.req.Dockerfile = "Dockerfile of " + l.t.Name + " (inline)"
	l.req.Attrs["filename"] = "Dockerfile"
	l.req.Attrs["dockerfilekey"] = "dockerfile"
}

func (l *lowering) namedContexts() {
	for _, c := range l.t.Contexts {
		name, ok := l.contextName(c)
		if !ok {
			continue
		}
		switch from := c.From.(type) {
		case config.FromTarget:
			l.req.Inputs = append(l.req.Inputs, Input{Name: name, Target: from.Target})
		case config.Stored:
			l.stored(name, c, from)
		case config.Layout:
			l.req.Layouts = append(l.req.Layouts, layoutOf(name, from.Ref))
		case config.Local:
			l.localNamed(name, strings.TrimPrefix(from.Path, cwd))
		default:
			l.req.Attrs["context:"+name] = l.withoutLogin(from.String())
		}
	}
	if len(l.t.Contexts) > 0 {
		addCaps(l.req.Attrs, contextCaps)
	}
}

// contextName is the name by which a frontend looks a named context up.
func (l *lowering) contextName(c config.NamedSource) (string, bool) {
	named, err := reference.ParseNormalizedNamed(c.Name)
	if err != nil {
		rng := c.Range
		l.diags = append(l.diags, &hcl.Diagnostic{
			Severity: hcl.DiagError, Summary: "Invalid context name", Subject: &rng,
			Detail: fmt.Sprintf("Target %q: %q cannot name a context: %v. A name is written like a stage or an image, in lower case.", l.t.Name, c.Name, err),
		})
		return "", false
	}
	return strings.TrimSuffix(reference.FamiliarString(named), ":latest"), true
}

func (l *lowering) localNamed(name, dir string) {
	dir = filepath.Clean(dir)
	mount := name
	if mount == "context" || mount == "dockerfile" {
		mount = "_" + mount
	}
	l.req.Locals = append(l.req.Locals, Mount{mount, dir})
	l.req.Attrs["context:"+name] = "local:" + mount
	l.req.Attrs["sharedkey:localdir:"+name] = filepath.Base(dir)
}

// layoutOf reads "path[:tag][@digest]".
func layoutOf(name, ref string) Layout {
	path, digest, _ := strings.Cut(ref, "@")
	tag := ""
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		path, tag = path[:i], path[i+1:]
	}
	return Layout{Name: name, Path: filepath.Clean(path), Tag: tag, Digest: digest}
}

func (l *lowering) call() {
	call := strings.SplitN(l.t.Call, ",", 2)[0]
	switch call {
	case "", "build":
		return
	case "check":
		call = "lint"
	}
	l.req.Call = call
	l.req.Attrs["requestid"] = "frontend." + call
	addCaps(l.req.Attrs, "moby.buildkit.frontend.subrequests+forward")
	l.req.Exports, l.req.CacheTo, l.req.Stored, l.req.Attested = nil, nil, false, false
}

// policies gives the daemon what it can enforce, and refuses what would
// otherwise be dropped in silence: a policy that is not enforced is worse
// than none.
func (l *lowering) policies() {
	for _, p := range l.t.Policy {
		if p.Disabled {
			l.req.Unguarded = true
			continue
		}
		for _, file := range append([]string{p.Filename}, p.More...) {
			switch {
			case file == "":
			case strings.EqualFold(filepath.Ext(file), ".json"):
				l.req.Policies = append(l.req.Policies, strings.TrimPrefix(file, cwd))
			default:
				l.wrong("policy", "Unsupported policy", "the policy %q cannot be enforced: kiln has no interpreter of Rego. Write it as a source policy of BuildKit, in a file whose name ends in .json, remove it, or set disabled = true in it.", file)
			}
		}
	}
}

// git says what the work tree is, to a build that has its context from it.
func (l *lowering) git() {
	g := l.o.Git
	if _, remote := l.t.Context.(config.Remote); g == nil || remote {
		return
	}
	for _, f := range []struct{ attr, label, value string }{
		{"vcs:revision", "label:org.opencontainers.image.revision", g.Revision},
		{"vcs:source", "label:org.opencontainers.image.source", g.Source},
	} {
		if f.value == "" {
			continue
		}
		l.req.Attrs[f.attr] = f.value
		if g.Labels {
			l.req.Attrs[f.label] = f.value
		}
	}
	for _, m := range l.req.Locals {
		if rel, err := filepath.Rel(g.Root, m.Dir); err == nil && filepath.IsLocal(rel) {
			l.req.Attrs["vcs:localdir:"+m.Name] = rel
		}
	}
	if rel, err := filepath.Rel(g.Root, l.req.Dockerfile); g.Labels && err == nil && filepath.IsLocal(rel) && l.req.Inline == "" {
		l.req.Attrs["label:com.docker.image.source.entrypoint"] = rel
	}
}

// gitAuth offers the login to a target with a context on the server.
func (l *lowering) gitAuth() {
	a := l.o.GitAuth
	if a == nil || !l.fetchesFrom(a.Host) {
		return
	}
	secrets := slices.Clone(l.req.Secrets)
	for _, s := range []config.Secret{{ID: llb.GitAuthTokenKey + "." + a.Host, Env: a.Token}, {ID: llb.GitAuthHeaderKey + "." + a.Host, Env: a.Header}} {
		if s.Env != "" {
			secrets = append(secrets, s)
		}
	}
	l.req.Secrets = secrets
}

// fetchesFrom reports whether a context of the target is a git repository of
// that host.
func (l *lowering) fetchesFrom(host string) bool {
	sources := []config.Source{l.t.Context}
	for _, c := range l.t.Contexts {
		sources = append(sources, c.From)
	}
	return slices.ContainsFunc(sources, func(s config.Source) bool {
		r, ok := s.(config.Remote)
		return ok && IsGit(r.URL) && strings.EqualFold(GitHost(r.URL), host)
	})
}
