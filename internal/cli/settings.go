package cli

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"

	kiln "github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/gitfacts"
)

// isTrue reports whether s is a Go boolean that is true.
func isTrue(s string) bool {
	v, err := strconv.ParseBool(s)
	return err == nil && v
}

// isFalse reports whether s is a Go boolean that is false.
func isFalse(s string) bool {
	v, err := strconv.ParseBool(s)
	return err == nil && !v
}

// lowerOptions are what requests depend on beside the targets.
func (a *app) lowerOptions(ctx context.Context) (buildkit.LowerOptions, error) {
	o, err := a.plainLowering()
	if err != nil {
		return o, err
	}
	if v := a.env["EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"]; v != "" {
		if err := buildkit.CheckPolicy(a.path(v), v); err != nil {
			return o, usagef("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY: %w", err)
		}
	}
	o.Git = a.gitInfo(ctx)
	return o, nil
}

// plainLowering are the lowerOptions without what git says of the work tree.
func (a *app) plainLowering() (buildkit.LowerOptions, error) {
	o := buildkit.LowerOptions{Provenance: true, Proxies: a.proxies()}
	off, err := a.flag("BUILDX_NO_DEFAULT_ATTESTATIONS")
	if err != nil {
		return o, err
	}
	o.Provenance = !off
	o.NoArtifacts, err = a.flag("BUILDX_NO_DEFAULT_OCI_ARTIFACT")
	return o, err
}

// flag reads a variable that has to be true or false; not set, it is false.
func (a *app) flag(name string) (bool, error) {
	v := a.env[name]
	if v == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, usagef("%s is %q; it has to be true or false", name, v)
	}
	return on, nil
}

// workTree is the git work tree around the working directory, opened once: it
// remembers what git has answered.
func (a *app) workTree(ctx context.Context) *gitfacts.Repo {
	if a.repo == nil {
		a.repo = gitfacts.Open(ctx, a.dir)
	}
	return a.repo
}

// gitInfo is what provenance and labels say of the work tree; nil outside of one.
func (a *app) gitInfo(ctx context.Context) *buildkit.GitInfo {
	labels := isTrue(a.env["BUILDX_GIT_LABELS"]) || a.env["BUILDX_GIT_LABELS"] == "full"
	if isFalse(a.env["BUILDX_GIT_INFO"]) && !labels {
		return nil
	}
	repo := a.workTree(ctx)
	info, err := repo.Info()
	if err != nil { // no repository, or no git: the build says nothing of it
		return nil
	}
	g := &buildkit.GitInfo{Revision: info.Revision, Source: info.Source, Root: info.Root, Labels: labels}
	if isTrue(a.env["BUILDX_GIT_CHECK_DIRTY"]) {
		if dirty, err := repo.Dirty(); err == nil && dirty {
			g.Revision += "-dirty"
		}
	}
	return g
}

// dockerProxies are the spellings of the proxy settings, as build arguments.
var dockerProxies = []string{
	"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy",
	"NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
}

// proxies are the default proxy settings of the Docker client's
// configuration, by name; none where there is no such file.
func (a *app) proxies() []kiln.KeyValue {
	dir := a.dockerConfig()
	if dir == "" {
		return nil
	}
	cf, err := config.Load(dir)
	if err != nil {
		return nil // credentials tell of a broken file where they are needed
	}
	return proxiesOf(cf)
}

func proxiesOf(cf *configfile.ConfigFile) []kiln.KeyValue {
	var out []kiln.KeyValue
	for name, value := range cf.ParseProxyConfig("default", nil) {
		if value != nil && slices.Contains(dockerProxies, name) {
			out = append(out, kiln.KeyValue{Key: name, Value: *value})
		}
	}
	slices.SortFunc(out, func(a, b kiln.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	return out
}
