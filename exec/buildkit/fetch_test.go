package buildkit_test

import (
	"encoding/base64"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

var bakeDefaults = []string{"compose.yaml", "docker-bake.hcl", "docker-bake.override.hcl"}

// fetched fetches and returns each file as "NAME: TEXT", or the error's text.
func fetched(t *testing.T, conn *buildkit.Conn, r buildkit.FetchRequest) []string {
	t.Helper()
	if r.Defaults == nil {
		r.Defaults = bakeDefaults
	}
	files, err := conn.Fetch(t.Context(), r)
	if err != nil {
		return []string{err.Error()}
	}
	out := []string{}
	for _, f := range files {
		out = append(out, f.Name+": "+string(f.Data))
	}
	return out
}

func TestFetch(t *testing.T) {
	g := testenv.NewGitServer(t)
	g.Commit(t, "r", "main", map[string]string{
		"docker-bake.hcl": "main", "docker-bake.override.hcl": "override", "other.hcl": "other",
		"sub/docker-bake.hcl": "sub", "sub/deep/x.hcl": "x",
	})
	first := g.Commit(t, "r", "dev", map[string]string{"docker-bake.hcl": "dev 1"})
	second := g.Commit(t, "r", "dev", map[string]string{"docker-bake.hcl": "dev 2"})
	daemon := g.Daemon(t)
	conn := dial(t, "")
	both := []string{"docker-bake.hcl: main", "docker-bake.override.hcl: override"}
	for _, test := range []struct {
		name, url string
		names     []string
		want      []string
	}{
		{"the default branch", "/r.git", nil, both},
		{"a branch", "/r.git#dev", nil, []string{"docker-bake.hcl: dev 2"}},
		{"a commit", "/r.git#" + first, nil, []string{"docker-bake.hcl: dev 1"}},
		{"a directory", "/r.git#:sub", nil, []string{"docker-bake.hcl: sub"}},
		{"a directory of a branch", "/r.git#main:sub", nil, []string{"docker-bake.hcl: sub"}},
		{"a query", "/r.git?branch=main&subdir=sub", nil, []string{"docker-bake.hcl: sub"}},
		{"a reference in a query", "/r.git?ref=dev", nil, []string{"docker-bake.hcl: dev 2"}},
		{"a branch that has to be at a commit", "/r.git?branch=dev&commit=" + second, nil, []string{"docker-bake.hcl: dev 2"}},
		{"names, in their order", "/r.git", []string{"sub/deep/x.hcl", "other.hcl"}, []string{"sub/deep/x.hcl: x", "other.hcl: other"}},
		{"names in a directory", "/r.git#:sub", []string{"deep/x.hcl"}, []string{"deep/x.hcl: x"}},
		{"no defaults", "/r.git#:sub/deep", nil, []string{}},
	} {
		for _, server := range []string{g.URL, daemon} {
			t.Run(test.name+" of "+strings.SplitN(server, ":", 2)[0], func(t *testing.T) {
				got := fetched(t, conn, buildkit.FetchRequest{URL: server + test.url, Names: test.names})
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
	for _, test := range []struct {
		name, url string
		names     []string
		want      string
	}{
		{"no such file", "/r.git", []string{"nope.hcl"}, `the repository has no file "nope.hcl"; a file of this machine is cwd://nope.hcl`},
		{"out of the repository", "/r.git", []string{"../../../../etc/passwd"}, `the repository has no file "../../../../etc/passwd"`},
		{"an absolute name", "/r.git", []string{"/etc/passwd"}, `the repository has no file "/etc/passwd"`},
		{"no such branch", "/r.git#nope", nil, "repository does not contain ref nope"},
		{"no such repository", "/nope.git", nil, "not found"},
		{"a branch at another commit", "/r.git?branch=dev&commit=" + first, nil, "expected checksum to match " + first},
		{"unknown query", "/r.git?brunch=main", nil, `unexpected query "brunch"`},
		{"two directories", "/r.git?subdir=sub#:deep", nil, "subdir conflicts"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := fetched(t, conn, buildkit.FetchRequest{URL: g.URL + test.url, Names: test.names}); len(got) != 1 || !strings.Contains(got[0], test.want) {
				t.Errorf("got  %q\nwant %q in it", got, test.want)
			}
		})
	}
}

func TestIsURL(t *testing.T) {
	for url, want := range map[string]bool{
		"https://example.com/r.git": true, "https://example.com/r.git#main:sub": true, "https://example.com/r.git?x=y": true,
		"git://example.com/r": true, "ssh://git@example.com/r": true, "git@example.com:team/r.git": true,
		"github.com/team/r": true, "https://example.com/bake.hcl": true, "http://example.com/a/b.json?x": true,
		"default": false, "./r.git": false, "a.b": false, "api-*": false, "r.git": false, "ftp://example.com/r": false,
	} {
		if got := buildkit.IsURL(url); got != want {
			t.Errorf("IsURL(%q) is %v", url, got)
		}
	}
}

// Credentials go to the server that the definition is on, and are told in no error.
func TestFetchCredentials(t *testing.T) {
	token := "s3cret-of-mine"
	basic := "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+token))
	for _, test := range []struct {
		name, asked string
		req         buildkit.FetchRequest
		want        string
	}{
		{"a token", basic, buildkit.FetchRequest{GitToken: token}, "docker-bake.hcl: private"},
		{"a header", "Bearer " + token, buildkit.FetchRequest{GitHeader: "Bearer " + token}, "docker-bake.hcl: private"},
		{"none", basic, buildkit.FetchRequest{}, "BUILDX_BAKE_GIT_AUTH_TOKEN"},
		{"a wrong token", basic, buildkit.FetchRequest{GitToken: "wrong-" + token}, "BUILDX_BAKE_GIT_AUTH_TOKEN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := testenv.NewGitServer(t)
			g.Commit(t, "r", "main", map[string]string{"docker-bake.hcl": "private"})
			g.Ask(test.asked)
			test.req.URL = g.URL + "/r.git"
			got := fetched(t, dial(t, ""), test.req)
			if len(got) != 1 || !strings.Contains(got[0], test.want) {
				t.Errorf("got  %q\nwant %q in it", got, test.want)
			}
			if strings.Contains(got[0], token) {
				t.Errorf("the error tells the token: %s", got[0])
			}
		})
	}
}

// A target gets the login if a context is on the server, not otherwise.
func TestLowerGitAuth(t *testing.T) {
	auth := &buildkit.GitAuth{Host: "git.example.com:8443", Token: "T", Header: "H"}
	remote := func(url string) config.Source { return config.Remote{URL: url} }
	for _, test := range []struct {
		name    string
		context config.Source
		named   config.Source
		want    bool
	}{
		{"the host", remote("https://git.example.com:8443/r.git#main:sub"), nil, true},
		{"in capitals", remote("https://GIT.example.com:8443/other.git"), nil, true},
		{"with another port", remote("https://git.example.com/r.git"), nil, false},
		{"another host", remote("https://git.example.com.evil.org:8443/r.git"), nil, false},
		{"as a user of another host", remote("https://git.example.com:8443@evil.org/r.git"), nil, false},
		{"in the path of another", remote("https://evil.org/git.example.com:8443/r.git"), nil, false},
		{"a file of the host", remote("https://git.example.com:8443/r.tar"), nil, false},
		{"a directory", local("."), nil, false},
		{"a named context", local("."), remote("https://git.example.com:8443/r.git"), true},
		{"a named context elsewhere", local("."), remote("https://evil.org/r.git"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := &config.Target{Name: "x", Context: test.context, Secrets: []config.Secret{{ID: "own", Env: "E"}}}
			if test.named != nil {
				target.Contexts = []config.NamedSource{{Name: "n", From: test.named}}
			}
			req, diags := buildkit.Lower(target, buildkit.LowerOptions{GitAuth: auth})
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			want := []config.Secret{{ID: "own", Env: "E"}}
			if test.want {
				want = append(want, config.Secret{ID: "GIT_AUTH_TOKEN.git.example.com:8443", Env: "T"}, config.Secret{ID: "GIT_AUTH_HEADER.git.example.com:8443", Env: "H"})
			}
			if diff := cmp.Diff(want, req.Secrets); diff != "" {
				t.Error(diff)
			}
			if len(target.Secrets) != 1 {
				t.Error("the target was written to")
			}
		})
	}
}

// What is said of the work tree is not said of a repository elsewhere.
func TestLowerGitOfRemote(t *testing.T) {
	git := &buildkit.GitInfo{Revision: "r", Source: "s", Root: ".", Labels: true}
	for _, test := range []struct {
		context config.Source
		want    string
	}{{local("."), "r"}, {config.Remote{URL: "https://example.com/r.git"}, ""}} {
		req, diags := buildkit.Lower(&config.Target{Name: "x", Context: test.context}, buildkit.LowerOptions{Git: git})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		if got := req.Attrs["vcs:revision"]; got != test.want {
			t.Errorf("%v: revision %q, want %q", test.context, got, test.want)
		}
	}
}

// A web server's certificate is checked by the daemon, with its own roots.
func TestFetchWeb(t *testing.T) {
	url, cert := testenv.WebServer(t, map[string]string{
		"/bake.hcl": `target "default" {}`,
		"/big.hcl":  strings.Repeat("# a comment\n", 200_000),
		"/a.tar.gz": "\x1f\x8b\x08" + strings.Repeat("\x00", 600),
	})
	stranger := fetched(t, dial(t, ""), buildkit.FetchRequest{URL: url + "/bake.hcl"})
	if !strings.Contains(stranger[0], "certificate signed by unknown authority") {
		t.Errorf("without the certificate: %q", stranger)
	}
	t.Setenv("SSL_CERT_FILE", cert)
	conn := dial(t, testenv.Start(t).Addr)
	for path, want := range map[string]string{
		"/bake.hcl": url + `/bake.hcl: target "default" {}`,
		"/big.hcl":  "a definition may have 2.097MB",
		"/a.tar.gz": "the file is an archive",
		"/nope.hcl": "404",
	} {
		if got := fetched(t, conn, buildkit.FetchRequest{URL: url + path}); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: got  %q\nwant %q in it", path, got, want)
		}
	}
}

// withoutGit makes a PATH of what else an engine needs.
func withoutGit(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"runc", "newuidmap", "newgidmap"} {
		if path, err := osexec.LookPath(name); err == nil {
			if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", dir)
}

func TestFetchWithoutGit(t *testing.T) {
	g := testenv.NewGitServer(t)
	g.Commit(t, "r", "main", map[string]string{"docker-bake.hcl": "x", "Dockerfile": "FROM scratch\nCOPY docker-bake.hcl /\n"})
	withoutGit(t)
	d := testenv.Start(t)
	got := fetched(t, dial(t, d.Addr), buildkit.FetchRequest{URL: g.URL + "/r.git"})
	if want := "git, which is not installed, or not in PATH, where the builder runs"; !strings.Contains(got[0], want) {
		t.Errorf("got  %q\nwant %q in it", got, want)
	}
	s := session{addr: d.Addr, dir: t.TempDir(), targets: []*config.Target{{Name: "x", Context: config.Remote{URL: g.URL + "/r.git"}, Outputs: cacheOnly}}}
	out, _ := s.run(t, t.Context()) // its error is that of the outcome
	if err := out["x"].Err; err == nil || !strings.Contains(err.Error(), "install it there") {
		t.Errorf("a target's context: %v", err)
	}
}

// fakeSSH stands for ssh: it lets in who has an agent, and runs git's part
// of the server here.
const fakeSSH = `#!/bin/sh
[ -S "$SSH_AUTH_SOCK" ] || { echo "no agent" >&2; exit 255; }
for last; do :; done
eval "set -- $last"
exec git upload-pack "$(dirname "$0")/repositories$2"
`

func TestFetchSSH(t *testing.T) {
	g := testenv.NewGitServer(t)
	g.Commit(t, "r", "main", map[string]string{"docker-bake.hcl": "by ssh"})
	dir := files(t, t.TempDir(), map[string]string{"ssh!": fakeSSH})
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	if err := os.Symlink(g.Dir(), filepath.Join(dir, "repositories")); err != nil {
		t.Fatal(err)
	}
	addr := testenv.Start(t).Addr
	conn := dial(t, addr)
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	const url = "ssh://git@127.0.0.1:1/r.git"
	t.Setenv("SSH_AUTH_SOCK", "")
	for _, test := range []struct {
		name string
		ssh  []string
		want string
	}{
		{"an agent", []string{socket}, "docker-bake.hcl: by ssh"},
		{"no agent", nil, "BUILDX_BAKE_GIT_SSH"},
		{"no such agent", []string{socket + "2"}, "no such file"},
	} {
		if got := fetched(t, conn, buildkit.FetchRequest{URL: url, SSH: test.ssh}); len(got) != 1 || !strings.Contains(got[0], test.want) {
			t.Errorf("%s: got  %q\nwant %q in it", test.name, got, test.want)
		}
	}
	t.Setenv("SSH_AUTH_SOCK", socket)
	if got := fetched(t, conn, buildkit.FetchRequest{URL: url}); !slices.Equal(got, []string{"docker-bake.hcl: by ssh"}) {
		t.Errorf("the agent of SSH_AUTH_SOCK: %q", got)
	}
}
