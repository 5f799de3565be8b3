package cli

import (
	"context"
	"os"
	"strings"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

// A remoteSource is where a definition comes from when the first arguments
// are URLs. The zero value is a definition of this machine.
type remoteSource struct {
	url        string // of the definition
	cmdContext string // the second URL, for BAKE_CMD_CONTEXT
}

// splitURLs takes the URLs off the front of the arguments.
func splitURLs(args []string) (remoteSource, []string) {
	var r remoteSource
	if len(args) > 0 && buildkit.IsURL(args[0]) {
		r.url, args = args[0], args[1:]
		if len(args) > 0 && buildkit.IsURL(args[0]) {
			r.cmdContext, args = args[0], args[1:]
		}
	}
	return r, args
}

// loadRemote has the builder fetch a definition, and evaluates it. Contexts
// of a repository's definition are directories of the repository; those of a
// web server's file are of this machine.
func (a *app) loadRemote(ctx context.Context, b *builder, r remoteSource, d definitionFlags, short []config.Override) (*definition, error) {
	in, err := a.inputs(ctx, d, short)
	if err != nil {
		return nil, err
	}
	in.CmdContext = r.cmdContext
	if buildkit.IsGit(r.url) {
		in.Remote = r.url
	}
	files, err := a.fetch(ctx, b, r, d.files)
	if err != nil {
		return nil, a.definitionError(err, nil)
	}
	def, err := a.evaluate(files, in)
	if def != nil {
		def.remote = true
	}
	return def, err
}

// fetch has the builder fetch the definition. Files named cwd://PATH are
// read here and come after the remote ones.
func (a *app) fetch(ctx context.Context, b *builder, r remoteSource, names []string) ([]config.File, error) {
	var remote, local []string
	for _, n := range a.definitionNames(names) {
		if strings.HasPrefix(n, "cwd://") {
			local = append(local, n)
		} else {
			remote = append(remote, n)
		}
	}
	fetched, err := b.conn.Fetch(ctx, buildkit.FetchRequest{
		URL:       r.url,
		Names:     remote,
		Defaults:  defaultNames(),
		GitToken:  a.foldEnv("BUILDX_BAKE_GIT_AUTH_TOKEN"),
		GitHeader: a.foldEnv("BUILDX_BAKE_GIT_AUTH_HEADER"),
		SSH:       splitNonEmpty(a.env["BUILDX_BAKE_GIT_SSH"]),
		GitAdvice: isTrue(a.env["BUILDX_BAKE_GIT_ADVICE"]),
	})
	if err != nil {
		return nil, &exitError{code: codeUsage, err: err}
	}
	var files []config.File
	for _, f := range fetched {
		files = append(files, config.File{Name: f.Name, Data: f.Data, Remote: true})
	}
	if len(local) == 0 {
		return files, nil
	}
	more, err := readDefinitions(fileOptions{names: local, dir: a.dir, getenv: a.lookupEnv, stdin: a.In})
	return append(files, more...), err
}

// definitionNames are the names of -f, or those of the environment.
func (a *app) definitionNames(names []string) []string {
	if len(names) > 0 {
		return names
	}
	sep := a.env["BUILDX_BAKE_PATH_SEPARATOR"]
	if sep == "" {
		sep = string(os.PathListSeparator)
	}
	var out []string
	for n := range strings.SplitSeq(a.env["BUILDX_BAKE_FILE"], sep) {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// foldEnv is the value of a variable whose name may be in any case, as bake
// looks up the git credentials.
func (a *app) foldEnv(name string) string {
	if v, ok := a.env[name]; ok {
		return v
	}
	for k, v := range a.env {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

func splitNonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
