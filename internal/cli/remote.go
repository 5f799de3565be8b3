package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/diag"
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

// A remoteFetcher fetches a definition.
type remoteFetcher struct {
	source  remoteSource
	builder *builder
	retries exec.Retries
	tell    func(exec.Retry) // before it is tried again
}

// loadRemote has the builder fetch a definition, and evaluates it. Contexts
// of a repository's definition are directories of the repository; those of a
// web server's file are of this machine.
func (a *app) loadRemote(ctx context.Context, f remoteFetcher, d definitionFlags, short []config.Override) (*definition, error) {
	r := f.source
	in, err := a.inputs(ctx, d, short)
	if err != nil {
		return nil, err
	}
	in.CmdContext = r.cmdContext
	if buildkit.IsGit(r.url) {
		in.Remote = r.url
		in.Facts = noRemoteFacts
	}
	fence, err := a.fence(d.allow, true)
	if err != nil {
		return nil, err
	}
	files, err := a.fetch(ctx, f, fileOptions{names: d.files, dir: a.dir, getenv: a.lookupEnv, stdin: a.In, fence: fence})
	if err != nil {
		return nil, a.definitionError(err, files)
	}
	in.Compose = fence.compose(files)
	def, err := a.evaluate(files, in)
	if def != nil {
		def.remote, def.url = true, in.Remote
	}
	return def, err
}

// noRemoteFacts answers git.commit and its kin in a repository that the
// builder has fetched: the work tree here is another.
func noRemoteFacts(string) (string, error) {
	return "", errors.New("the definition is from a remote repository, of which kiln knows no more than its files")
}

// fetch has the builder fetch the definition. Files named cwd://PATH, and
// standard input, are read here and come after the remote ones.
func (a *app) fetch(ctx context.Context, f remoteFetcher, opts fileOptions) ([]config.File, error) {
	r := f.source
	names := opts.names
	if len(names) == 0 {
		names = bakeFileNames(a.lookupEnv)
	}
	var remote []string
	opts.names = nil
	for _, n := range names {
		if n == "-" || strings.HasPrefix(n, "cwd://") {
			opts.names = append(opts.names, n)
		} else {
			remote = append(remote, n)
		}
	}
	reader, err := newFileReader(opts)
	if err != nil {
		return nil, usagef("%w", err)
	}
	request := buildkit.FetchRequest{
		URL:       r.url,
		Names:     remote,
		Defaults:  append([]string{ownName, ownOverrideName}, bakeNames...),
		GitToken:  a.env[a.foldEnv(gitTokenVariable)],
		GitHeader: a.env[a.foldEnv(gitHeaderVariable)],
		SSH:       splitNonEmpty(a.env["BUILDX_BAKE_GIT_SSH"]),
		GitAdvice: isTrue(a.env["BUILDX_BAKE_GIT_ADVICE"]),
	}
	var fetched []buildkit.FetchedFile
	err = f.retries.Do(ctx, r.url, f.tell, func() (err error) {
		fetched, err = f.builder.conn.Fetch(ctx, request)
		return err
	})
	if err != nil {
		return nil, &exitError{code: codeUsage, err: err}
	}
	files := reader.remote(fetched, len(remote) > 0)
	if len(files) == 0 {
		return nil, usagef("there is no build file in %s: looked for %s, %s; name a file of the repository with -f",
			diag.Redact(r.url), ownName, strings.Join(bakeNames, ", "))
	}
	if err := refuseIncludes(files); err != nil || len(opts.names) == 0 {
		return files, err
	}
	local, err := readDefinitions(opts)
	for i := range local { // diagnostics must not take one for the other
		if slices.ContainsFunc(files, func(f config.File) bool { return f.Name == local[i].Name }) {
			local[i].Name = "cwd://" + local[i].Name
		}
	}
	return append(files, local...), err
}

// remote makes definition files of those that were fetched. Unless they were
// named, a build.hcl is preferred to the files that bake looks for. Paths are
// relative to the repository's root, or the directory that the URL names.
func (r *fileReader) remote(fetched []buildkit.FetchedFile, named bool) []config.File {
	fetched = slices.DeleteFunc(fetched, func(f buildkit.FetchedFile) bool { return len(f.Data) == 0 })
	isOwn := func(f buildkit.FetchedFile) bool { return f.Name == ownName || f.Name == ownOverrideName }
	hasOwn := slices.ContainsFunc(fetched, func(f buildkit.FetchedFile) bool { return f.Name == ownName })
	var files []config.File
	for _, f := range fetched {
		if !named && isOwn(f) != hasOwn {
			continue
		}
		file := r.file(f.Name, f.Data)
		file.Remote = true
		files = append(files, file)
	}
	return files
}

// refuseIncludes refuses include blocks in files that the builder has
// fetched: what they would name is not there when they are read.
func refuseIncludes(files []config.File) error {
	var diags hcl.Diagnostics
	for _, f := range files {
		includes, more := config.Includes(f)
		diags = append(diags, more...)
		for _, inc := range includes {
			diags = append(diags, &hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "Include in a remote definition",
				Detail:   fmt.Sprintf("%q cannot be included: the files of a remote definition are fetched by name. Name each with -f, or build from a clone of the repository.", inc.Pattern),
				Subject:  &inc.Range,
			})
		}
	}
	if len(diags) > 0 {
		return diags
	}
	return nil
}

const (
	gitTokenVariable  = "BUILDX_BAKE_GIT_AUTH_TOKEN"
	gitHeaderVariable = "BUILDX_BAKE_GIT_AUTH_HEADER"
)

// gitAuth is the login for the git server of a remote definition.
func (a *app) gitAuth(url string) *buildkit.GitAuth {
	auth := &buildkit.GitAuth{Host: buildkit.GitHost(url), Token: a.foldEnv(gitTokenVariable), Header: a.foldEnv(gitHeaderVariable)}
	if auth.Host == "" || auth.Token == "" && auth.Header == "" {
		return nil
	}
	return auth
}

// foldEnv is the name of a variable that is set, whose name may be in any
// case, as bake looks up the git credentials; "" if there is none.
func (a *app) foldEnv(name string) string {
	if a.env[name] != "" {
		return name
	}
	for _, k := range slices.Sorted(maps.Keys(a.env)) {
		if strings.EqualFold(k, name) && a.env[k] != "" {
			return k
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
