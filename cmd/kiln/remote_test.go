package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// remoteFiles are a repository with a definition of bake's.
var remoteFiles = map[string]string{
	"docker-bake.hcl": `
variable "V" { default = "1" }
variable "CMD" { default = BAKE_CMD_CONTEXT }
group "default" { targets = ["app"] }
target "app" {
  args   = { V = V }
  output = ["type=local,dest=out"]
}
target "dir" {
  context    = "./app/"
  contexts   = { a = "app", b = "./app", c = "cwd://mine", d = "target:app", e = ".", f = "docker-image://x" }
  output     = ["dir"]
}
target "cmd" { context = CMD }
target "mine" {
  context    = "cwd://mine"
  dockerfile = "cwd://Dockerfile.mine"
}
target "url" { context = "https://example.com/x.git#r:d" }
target "over" {
  context    = "app"
  dockerfile = "cwd://Dockerfile.mine"
  output     = ["over"]
}
`,
	"Dockerfile":              "FROM scratch\nARG V\nCOPY word /word-${V}\n",
	"word":                    "root\n",
	"app/Dockerfile":          "FROM scratch\nCOPY word /\nCOPY --from=e word /root\n",
	"app/word":                "app\n",
	"sub/other.hcl":           `target "x" { context = "q" }`,
	"own/build.hcl":           "include \"more.hcl\" {}\n",
	"kiln/build.hcl":          "target \"default\" {\n  context = \"c\"\n  variants = [\"a\"]\n  output = [\"own\"]\n}\n",
	"kiln/build.override.hcl": "target \"default\" { dockerfile-inline = \"FROM scratch\\nCOPY word /\\n\" }\n",
	"kiln/docker-bake.hcl":    "target \"default\" { context = \"of bake\" }\n",
	"kiln/c/word":             "kiln\n",
}

// contextsOf runs kiln build --print and returns each target's context, or
// what kiln said if it failed.
func (s *shell) contextsOf(args string) map[string]string {
	s.t.Helper()
	out := s.run("kiln build --progress=quiet --print " + args)
	var printed struct {
		Target map[string]struct{ Context string }
	}
	contexts := map[string]string{}
	if err := json.Unmarshal([]byte(out), &printed); err != nil {
		return map[string]string{"": out}
	}
	for name, t := range printed.Target {
		contexts[name] = t.Context
	}
	return contexts
}

// TestRemoteContexts compares with what buildx v0.38.2 prints for the same
// repository, but for build.hcl, which it does not look for.
func TestRemoteContexts(t *testing.T) {
	g := testenv.NewGitServer(t)
	g.Commit(t, "r", "main", remoteFiles)
	g.Commit(t, "r", "dev", remoteFiles)
	s := newShell(t)
	s.write("local.hcl", "target \"app\" { context = \"ctx\" }\ntarget \"loc\" { context = \"cwd://ctx\" }\n")
	url := g.URL + "/r.git"
	for _, test := range []struct {
		env, args string
		want      map[string]string
	}{
		{"", "URL", map[string]string{"app": "URL"}},
		{"", "URL app dir cmd mine url over", map[string]string{"app": "URL", "dir": "URL#:app", "cmd": ".", "mine": "mine", "url": "https://example.com/x.git#r:d", "over": "URL#:app"}},
		{"", "URL#dev dir", map[string]string{"app": "URL#dev", "dir": "URL#dev:app"}},
		{"", "'URL?branch=dev' dir", map[string]string{"app": "URL?branch=dev", "dir": "URL?branch=dev#:app"}},
		{"", "URL#main:sub -f other.hcl x", map[string]string{"x": "URL#main:sub/q"}},
		{"", "'URL?subdir=sub' -f other.hcl x", map[string]string{"x": "URL?subdir=sub%2Fq"}},
		{"", "URL -f sub/other.hcl x", map[string]string{"x": "URL#:q"}},
		{"BUILDX_BAKE_FILE=sub/other.hcl", "URL x", map[string]string{"x": "URL#:q"}},
		{"BUILDX_BAKE_FILE_RELATIVE_PATHS=1", "URL -f sub/other.hcl x", map[string]string{"x": "URL#:sub/q"}},
		{"", "URL https://example.com/c.git#x cmd", map[string]string{"cmd": "https://example.com/c.git#x"}},
		{"", "URL -f cwd://local.hcl app loc", map[string]string{"app": "URL#:ctx", "loc": "ctx"}},
		{"", "URL -f - loc < local.hcl", map[string]string{"loc": "ctx"}},
		{"", "URL --set app.context=cwd://here --set dir.context=../up app dir", map[string]string{"app": "here", "dir": "URL#:../up"}},
		{"", "URL#:kiln", map[string]string{"default-a": "URL#:kiln/c"}},
		{"", "URL -f kiln/docker-bake.hcl", map[string]string{"default": "URL#:of bake"}},
	} {
		t.Run(test.env+" "+test.args, func(t *testing.T) {
			at := s.env
			defer func() { s.env = at }()
			s.env = append(s.env[:len(s.env):len(s.env)], test.env)
			got := s.contextsOf(strings.ReplaceAll(test.args, "URL", url))
			for name, c := range got {
				got[name] = strings.ReplaceAll(c, url, "URL")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for args, want := range map[string]string{
		"URL#:own":                      "\"more.hcl\" cannot be included",
		"URL#:sub":                      "there is no build file in URL#:sub: looked for build.hcl, compose.yaml",
		"URL -f nope.hcl":               "the repository has no file \"nope.hcl\"; a file of this machine is cwd://nope.hcl",
		"URL -f cwd://nope.hcl":         "-f cwd://nope.hcl: no such file",
		"URL nope":                      "No target or group is named \"nope\"",
		"'URL?x=y'":                     "unexpected query \"x\"",
		"URL --var V= --set app.args.V": "",
	} {
		out := strings.ReplaceAll(s.run("kiln build --print "+strings.ReplaceAll(args, "URL", url)), url, "URL")
		if !strings.Contains(out, want) || want != "" && !strings.Contains(out, "exit status 2") {
			t.Errorf("%s: got\n%s\nwant in it %s", args, out, want)
		}
	}
}

func (s *shell) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Error(err)
	}
	return string(text)
}

// TestRemoteBuild builds from a repository that wants a token: definition,
// contexts and named contexts. A server that is none of its business does not see it.
func TestRemoteBuild(t *testing.T) {
	const token = "token-of-the-test"
	private, public := testenv.NewGitServer(t), testenv.NewGitServer(t)
	busybox := filepath.Dir(testenv.Busybox(t))
	// A stranger's Dockerfile tries to get hold of the token.
	public.Commit(t, "p", "main", map[string]string{"word": "public\n", "Dockerfile": `FROM scratch AS sh
COPY --from=bin busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
FROM sh AS take
ARG HOST
RUN --mount=type=secret,id=GIT_AUTH_TOKEN.` + private.Host() + ` cat /run/secrets/* > /taken 2>/dev/null || echo none > /taken
FROM scratch
COPY --from=take /taken /
`})
	files := map[string]string{}
	for name, text := range remoteFiles {
		files[name] = text
	}
	files["stranger.hcl"] = `
variable "BUSYBOX" {}
group "default" { targets = ["stranger", "friend"] }
target "stranger" {
  context  = "` + public.URL + `/p.git"
  contexts = { bin = "cwd://${BUSYBOX}" }
  output   = ["stranger"]
}
target "friend" {
  dockerfile-inline = "FROM scratch\nCOPY word /\n"
  output            = ["friend"]
}
`
	private.Commit(t, "r", "main", files)
	private.Ask("basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+token)))
	s := newShell(t)
	url := private.URL + "/r.git"
	if out := s.run("kiln build " + url); !strings.Contains(out, "BUILDX_BAKE_GIT_AUTH_TOKEN") || !strings.Contains(out, "exit status 2") {
		t.Errorf("without the token:\n%s", out)
	}
	s.env = append(s.env, "buildx_bake_git_auth_token="+token, "BUSYBOX="+busybox)
	s.write("Dockerfile.mine", "FROM scratch\nCOPY word /mine\n")
	if err := os.Mkdir(filepath.Join(s.dir, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("mine/word", "mine\n")
	s.write("mine/Dockerfile", "FROM scratch\nCOPY word /\n")
	var all strings.Builder
	for _, c := range []struct{ args, file, want string }{
		{"", "out/word-1", "root\n"},
		{"--var V=2", "out/word-2", "root\n"},
		{"dir --set dir.contexts.f= --set dir.output=dir", "dir/root", "root\n"},
		{"over", "over/mine", "app\n"},
		{"mine --set mine.output=type=local,dest=mine-out", "mine-out/mine", "mine\n"},
		{"-f stranger.hcl --allow fs.read=" + busybox, "friend/word", "root\n"},
	} {
		out := s.run("kiln build --progress=plain " + url + " " + c.args + " 2>&1")
		all.WriteString(out)
		if got := s.read(c.file); got != c.want {
			t.Errorf("%s: %s is %q, want %q\n%s", c.args, c.file, got, c.want, out)
		}
	}
	if got := s.read("stranger/taken"); got != "none\n" {
		t.Errorf("another repository's Dockerfile has read %q", got)
	}
	if seen := public.Seen(); len(seen) > 0 {
		t.Errorf("another server was sent %q", seen)
	}
	if strings.Contains(all.String(), token) {
		t.Error("the token is shown")
	}
	if out := s.run("kiln build " + url + " cmd 2>&1"); !strings.Contains(out, "Missing Dockerfile") {
		t.Errorf("a context here, whose Dockerfile is not:\n%s", out)
	}
	s.write("Dockerfile", "FROM scratch\n")
	if out := s.run("kiln build " + url + " cmd 2>&1"); !strings.Contains(out, "Write cwd://Dockerfile if that is meant") {
		t.Errorf("a Dockerfile here that was not meant:\n%s", out)
	}
}

// TestRemoteWeb builds from one file of a web server whose certificate the
// engine is told to trust: its contexts are here.
func TestRemoteWeb(t *testing.T) {
	address, cert := testenv.WebServer(t, map[string]string{"/bake.hcl": remoteFiles["docker-bake.hcl"], "/empty.hcl": ""})
	s := newShell(t)
	s.env = append(s.env, "SSL_CERT_FILE="+cert)
	want := map[string]string{"app": ".", "dir": "app", "cmd": "https://example.com/x.git"}
	if diff := cmp.Diff(want, s.contextsOf(address+"/bake.hcl https://example.com/x.git dir cmd")); diff != "" {
		t.Error(diff)
	}
	s.write("Dockerfile", "FROM scratch\nCOPY word /\n")
	s.write("word", "here\n")
	out := s.run("kiln build " + address + "/bake.hcl")
	if got := s.read("out/word"); got != "here\n" {
		t.Errorf("got %q\n%s", got, out)
	}
	if out := s.run("kiln build " + address + "/empty.hcl 2>&1"); !strings.Contains(out, "there is no build file") {
		t.Errorf("an empty file:\n%s", out)
	}
	if out := s.run("kiln build " + address + "/nope.hcl 2>&1"); !strings.Contains(out, "404") || !strings.Contains(out, "exit status 2") {
		t.Errorf("a file that is not there:\n%s", out)
	}
}

// TestRemoteRetries fetches from servers that are out of order for a while:
// the daemon's git asks once, its HTTP client once.
func TestRemoteRetries(t *testing.T) {
	g := testenv.NewGitServer(t)
	g.Commit(t, "r", "main", remoteFiles)
	var faults atomic.Int64
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: g.Host()})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case faults.Add(-1) >= 0:
			http.Error(w, "not now", http.StatusServiceUnavailable)
		case r.URL.Path == "/bake.hcl":
			io.WriteString(w, remoteFiles["docker-bake.hcl"])
		default:
			behind.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s := newShell(t)
	for _, path := range []string{"/r.git", "/bake.hcl"} {
		address := server.URL + path
		faults.Store(1)
		out := s.run("kiln build --progress=plain --print " + address + " cmd 2>&1")
		if !strings.Contains(out, "fetching again in ") || !strings.Contains(out, "(1 of 2): ") || !strings.Contains(out, "answered 503 Service Unavailable") || !strings.Contains(out, `"cmd": {`) {
			t.Errorf("%s, out of order for a moment:\n%s", path, out)
		}
		faults.Store(1 << 30)
		out = s.run("kiln build --progress=plain --retries=1 --print " + address + " cmd 2>&1")
		if strings.Count(out, "fetching again in ") != 1 || !strings.Contains(out, "503") || !strings.HasSuffix(out, "exit status 2\n") {
			t.Errorf("%s, out of order for long:\n%s", path, out)
		}
		out = s.run("KILN_RETRIES=0 kiln build --progress=plain --print " + address + " cmd 2>&1")
		if strings.Contains(out, "again") || !strings.HasSuffix(out, "exit status 2\n") {
			t.Errorf("%s, without retries:\n%s", path, out)
		}
	}
}
