package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// A canary is a secret whose value is nowhere else in the world.
type canary struct {
	name  string
	value string
	// inImage says that the value is in the image by nature: an argument of a
	// build stands in the image's history, as docs/secrets.md tells.
	inImage bool
}

// forms are the spellings a value may have in a file.
func (c canary) forms() [][]byte {
	v := []byte(c.value)
	forms := [][]byte{v, []byte(url.QueryEscape(c.value))}
	for cut := range 3 { // base64 of a text that holds the value depends on where it begins
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			enc := e.EncodeToString(v[cut:])
			forms = append(forms, []byte(enc[:len(enc)-len(enc)%4]))
		}
	}
	return forms
}

// A vault makes canaries and knows them all.
type vault struct{ all []canary }

func (v *vault) make(name string) string {
	value := fmt.Sprintf("canary-%s-%02d-7Qx+9zK=", name, len(v.all))
	v.all = append(v.all, canary{name: name, value: value})
	return value
}

func (v *vault) arg(name string) string {
	value := v.make(name)
	v.all[len(v.all)-1].inImage = true
	return value
}

// seen lists the canaries that text holds.
func (v *vault) seen(text []byte, image bool) []string {
	var found []string
	for _, c := range v.all {
		hit := slices.ContainsFunc(c.forms(), func(f []byte) bool { return bytes.Contains(text, f) })
		if hit && !(image && c.inImage) {
			found = append(found, c.name)
		}
	}
	return found
}

// A secretScene is a folder with a definition into which a secret comes by
// every way there is, and a machine of its own around it.
type secretScene struct {
	*shell
	*vault
	home, tmp string
	inputs    []string // files that the test wrote: they hold canaries by nature
}

func newSecretScene(t *testing.T) *secretScene {
	s := &secretScene{shell: newShell(t), vault: &vault{}}
	s.home, s.tmp = t.TempDir(), t.TempDir()
	s.env = append(s.env,
		"HOME="+s.home, "TMPDIR="+s.tmp, "DOCKER_CONFIG="+filepath.Join(s.home, ".docker"), "KILN_ENGINE_LOG=debug",
		"BUSYBOX="+filepath.Dir(testenv.Busybox(t)), "SSH_AUTH_SOCK=", "KILN_PROGRESS=", "BUILDKIT_PROGRESS=",
	)
	s.secretFiles()
	s.servers()
	s.caches()
	return s
}

// input writes a file that holds secrets.
func (s *secretScene) input(path, text string, mode fs.FileMode) {
	s.t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
	s.inputs = append(s.inputs, path)
}

func (s *secretScene) setenv(name, value string) { s.env = append(s.env, name+"="+value) }

// secretFiles are those that steps use: files, variables, keys, arguments.
func (s *secretScene) secretFiles() {
	s.input("token.txt", s.make("file")+"\nsecond: "+s.make("second-line")+"\n", 0o600)
	s.setenv("ENV_SECRET", s.make("environment"))
	s.setenv("UNUSED_TOKEN", s.make("unused-variable")) // of the user's, nothing of kiln's
	s.setenv("KILN_UNKNOWN_TOKEN", s.make("kiln-variable"))
	s.setenv("API_TOKEN", s.arg("variable-of-the-file"))
	s.setenv("ARG_PASSWORD", s.arg("argument"))
	key := filepath.Join(s.dir, "id_ed25519")
	if out, err := osexec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key).CombinedOutput(); err != nil {
		s.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	pem, err := os.ReadFile(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.all = append(s.all, canary{name: "ssh-key", value: strings.Split(string(pem), "\n")[3]})
	s.inputs = append(s.inputs, key)
	s.input("broken.key", "-----BEGIN PRIVATE KEY-----\n"+s.make("tls-key")+"\n-----END PRIVATE KEY-----\n", 0o600)
}

// servers are registries, a git server and a web server that all ask who is
// there. One that refuses says whom it refuses, as bad servers do.
func (s *secretScene) servers() {
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	bearer := s.make("bearer")
	var tokens *httptest.Server
	guard := func(name, user, password string, next http.Handler) *httptest.Server {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u, p, _ := r.BasicAuth()
			sent := r.Header.Get("Authorization")
			switch {
			case strings.Contains(r.URL.Path, "denied") && sent != "":
				http.Error(w, fmt.Sprintf(`{"errors":[{"code":"DENIED","message":"not for %s"}]}`, sent), http.StatusForbidden)
			case tokens != nil && name == "tokens" && sent == "Bearer "+bearer, name != "tokens" && u == user && p == password:
				next.ServeHTTP(w, r)
			case name == "tokens":
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="kiln"`, tokens.URL))
				http.Error(w, "who is there?", http.StatusUnauthorized)
			default:
				w.Header().Set("WWW-Authenticate", `Basic realm="`+name+`"`)
				http.Error(w, "who is there?", http.StatusUnauthorized)
			}
		}))
		s.t.Cleanup(srv.Close)
		return srv
	}
	answer := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	config, helper, web := s.make("docker-config"), s.make("credential-helper"), s.make("http-header")
	tokens = guard("issuer", "user", config, answer(`{"token":"`+bearer+`"}`))
	withToken := guard("tokens", "", "", images)
	withBasic := guard("basic", "helped", helper, images)
	page := guard("web", "", "", nil)
	page.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sent := r.Header.Get("Authorization"); sent != "Bearer "+web || strings.Contains(r.URL.Path, "denied") {
			http.Error(w, "not for "+sent, http.StatusForbidden)
		}
	})
	host := func(srv *httptest.Server) string { return strings.TrimPrefix(srv.URL, "http://") }
	s.setenv("REG_TOKEN", host(withToken))
	s.setenv("REG_BASIC", host(withBasic))
	s.setenv("WEB", host(page))
	s.setenv("WEB_AUTH", web)
	spans := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.write("spans.bin", string(body)) // to be searched with all that kiln writes
	}))
	s.t.Cleanup(spans.Close)
	s.setenv("COLLECTOR", host(spans))
	proxy := "http://proxy:" + s.make("proxy-of-docker") + "@127.0.0.1:9"
	s.input(filepath.Join(s.home, ".docker", "config.json"), fmt.Sprintf(
		`{"auths":{%q:{"auth":%q}},"credHelpers":{%q:"canary"},"proxies":{"default":{"ftpProxy":%q}}}`,
		host(withToken), base64.StdEncoding.EncodeToString([]byte("user:"+config)), host(withBasic), proxy), 0o600)
	bin := s.t.TempDir()
	s.input(filepath.Join(bin, "docker-credential-canary"), fmt.Sprintf("#!/bin/sh\nprintf '{\"ServerURL\":\"\",\"Username\":\"helped\",\"Secret\":\"%s\"}'\n", helper), 0o755)
	path, _ := s.lookup("PATH")
	s.setenv("PATH", path+":"+bin)
	git := testenv.NewGitServer(s.t)
	git.Commit(s.t, "app", "main", map[string]string{
		"Dockerfile":      "FROM scratch\nCOPY Dockerfile /\n",
		"docker-bake.hcl": "target \"default\" { output = [\"type=oci,dest=remote.tar\"] }\n",
	})
	inURL := s.make("password-in-url")
	s.setenv("GIT_URL", "http://user:"+url.QueryEscape(inURL)+"@"+git.Host())
	s.setenv("GIT_HOST", git.Host())
	s.setenv("GIT_AUTH_TOKEN", s.make("git-auth-token"))
	s.setenv("BUILDX_BAKE_GIT_AUTH_TOKEN", s.make("bake-git-token"))
}

// caches are places for build cache that take credentials. The server
// refuses, and says whom.
func (s *secretScene) caches() {
	cloud := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		http.Error(w, fmt.Sprintf("not for %v %s", r.Header, body), http.StatusForbidden)
	}))
	s.t.Cleanup(cloud.Close)
	s.setenv("CLOUD", cloud.URL)
	s.setenv("AWS_ACCESS_KEY_ID", "AKIAPUBLIC")
	s.setenv("AWS_SECRET_ACCESS_KEY", s.make("aws-secret"))
	s.setenv("AWS_SESSION_TOKEN", s.make("aws-session"))
	s.setenv("BUILDKIT_AZURE_STORAGE_SECRET_ACCESS_KEY", base64.StdEncoding.EncodeToString([]byte(s.make("azure"))))
	// GitHub's tokens are JWTs whose payload is read by the client of its cache.
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	jwt := part(`{"alg":"none"}`) + "." + part(`{"ac":"[{\"Scope\":\"main\",\"Permission\":3}]","exp":4102444800}`) + "." + base64.RawURLEncoding.EncodeToString([]byte(s.make("github-signature")))
	s.setenv("ACTIONS_RUNTIME_TOKEN", jwt)
	s.setenv("ACTIONS_CACHE_URL", cloud.URL+"/")
	s.setenv("ACTIONS_RESULTS_URL", cloud.URL+"/")
	s.setenv("ATTR_SECRET", s.make("s3-attribute"))
}

func (s *shell) lookup(name string) (string, bool) {
	for _, e := range slices.Backward(s.env) {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

const secretDefinition = `
variable "BUSYBOX" {}
variable "API_TOKEN" {}
variable "ARG_PASSWORD" {}
variable "REG_TOKEN" {}
variable "REG_BASIC" {}
variable "WEB" {}
variable "CLOUD" {}
variable "ATTR_SECRET" {}
variable "GIT_URL" {}
variable "GIT_HOST" {}
group "default" {
  targets = ["use", "attested", "fails", "push", "helped", "refused", "s3", "s3-attr", "azure", "github", "git-url", "git-token", "web", "web-refused", "wrong-copy"]
}
target "base" {
  contexts          = { bin = BUSYBOX }
  dockerfile-inline = "FROM scratch\nCOPY --from=bin busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n"
}
target "use" {
  contexts = { base = "target:base" }
  args     = { API_TOKEN = API_TOKEN, ARG_PASSWORD = ARG_PASSWORD, MODE = "none" }
  secret   = ["id=file,src=token.txt", "id=env,env=ENV_SECRET"]
  ssh      = [{ id = "default", paths = ["id_ed25519"] }]
  tags     = ["local/use"]
  dockerfile-inline = <<EOT
FROM base
ARG API_TOKEN
ARG ARG_PASSWORD
ARG MODE
RUN --mount=type=secret,id=file --mount=type=secret,id=env,env=FROM_ENV --mount=type=ssh cat /run/secrets/file; echo $FROM_ENV $MODE; cat /run/secrets/file >&2
EOT
}
target "attested" {
  inherits = ["use"]
  tags     = ["local/attested"]
  attest   = ["type=provenance,mode=max"]
  output   = ["type=oci,dest=attested.tar"]
}
target "fails" {
  inherits = ["use"]
  output   = ["type=oci,dest=fails.tar"]
  dockerfile-inline = <<EOT
FROM base
ARG API_TOKEN
ARG MODE
RUN --mount=type=secret,id=file --mount=type=secret,id=env,env=FROM_ENV echo $MODE "$FROM_ENV"; cat /run/secrets/file; exit 3
EOT
}
target "wrong-copy" {
  contexts = { base = "target:base" }
  args     = { ARG_PASSWORD = ARG_PASSWORD }
  dockerfile-inline = "FROM base\nARG ARG_PASSWORD\nCOPY nowhere-$${ARG_PASSWORD} /\n"
}
target "small" { dockerfile-inline = "FROM scratch\nCOPY build.hcl /\n" }
target "push" {
  inherits = ["small"]
  tags     = ["${REG_TOKEN}/app/push"]
  output   = ["type=registry"]
}
target "helped" {
  inherits = ["small"]
  tags     = ["${REG_BASIC}/app/helped"]
  output   = ["type=registry"]
  cache-to = ["type=registry,ref=${REG_BASIC}/app/cache"]
}
target "refused" {
  inherits = ["small"]
  tags     = ["${REG_TOKEN}/denied/app", "${REG_BASIC}/denied/app"]
  output   = ["type=registry"]
}
target "s3" {
  inherits   = ["small"]
  cache-from = ["type=s3,bucket=b,region=r,use_path_style=true,endpoint_url=${CLOUD}"]
  cache-to   = ["type=s3,bucket=b,region=r,use_path_style=true,ignore-error=false,endpoint_url=${CLOUD}"]
}
target "s3-attr" {
  inherits   = ["small"]
  cache-to   = [{ type = "s3", bucket = "b", region = "r", use_path_style = "true", ignore-error = "false", endpoint_url = CLOUD, access_key_id = "AKIAPUBLIC", secret_access_key = ATTR_SECRET }]
}
target "azure" {
  inherits   = ["small"]
  cache-from = ["type=azblob,name=c,account_url=${CLOUD}/"]
  cache-to   = ["type=azblob,name=c,ignore-error=false,account_url=${CLOUD}/"]
}
target "github" {
  inherits   = ["small"]
  cache-from = ["type=gha"]
  cache-to   = ["type=gha,ignore-error=false"]
}
target "git-url" { context = "${GIT_URL}/app.git#main" }
target "git-token" {
  context = "http://${GIT_HOST}/app.git#missing-branch"
  secret  = ["id=GIT_AUTH_TOKEN,env=GIT_AUTH_TOKEN"]
}
target "web" {
  dockerfile-inline = "FROM scratch\nADD http://${WEB}/file /\n"
  secret            = ["id=HTTP_AUTH_TOKEN_127.0.0.1,env=WEB_AUTH"]
}
target "web-refused" {
  dockerfile-inline = "FROM scratch\nADD http://${WEB}/denied /\n"
  secret            = ["id=HTTP_AUTH_TOKEN_127.0.0.1,env=WEB_AUTH"]
}
`

// secretCommands are what is run in the scene: builds that succeed and that
// fail, in every way of showing progress, and commands that fail before that.
var secretCommands = []string{
	"kiln --debug build -k --progress=plain --metadata-file=meta.json $ALL",
	"kiln build -k --progress=quiet --json $ALL",
	"kiln build -k --progress=tty $ALL",
	"kiln build -k --progress=rawjson --metadata-file=meta2.json $ALL",
	"kiln build --progress=plain --call=outline use",
	"kiln build --check --progress=plain",
	"kiln build --progress=plain \"http://$GIT_HOST/app.git\"",
	"kiln build --progress=plain \"$GIT_URL/app.git\"",
	"kiln build --progress=plain \"http://$GIT_HOST/nowhere.git\"",
	"kiln build --progress=plain \"$GIT_URL/nowhere.git\"",
	"kiln build --builder \"tcp://user:$UNUSED_TOKEN@127.0.0.1:1\" --allow fs=* use",
	"KILN_BUILDER=\"ssh://user:$UNUSED_TOKEN@127.0.0.1:1\" kiln build --allow fs=* use",
	"BUILDKIT_HOST=\"nonsense://user:$UNUSED_TOKEN@127.0.0.1:1\" kiln build --allow fs=* use",
	"kiln build --builder tcp://127.0.0.1:1 --tls-key broken.key --tls-cert broken.key --tls-ca broken.key --allow fs=* use",
	"HTTP_AUTH_TOKEN=$WEB_AUTH kiln build \"http://$WEB/denied.hcl\"",
	"kiln build --set \"use.args.API_TOKEN=$UNUSED_TOKEN\" --set use.shm-size=12q use",
	"kiln build -f wrong.hcl",
	"GITHUB_STEP_SUMMARY=summary.md OTEL_EXPORTER_OTLP_TIMEOUT=60000 OTEL_EXPORTER_OTLP_ENDPOINT=http://$COLLECTOR kiln build -k --progress=quiet --report=run.html --report=run.json --report=run.xml --trace=trace.json --set use.args.API_TOKEN=$API_TOKEN $ALL",
	"kiln report",
	"kiln report --format=json",
	"kiln report --list",
	"kiln why-rebuilt use",
	"kiln why-rebuilt attested",
	"kiln why-rebuilt wrong-copy --json",
	"kiln engine status --json",
	"kiln check",
	"kiln check --format=json",
	"kiln check --format=sarif",
	"kiln explain use",
	"kiln explain --json use --set \"use.args.API_TOKEN=$UNUSED_TOKEN\"",
	"kiln explain -f wrong.hcl use",
	"kiln fmt --diff",
}

// wrongDefinition has mistakes whose messages come near a secret.
const wrongDefinition = `
variable "API_TOKEN" {
  validation {
    condition     = length(API_TOKEN) < 3
    error_message = "too long"
  }
}
variable "ARG_PASSWORD" { type = number }
target "default" { platforms = API_TOKEN }
`

// No secret comes out of kiln again: not on its streams, not in a file that it
// writes, not in the arguments or the environment of a process it starts.
func TestSecretsAppearNowhere(t *testing.T) {
	s := newSecretScene(t)
	s.write("build.hcl", secretDefinition)
	s.write("wrong.hcl", wrongDefinition)
	s.write("wrong.hcl", wrongDefinition)
	defer s.watchProcesses()()
	for i, line := range secretCommands {
		line = strings.ReplaceAll(line, "$ALL", fmt.Sprintf("--allow 'fs=*' --allow ssh --set '*.args.MODE=%d' ", i))
		out := s.run(line)
		if found := s.seen([]byte(out), false); len(found) > 0 {
			t.Errorf("$ %s\nshows %v:\n%s", line, found, excerpt(s.vault, out))
		}
		if os.Getenv("KILN_TEST_SHOW") != "" {
			t.Logf("$ %s\n%s", line, out)
		}
	}
	for _, name := range []string{"run.html", "run.json", "run.xml", "trace.json", "summary.md", "spans.bin"} {
		if fi, err := os.Stat(filepath.Join(s.dir, name)); err != nil || fi.Size() == 0 {
			t.Errorf("%s was not written, so nothing is known of it: %v", name, err)
		}
	}
	s.run("kiln engine stop --force")
	for _, dir := range []string{s.dir, s.home, s.tmp, filepath.Dir(s.stateDir())} {
		s.searchFiles(dir)
	}
}

// watchProcesses reads, until the test ends, the arguments of all processes
// that the scene's engine starts, and their environment. What runs in a step
// has what the step was given.
func (s *secretScene) watchProcesses() (stop func()) {
	told := map[string]bool{}
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		s.t.Fatal(err)
	}
	look := func() {
		for _, pid := range s.engineProcesses() {
			dir := filepath.Join("/proc", pid)
			space, err := os.Readlink(filepath.Join(dir, "ns", "pid"))
			if err != nil || space != own {
				continue
			}
			cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // gone meanwhile: nothing to find
			environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
			if now, _ := os.ReadFile(filepath.Join(dir, "cmdline")); isGit(now) {
				continue // by now, and perhaps between what was read
			}
			for name, text := range map[string][]byte{"cmdline": cmdline, "environ": environ} {
				if found := s.seen(text, false); len(found) > 0 {
					told[fmt.Sprintf("the %s of %q holds %v", name, bytes.ReplaceAll(cmdline, []byte{0}, []byte(" ")), found)] = true
				}
			}
		}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			look()
			select {
			case <-end:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		for _, text := range slices.Sorted(maps.Keys(told)) {
			s.t.Error(text)
		}
	}
}

func isGit(cmdline []byte) bool {
	return bytes.HasPrefix(cmdline, []byte("git\x00")) || bytes.Contains(cmdline, []byte("/git-core/"))
}

// engineProcesses lists the scene's engine and all that descend from it, but
// for git and what git starts: BuildKit gives it logins as arguments, which it
// hands down in the environment. docs/secrets.md tells of that.
func (s *secretScene) engineProcesses() []string {
	parents, git := map[string]string{}, map[string]bool{}
	var tree []string
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range entries {
		pid := filepath.Base(dir)
		stat, _ := os.ReadFile(filepath.Join(dir, "stat")) // gone meanwhile: no process of anybody
		if _, rest, ok := strings.Cut(string(stat), ") "); ok {
			parents[pid] = strings.Fields(rest)[1]
		}
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		git[pid] = isGit(cmdline)
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if bytes.Contains(cmdline, []byte("engine\x00serve")) && bytes.Contains(environ, []byte("KILN_STATE_DIR="+s.stateDir()+"\x00")) {
			tree = append(tree, pid)
		}
	}
	for i := 0; i < len(tree); i++ {
		for pid, parent := range parents {
			if parent == tree[i] && !git[pid] && !slices.Contains(tree, pid) {
				tree = append(tree, pid)
			}
		}
	}
	return tree
}

// searchFiles looks for canaries in all files below dir but the inputs.
func (s *secretScene) searchFiles(dir string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || slices.Contains(s.inputs, path) {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		image := strings.Contains(path, "/blobs/sha256/") || strings.HasSuffix(path, ".tar") || strings.Contains(path, "/content/")
		if found := s.seen(append(unpacked(text), text...), image); len(found) > 0 {
			s.t.Errorf("%s holds %v:\n%s", path, found, excerpt(s.vault, string(text)))
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
}

// unpacked is what a compressed file holds; nil for another.
func unpacked(text []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil
	}
	out, _ := io.ReadAll(r) // as far as it goes
	return out
}

// excerpt shows the lines that hold canaries, or the text around them.
func excerpt(v *vault, text string) string {
	var out []string
	for line := range strings.Lines(text) {
		for _, c := range v.all {
			for _, f := range c.forms() {
				if i := strings.Index(line, string(f)); i >= 0 {
					out = append(out, c.name+": "+strings.ToValidUTF8(line[max(0, i-200):min(len(line), i+120)], "?"))
				}
			}
		}
	}
	return strings.Join(out[:min(len(out), 8)], "\n")
}
