package buildkit_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// tarOf packs files.
func tarOf(t *testing.T, tree map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		mode := int64(0o644)
		path := strings.TrimSuffix(name, "!")
		if path != name {
			mode = 0o755
		}
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: mode, Size: int64(len(tree[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(tree[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// serveFiles serves files over HTTP and returns the address.
func serveFiles(t *testing.T, tree map[string][]byte) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := tree[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data) // who is gone needs no answer
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// pushFiles pushes an image of those files, and returns its digest.
func pushFiles(t *testing.T, ref string, tree map[string]string, cfg v1.Config) string {
	t.Helper()
	data := tarOf(t, tree)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.ConfigFile(img, configFile(t, img, cfg)); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(mustRef(t, ref), img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func configFile(t *testing.T, img v1.Image, cfg v1.Config) *v1.ConfigFile {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", cfg
	return file
}

// A watchedRegistry tells what was asked of it.
type watchedRegistry struct {
	host string

	mu   sync.Mutex // guards seen
	seen []string   // "GET /v2/…", in order
}

func newWatchedRegistry(t *testing.T) *watchedRegistry {
	t.Helper()
	w := &watchedRegistry{}
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r.Method+" "+r.URL.Path)
		w.mu.Unlock()
		reg.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	w.host = strings.Replace(strings.TrimPrefix(srv.URL, "http://"), "127.0.0.1", "localhost", 1)
	return w
}

// count says how many requests there were that begin so.
func (w *watchedRegistry) count(prefix string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, s := range w.seen {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

// frontendImage is BuildKit's Dockerfile frontend as an image, built from the
// module's source once in a run of the tests, in a registry.
var frontendBinary = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "kiln-frontend-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "frontend")
	cmd := osexec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "github.com/moby/buildkit/frontend/dockerfile/cmd/dockerfile-frontend")
	cmd.Dir = testenv.Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build BuildKit's frontend: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

func pushFrontend(t *testing.T, ref string) {
	t.Helper()
	data, err := frontendBinary()
	if err != nil {
		t.Fatal(err)
	}
	pushFiles(t, ref, map[string]string{"frontend!": string(data)}, v1.Config{
		Entrypoint: []string{"/frontend"},
		Labels:     map[string]string{"moby.buildkit.frontend.caps": "moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts"},
	})
}

// sourceEffects are those of where files come from and what reads them.
func sourceEffects() []effect {
	return []effect{
		{"context", "directory", func(t *testing.T, l *lab) {
			l.files(t, map[string]string{"a/word": "a", "b/word": "b"})
			l.must(t, `target "t" {
				name = "t-${d}"
				matrix = { d = ["a", "b"] }
				context = d
				dockerfile-inline = "FROM scratch\nCOPY word /\n"
				output = ["out/${d}"]
			}`)
			l.contents(t, map[string]string{"out/a/word": "a", "out/b/word": "b"})
		}},
		{"context", "sockets", func(t *testing.T, l *lab) {
			short, err := os.MkdirTemp("", "kiln-") // a socket's path has to be short
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(short)
			listener, err := net.Listen("unix", filepath.Join(short, "s"))
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			l.files(t, map[string]string{"c/word": "w"})
			if err := os.Rename(filepath.Join(short, "s"), filepath.Join(l.dir, "c", "s")); err != nil {
				t.Fatal(err)
			}
			l.must(t, `target "t" {
				context = "c"
				dockerfile-inline = "FROM scratch\nCOPY . /\n"
				output = ["out"]
			}`)
			l.contents(t, map[string]string{"out/word": "w", "out/s": ""})
		}},
		{"context", "git", func(t *testing.T, l *lab) {
			g := testenv.NewGitServer(t)
			tree := map[string]string{"Dockerfile": "FROM scratch\nCOPY word /\n", "word": "main", "sub/Dockerfile": "FROM scratch\nCOPY word /\n", "sub/word": "sub"}
			first := g.Commit(t, "repo", "main", tree)
			g.Commit(t, "repo", "main", map[string]string{"word": "later"})
			l.must(t, strings.NewReplacer("URL", g.URL+"/repo.git", "COMMIT", first).Replace(`
			target "branch" {
				context = "URL#main"
				output = ["out/branch"]
			}
			target "commit" {
				context = "URL#COMMIT"
				output = ["out/commit"]
			}
			target "sub" {
				context = "URL#main:sub"
				output = ["out/sub"]
			}`))
			l.contents(t, map[string]string{"out/branch/word": "later", "out/commit/word": "main", "out/sub/word": "sub"})
		}},
		{"context", "web", func(t *testing.T, l *lab) {
			url := serveFiles(t, map[string][]byte{
				"/c.tar":      tarOf(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY word /\n", "word": "tar"}),
				"/Dockerfile": []byte("FROM scratch\nLABEL from=web\n"),
			})
			l.must(t, strings.ReplaceAll(`
			target "tar" {
				context = "URL/c.tar"
				output = ["out/tar"]
			}
			target "file" { context = "URL/Dockerfile" }`, "URL", url))
			l.contents(t, map[string]string{"out/tar/word": "tar"})
			if _, img := l.image(t, "file"); img.Config.Labels["from"] != "web" {
				t.Errorf("the labels are %v", img.Config.Labels)
			}
		}},
		{"contexts", "every kind", everyContext},
		{"contexts", "replaces an image", func(t *testing.T, l *lab) {
			l.files(t, map[string]string{"base/word": "mine"})
			l.must(t, `target "t" {
				contexts = { "docker.io/library/alpine:3" = "base" }
				dockerfile-inline = "FROM alpine:3\n"
				output = ["out"]
			}`)
			l.contents(t, map[string]string{"out/word": "mine"})
		}},
		{"dockerfile", "path", func(t *testing.T, l *lab) {
			l.files(t, map[string]string{"c/d/one": "FROM scratch\nLABEL d=one\n", "two": "FROM scratch\nLABEL d=two\n", "c/Dockerfile": "FROM scratch\nLABEL d=default\n"})
			l.must(t, `target "one" {
				context = "c"
				dockerfile = "d/one"
			}
			target "two" {
				context = "c"
				dockerfile = "cwd://two"
			}
			target "default" { context = "c" }`)
			for _, want := range []string{"one", "two", "default"} {
				if _, img := l.image(t, want); img.Config.Labels["d"] != want {
					t.Errorf("%s was built from %v", want, img.Config.Labels)
				}
			}
		}},
		{"dockerfile-inline", "wins", func(t *testing.T, l *lab) {
			l.files(t, map[string]string{"Dockerfile": "FROM scratch\nLABEL d=file\n"})
			l.must(t, `target "t" {
				dockerfile = "Dockerfile"
				dockerfile-inline = "FROM scratch\nLABEL d=inline\n"
			}`)
			if _, img := l.image(t, "t"); img.Config.Labels["d"] != "inline" {
				t.Errorf("the labels are %v", img.Config.Labels)
			}
		}},
		{"target", "stage", func(t *testing.T, l *lab) {
			l.must(t, `target "t" {
				dockerfile-inline = "FROM scratch AS one\nLABEL s=one\nFROM scratch AS two\nLABEL s=two\n"
				target = "one"
			}`)
			if _, img := l.image(t, "t"); img.Config.Labels["s"] != "one" {
				t.Errorf("the labels are %v", img.Config.Labels)
			}
		}},
		{"args", "frontend by argument", func(t *testing.T, l *lab) {
			reg := newWatchedRegistry(t)
			pushFrontend(t, reg.host+"/frontend:1")
			l.files(t, map[string]string{"word": "w"})
			l.must(t, `target "t" {
				args = { BUILDKIT_SYNTAX = "`+reg.host+`/frontend:1" }
				dockerfile-inline = "FROM scratch\nCOPY word /\n"
				output = ["out"]
			}`)
			l.contents(t, map[string]string{"out/word": "w"})
			if reg.count("HEAD /v2/frontend/manifests/1") == 0 {
				t.Error("nobody asked for the frontend")
			}
		}},
		{"dockerfile", "frontend by syntax line", func(t *testing.T, l *lab) {
			reg := newWatchedRegistry(t)
			pushFrontend(t, reg.host+"/frontend:1")
			l.files(t, map[string]string{"word": "w", "Dockerfile": "# syntax=" + reg.host + "/frontend:1\nFROM base\nCOPY word /\n", "base/Dockerfile": "FROM scratch\nCOPY word /base\nENV A=b\n"})
			l.must(t, `target "base" { dockerfile = "base/Dockerfile" }
			target "t" {
				contexts = { base = "target:base" }
				output = ["out", "type=oci,dest=t.tar"]
			}
			target "reader" {
				contexts = { t = "target:t" }
				dockerfile-inline = "FROM t\nCOPY --from=t word /again\n"
				output = ["reader"]
			}`)
			l.contents(t, map[string]string{"out/word": "w", "out/base": "w", "reader/again": "w"})
			if reg.count("HEAD /v2/frontend/manifests/1") == 0 {
				t.Error("nobody asked for the frontend")
			}
		}},
		{"contexts", "replaces a frontend", func(t *testing.T, l *lab) {
			reg := newWatchedRegistry(t)
			pushFrontend(t, reg.host+"/frontend:1")
			l.files(t, map[string]string{"word": "w", "Dockerfile": "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY word /\n"})
			l.must(t, `target "t" {
				contexts = { "docker/dockerfile:1" = "docker-image://`+reg.host+`/frontend:1" }
				output = ["out"]
			}`)
			l.contents(t, map[string]string{"out/word": "w"})
			if reg.count("HEAD /v2/frontend/manifests/1") == 0 {
				t.Error("nobody asked for the frontend")
			}
		}},
		{"pull", "asks for newer images", pullEffect},
		{"call", "questions", callEffect},
		{"policy", "denies and converts", policyEffect},
		{"policy", "disabled", func(t *testing.T, l *lab) {
			l.must(t, `target "t" {
				policy = [{ filename = "p.rego", disabled = true }]
				dockerfile-inline = "FROM scratch\n"
			}`)
		}},
	}
}

// everyContext has one target read named contexts of all kinds.
func everyContext(t *testing.T, l *lab) {
	reg := newWatchedRegistry(t)
	g := testenv.NewGitServer(t)
	g.Commit(t, "repo", "main", map[string]string{"word": "git", "sub/word": "git-sub"})
	digest := pushFiles(t, reg.host+"/image:1", map[string]string{"word": "image"}, v1.Config{})
	url := serveFiles(t, map[string][]byte{"/file": []byte("web")})
	l.files(t, map[string]string{"dir/word": "dir", "dir/.dockerignore": "skip\n", "dir/skip": "no", "word": "layout"})
	l.must(t, `target "layout" {
		dockerfile-inline = "FROM scratch\nCOPY word /\n"
		tags = ["x/layout:7"]
		output = ["type=oci,tar=false,dest=oci"]
	}`)
	l.must(t, strings.NewReplacer("REG", reg.host, "GIT", g.URL, "WEB", url, "DIGEST", digest).Replace(`
		target "other" { dockerfile-inline = "FROM scratch\nCOPY dir/word /\n" }
		target "t" {
			contexts = {
				dir = "dir"
				image = "docker-image://REG/image:1"
				pinned = "docker-image://REG/image@DIGEST"
				git = "GIT/repo.git#main"
				gitsub = "GIT/repo.git#main:sub"
				web = "WEB/file"
				layout = "oci-layout://oci:7"
				other = "target:other"
			}
			dockerfile-inline = <<E
FROM image AS base
FROM scratch
COPY --from=dir . /dir/
COPY --from=base word /image
COPY --from=pinned word /pinned
COPY --from=git word /git
COPY --from=gitsub word /gitsub
COPY --from=web context /web
COPY --from=layout word /layout
COPY --from=other word /other
E
			output = ["out"]
		}`), "t")
	l.contents(t, map[string]string{"out/dir/word": "dir", "out/image": "image", "out/pinned": "image", "out/git": "git", "out/gitsub": "git-sub",
		"out/web": "web", "out/layout": "layout", "out/other": "dir"})
	l.absent(t, "out/dir/skip")
}

// pullEffect builds on a tag that has moved meanwhile, and looks in the
// provenance for what the frontend was asked.
func pullEffect(t *testing.T, l *lab) {
	reg := newWatchedRegistry(t)
	hcl := `target "t" {
		pull = true
		dockerfile-inline = "FROM ` + reg.host + `/base:1\n"
		attest = ["type=provenance,mode=max"]
		tags = ["t"]
	}
	target "out" {
		inherits = ["t"]
		attest = ["type=provenance,disabled=true"]
		output = ["out"]
	}`
	for _, word := range []string{"old", "new"} {
		pushFiles(t, reg.host+"/base:1", map[string]string{"word": word}, v1.Config{})
		l.must(t, hcl)
		l.contents(t, map[string]string{"out/word": word})
	}
	if got := string(l.provenance(t, "t")); !strings.Contains(got, `"image.resolvemode":"pull"`) {
		t.Errorf("the provenance tells of no pull:\n%s", got)
	}
}

// callEffect asks the frontend in place of building.
func callEffect(t *testing.T, l *lab) {
	l.files(t, map[string]string{"Dockerfile": "# what it does\nFROM scratch as app\nARG A=1\nCOPY Dockerfile /\n"})
	out := l.must(t, `target "t" {
		name = c
		matrix = { c = ["check", "outline", "targets"] }
		call = c
		output = ["out"]
	}`)
	for call, want := range map[string]string{"check": "FromAsCasing", "outline": `"A"`, "targets": `"app"`} {
		answer := out[call].Output.Metadata["result.json"]
		if !json.Valid([]byte(answer)) || !strings.Contains(answer, want) {
			t.Errorf("%s: the answer is %s", call, answer)
		}
	}
	l.absent(t, "out")
}

// provenance returns the predicate of an image's provenance in the store,
// without white space.
func (l *lab) provenance(t *testing.T, ref string) []byte {
	t.Helper()
	for _, s := range l.statements(t, ref) {
		if strings.Contains(s.Type, "provenance") {
			return s.Predicate
		}
	}
	t.Fatalf("%s has no provenance", ref)
	return nil
}

// policyEffect has the daemon refuse one source and take another in place of
// a third, by the policy of a target and by that of the run.
func policyEffect(t *testing.T, l *lab) {
	reg := newWatchedRegistry(t)
	for _, name := range []string{"good", "bad"} {
		pushFiles(t, reg.host+"/"+name+":1", map[string]string{"word": name}, v1.Config{})
	}
	image := func(name string) string { return "docker-image://" + reg.host + "/" + name + ":1" }
	l.files(t, map[string]string{
		"deny.json":    `{"version": 1, "rules": [{"action": "DENY", "selector": {"identifier": "` + image("bad") + `*"}}]}`,
		"convert.json": `{"rules": [{"action": "CONVERT", "selector": {"identifier": "` + image("bad") + `"}, "updates": {"identifier": "` + image("good") + `"}}]}`,
		"wrong.json":   `{"rules": [{"acton": "DENY"}]}`,
		"Dockerfile":   "FROM scratch\nCOPY deny.json /\n", "Dockerfile.rego": "package docker\n",
	})
	target := func(name, base, attrs string) string {
		return "target \"" + name + "\" {\ndockerfile-inline = \"FROM " + reg.host + "/" + base + ":1\\n\"\noutput = [\"out/" + name + "\"]\n" + attrs + "\n}\n"
	}
	l.must(t, target("allowed", "good", `policy = ["filename=deny.json"]`)+target("free", "bad", "")+target("converted", "bad", `policy = [{ filename = "convert.json" }]`)+`
		target "reader" {
			contexts = { c = "target:converted" }
			dockerfile-inline = "FROM c\n"
			output = ["out/reader"]
		}`)
	l.contents(t, map[string]string{"out/allowed/word": "good", "out/free/word": "bad", "out/converted/word": "good", "out/reader/word": "good"})
	l.refused(t, "denied by policy", target("denied", "bad", `policy = ["filename=deny.json"]`))
	l.refused(t, "denied", target("base", "bad", "")+`target "reader" {
		contexts = { c = "target:base" }
		policy = ["filename=deny.json"]
		dockerfile-inline = "FROM c\n"
	}`)
	l.refused(t, `the policy "gone.json" does not exist`, target("gone", "good", `policy = ["filename=gone.json"]`))
	l.refused(t, `the policy "wrong.json" is no source policy`, target("wrong", "good", `policy = ["filename=wrong.json"]`))
	l.refused(t, "Dockerfile.rego, which kiln cannot enforce", `target "rego" {}`)
	l.must(t, `target "rego" { policy = [{ disabled = true }] }`)

	l.opt.Policy = "convert.json"
	l.must(t, target("all", "bad", ""))
	l.contents(t, map[string]string{"out/all/word": "good"})
	l.opt.Policy = "deny.json"
	l.refused(t, "denied by policy", target("none", "bad", ""))
}
