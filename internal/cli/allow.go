package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

// Permissions are computed from what the selected targets read, write and
// ask for, and compared with what --allow grants. Nothing is gathered on the
// way of a build.

// A grantKind is the part of an --allow value before "=".
type grantKind string

const (
	grantNetworkHost grantKind = "network.host"
	grantInsecure    grantKind = "security.insecure"
	grantDevice      grantKind = "device"
	grantFSRead      grantKind = "fs.read"
	grantFSWrite     grantKind = "fs.write"
	grantFS          grantKind = "fs"
	grantSSH         grantKind = "ssh"
	grantLocalDelete grantKind = "buildx.local.delete"
)

var grantKinds = []grantKind{
	grantNetworkHost, grantInsecure, grantDevice, grantFSRead, grantFSWrite, grantFS, grantSSH, grantLocalDelete,
	"image", "image.push", "image.load", // bake takes these and does nothing with them
}

// A grant is one privilege: what --allow gives or what a target needs.
type grant struct {
	kind  grantKind
	value string // a path for fs kinds, a name for device; "" if there is none
}

func (g grant) String() string {
	if g.value == "" {
		return string(g.kind)
	}
	return string(g.kind) + "=" + g.value
}

// A need is a privilege with the target that asks for it and why.
type need struct {
	grant
	target string
	why    string
}

// parseAllow reads the values of --allow, each possibly a comma list.
func parseAllow(values []string) ([]grant, error) {
	var out []grant
	for _, v := range values {
		for one := range strings.SplitSeq(v, ",") {
			g, err := parseGrant(strings.TrimSpace(one))
			if err != nil {
				return nil, err
			}
			out = append(out, g)
		}
	}
	return out, nil
}

func parseGrant(s string) (grant, error) {
	kind, value, hasValue := strings.Cut(s, "=")
	k := grantKind(kind)
	if !slices.Contains(grantKinds, k) {
		var names []string
		for _, g := range grantKinds {
			names = append(names, string(g))
		}
		return grant{}, usagef("--allow %s: unknown entitlement key %q%s", s, kind, didYouMean(kind, names))
	}
	switch k {
	case grantFS, grantFSRead, grantFSWrite:
		if value == "" {
			return grant{}, usagef("--allow %s needs a path: --allow %s=PATH, or * for all", s, kind)
		}
	case grantLocalDelete, grantNetworkHost, grantInsecure:
		if hasValue {
			return grant{}, usagef("--allow %s: %s takes no value", s, kind)
		}
	}
	return grant{k, value}, nil
}

// needsOf lists the privileges of the targets, in their order, each once.
func (a *app) needsOf(targets []*config.Target) []need {
	var out []need
	seen := map[grant]bool{}
	for _, t := range targets {
		for _, n := range a.targetNeeds(t) {
			if !seen[n.grant] {
				seen[n.grant] = true
				out = append(out, n)
			}
		}
	}
	return out
}

func (a *app) targetNeeds(t *config.Target) []need {
	var out []need
	add := func(kind grantKind, value, why string) {
		out = append(out, need{grant{kind, value}, t.Name, why})
	}
	for _, e := range t.Entitlements {
		kind, value, _ := strings.Cut(e, "=")
		add(grantKind(kind), value, "entitlements")
	}
	a.readNeeds(t, func(path, why string) { add(grantFSRead, path, why) })
	writeNeeds(t, func(path, why string) { add(grantFSWrite, path, why) })
	for _, s := range t.SSH {
		if len(s.Paths) == 0 {
			add(grantSSH, "", "ssh agent")
		}
	}
	if c, ok := t.Context.(config.Remote); ok && len(t.SSH) == 0 && buildkit.IsGitSSH(c.URL) && a.env["SSH_AUTH_SOCK"] != "" {
		add(grantSSH, "", "context by SSH")
	}
	for _, o := range t.Outputs {
		if o.Type == "local" && attr(o.Attrs, "mode") == "delete" {
			add(grantLocalDelete, "", "output with mode=delete")
		}
	}
	return out
}

// readNeeds calls add for each local path that building t reads.
func (a *app) readNeeds(t *config.Target, add func(path, why string)) {
	if local, ok := t.Context.(config.Local); ok {
		add(local.Path, "context")
		a.ignoreNeeds(filepath.Join(local.Path, ".dockerignore"), add)
	}
	if path, ok := dockerfilePath(t); ok {
		a.dockerfileNeeds(path, add)
	}
	for _, c := range t.Contexts {
		switch s := c.From.(type) {
		case config.Local:
			add(s.Path, "context "+c.Name)
			a.ignoreNeeds(filepath.Join(s.Path, ".dockerignore"), add)
		case config.Layout:
			add(layoutPath(s.Ref), "context "+c.Name)
		}
	}
	for _, c := range t.CacheFrom {
		if c.Type == "local" {
			add(attr(c.Attrs, "src"), "cache-from")
		}
	}
	for _, s := range t.Secrets {
		if path := a.secretFile(s); path != "" {
			add(path, "secret "+s.ID)
		}
	}
	for _, p := range t.Policy {
		for _, path := range append([]string{p.Filename}, p.More...) {
			if path != "" && !p.Disabled {
				add(strings.TrimPrefix(path, "cwd://"), "policy")
			}
		}
	}
	for _, s := range t.SSH {
		for _, p := range s.Paths {
			add(p, "ssh "+s.ID)
		}
	}
}

// dockerfileNeeds adds a Dockerfile, or the one of that name in lower case
// that is read where there is none, and the list of what it ignores.
func (a *app) dockerfileNeeds(path string, add func(path, why string)) {
	if !isFile(a.path(path)) {
		lower := filepath.Join(filepath.Dir(path), strings.ToLower(filepath.Base(path)))
		if isFile(a.path(lower)) {
			path = lower
		}
	}
	add(path, "dockerfile")
	a.ignoreNeeds(path+".dockerignore", add)
}

// ignoreNeeds adds a .dockerignore where it is a symbolic link: other files
// of a context are not followed out of it.
func (a *app) ignoreNeeds(path string, add func(path, why string)) {
	if st, err := os.Lstat(a.path(path)); err == nil && st.Mode()&os.ModeSymlink != 0 {
		add(path, "dockerignore")
	}
}

// secretFile is the file that a secret is read from; "" if it comes from the
// environment.
func (a *app) secretFile(s config.Secret) string {
	switch {
	case s.Env != "":
		return ""
	case s.Src != "":
		return s.Src
	case a.env[s.ID] != "":
		return ""
	}
	return s.ID
}

func writeNeeds(t *config.Target, add func(path, why string)) {
	for _, o := range t.Outputs {
		if o.Dest != "" && o.Dest != "-" {
			add(o.Dest, "output")
		}
	}
	for _, c := range t.CacheTo {
		if c.Type == "local" {
			add(attr(c.Attrs, "dest"), "cache-to")
		}
	}
}

// layoutPath is the directory of "path[:tag][@digest]".
func layoutPath(ref string) string {
	path, _, _ := strings.Cut(ref, "@")
	if i := strings.LastIndex(path, ":"); i > strings.LastIndex(path, "/") {
		path = path[:i]
	}
	return path
}

func attr(kvs []config.KeyValue, key string) string {
	for _, kv := range kvs {
		if kv.Key == key {
			return kv.Value
		}
	}
	return ""
}

// missing returns the needs that no grant covers, without those that would
// come with another of them. Paths are relative to dir.
func missing(needs []need, grants []grant, dir string) []need {
	grants = slices.Clone(grants)
	var out []need
	for _, n := range needs {
		if slices.ContainsFunc(grants, func(g grant) bool { return g.covers(n.grant, dir) }) {
			continue
		}
		out = append(out, n)
		grants = append(grants, n.grant)
	}
	return out
}

// covers reports whether g grants n.
func (g grant) covers(n grant, dir string) bool {
	switch n.kind {
	case grantFSRead, grantFSWrite:
		if g.kind != n.kind && g.kind != grantFS {
			return false
		}
		return g.value == "*" || within(realPath(dir, g.value), realPath(dir, n.value))
	case grantDevice:
		return g.kind == n.kind && (g.value == "" || g.value == n.value)
	}
	return g.kind == n.kind
}

// within reports whether path is dir or below it. Both are real paths.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// realPath resolves the symbolic links of path's deepest existing parent, and
// links that lead to what does not exist yet.
func realPath(dir, path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return resolved(filepath.Clean(path), 0)
}

// maxLinks bounds links that lead to links, as the system does.
const maxLinks = 40

func resolved(path string, links int) string {
	rest := ""
	for p := path; ; p = filepath.Dir(p) {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(real, rest)
		}
		if to, err := os.Readlink(p); err == nil && links < maxLinks {
			if !filepath.IsAbs(to) {
				to = filepath.Join(resolved(filepath.Dir(p), links+1), to)
			}
			return resolved(filepath.Join(to, rest), links+1)
		}
		if p == filepath.Dir(p) {
			return path
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}

// enforced leaves out what the environment says not to insist on.
func (a *app) enforced(needs []need, remote bool) []need {
	off := isFalse(a.env["BUILDX_BAKE_ENTITLEMENTS_FS"])
	if remote && a.env["BUILDX_BAKE_ENTITLEMENTS_FS"] == "" && isTrue(a.env["BAKE_ALLOW_REMOTE_FS_ACCESS"]) {
		off = true
	}
	if !off {
		return needs
	}
	return slices.DeleteFunc(slices.Clone(needs), func(n need) bool {
		return n.kind == grantFSRead || n.kind == grantFSWrite || n.kind == grantSSH
	})
}

// lacking are the privileges that targets of a definition need and that
// nobody grants.
func (a *app) lacking(allow []string, targets []*config.Target, d *definition) ([]need, error) {
	granted, err := parseAllow(allow)
	if err != nil {
		return nil, err
	}
	granted = append(granted, implied(d.files)...)
	granted = append(granted, overrideGrants(d.overrides)...)
	return a.enforced(missing(a.needsOf(targets), granted, a.dir), d.remote), nil
}

// ask tells the user which privileges are missing and how to grant them, and
// asks for them where someone is there to answer. A nil error is a yes.
func (a *app) ask(ctx context.Context, lacking []need, interactive bool) error {
	if !interactive {
		return usagef("additional privileges requested: pass %s", strings.Join(flagsFor(lacking), " "))
	}
	a.explain(lacking)
	if !isTerminal(a.In) {
		return usagef("additional privileges requested; see the flags above")
	}
	yes, err := a.agreed(ctx, "Do you want to grant them and go on?")
	if err == nil && !yes {
		err = usagef("additional privileges refused")
	}
	return err
}

func (a *app) explain(lacking []need) {
	fmt.Fprintln(a.Err, "Your build asks for more than it may do by default:")
	fmt.Fprintln(a.Err)
	for _, n := range lacking {
		fmt.Fprintf(a.Err, "  %-32s target %s, %s\n", n.grant, n.target, n.why)
	}
	fmt.Fprintf(a.Err, "\nTo grant it, run:\n\n  kiln %s\n\n", a.discreet(strings.Join(withFlags(a.args, flagsFor(lacking)), " ")))
}

func flagsFor(lacking []need) []string {
	var out []string
	for _, n := range lacking {
		out = append(out, "--allow "+quoteArg(n.String()))
	}
	return out
}

// withFlags puts flags behind the name of the command that the user gave.
func withFlags(args, flags []string) []string {
	out := []string{}
	for _, arg := range args {
		out = append(out, quoteArg(arg))
	}
	at := slices.IndexFunc(args, func(arg string) bool { return !strings.HasPrefix(arg, "-") }) + 1
	return slices.Insert(out, at, flags...)
}

// quoteArg quotes s for a shell where it has to be.
func quoteArg(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,@%+", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// implied are the grants that need no flag: the working directory, and the
// directories whose build files say that paths are relative to them. Those of
// files that the user has not named, and that were not looked for, do not
// count: a build file cannot grant by an include.
func implied(files []config.File) []grant {
	out := []grant{{grantFS, "."}}
	for _, f := range files {
		if f.Base != "" && !f.Included && !f.Remote && !slices.Contains(out, grant{grantFS, f.Base}) {
			out = append(out, grant{grantFS, f.Base})
		}
	}
	return out
}
