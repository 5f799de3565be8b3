package buildkit_test

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

func remoteDigest(t *testing.T, ref string) string {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(r)
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest.String()
}

func TestPush(t *testing.T) {
	reg := newRegistry(t)
	dir := files(t, t.TempDir(), map[string]string{"word": "hello\n", "Dockerfile": "FROM scratch\nCOPY word /word\n"})
	s := &session{dir: dir, targets: []*config.Target{
		{Name: "one", Tags: []string{reg + "/one:1", reg + "/one:2"}, Outputs: []config.Export{{Type: "registry"}}},
		{Name: "many", Tags: []string{reg + "/many"}, Platforms: []string{"linux/amd64", "linux/arm64"}, Outputs: []config.Export{{Type: "image", Attrs: kv("push", "true")}}},
		{Name: "named", Outputs: []config.Export{{Type: "registry", Attrs: kv("name", reg+"/named:1")}}},
	}}
	out := s.must(t)
	for _, tt := range []struct{ target, ref string }{{"one", "/one:1"}, {"one", "/one:2"}, {"many", "/many:latest"}, {"named", "/named:1"}} {
		if got, want := out[tt.target].Output.Digest, remoteDigest(t, reg+tt.ref); got != want {
			t.Errorf("%s: output has %s, the registry %s", tt.ref, got, want)
		}
	}
}

// TestDefaultProvenance checks what bake sends unless told otherwise: a
// minimal provenance goes with images, and not into files.
func TestDefaultProvenance(t *testing.T) {
	reg := newRegistry(t)
	dir := files(t, t.TempDir(), map[string]string{"word": "hello\n", "Dockerfile": "FROM scratch\nCOPY word /word\n", "reader/Dockerfile": "FROM app\nCOPY --from=app word /again\n"})
	s := &session{dir: dir, opt: buildkit.Options{Lower: buildkit.LowerOptions{Provenance: true, Git: &buildkit.GitInfo{Revision: "abc", Root: "."}}}, targets: []*config.Target{
		{Name: "app", Tags: []string{reg + "/app:1"}, Outputs: []config.Export{{Type: "registry"}, {Type: "oci", Dest: "app.tar"}}},
		{Name: "bare", Tags: []string{reg + "/bare:1"}, Outputs: []config.Export{{Type: "registry"}}, Attest: []config.Attestation{{Type: "provenance", Disabled: true}}},
		{Name: "reader", Context: local("reader"), Contexts: []config.NamedSource{from("app", "app")}, Outputs: toDir("out")},
	}}
	out := s.must(t)
	if got := read(t, dir, "out", "again"); got != "hello\n" {
		t.Errorf("the reader has %q", got)
	}
	if got, want := out["app"].Output.Digest, remoteDigest(t, reg+"/app:1"); got != want {
		t.Errorf("output has %s, the registry %s", got, want)
	}
	r, err := name.ParseReference(reg + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(r)
	if err != nil {
		t.Fatalf("the pushed image is no index with an attestation: %v", err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 2 || m.Manifests[1].Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
		t.Fatalf("the index holds %+v", m.Manifests)
	}
	att, err := index.Image(m.Manifests[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := att.Layers()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	statement, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"dockerfile.v0", `"vcs"`, `"abc"`} {
		if !strings.Contains(string(statement), want) {
			t.Errorf("the provenance lacks %s:\n%s", want, statement)
		}
	}
	if remoteDigest(t, reg+"/bare:1") != out["bare"].Output.Digest {
		t.Error("bare was not pushed")
	}
	if _, err := remote.Index(mustRef(t, reg+"/bare:1")); err == nil {
		t.Error("provenance was disabled, but the image is an index")
	}
	blobs := slices.DeleteFunc(entries(t, []byte(read(t, dir, "app.tar"))), func(name string) bool { return len(name) < 64 })
	if len(blobs) != 3 { // manifest, configuration, layer
		t.Errorf("the file has an attestation too: %q", blobs)
	}
}

func mustRef(t *testing.T, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCredentials pushes to a registry that asks who is there, with what the
// Docker configuration and a credential helper say.
func TestCredentials(t *testing.T) {
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var mu sync.Mutex // guards seen
	var seen []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok || password != "hunter22" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mu.Lock()
		if !slices.Contains(seen, user) {
			seen = append(seen, user)
		}
		mu.Unlock()
		reg.ServeHTTP(w, r)
	}))
	defer srv.Close()
	host := strings.Replace(strings.TrimPrefix(srv.URL, "http://"), "127.0.0.1", "localhost", 1)
	dir := files(t, t.TempDir(), map[string]string{
		"Dockerfile":                      "FROM scratch\nCOPY Dockerfile /\n",
		"plain/config.json":               `{"auths":{"` + host + `":{"auth":"cGxhaW46aHVudGVyMjI="}}}`, // plain:hunter22
		"helper/config.json":              `{"credHelpers":{"` + host + `":"kilntest"}}`,
		"bin/docker-credential-kilntest!": "#!/bin/sh\ncat >/dev/null\necho '{\"ServerURL\":\"x\",\"Username\":\"helped\",\"Secret\":\"hunter22\"}'\n",
		"none/config.json":                `{}`,
		"podman/config.json":              `{}`,
		"podman/auth.json":                `{"auths":{"` + host + `":{"auth":"cG9kbWFuOmh1bnRlcjIy"}}}`, // podman:hunter22
	})
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	push := func(config_ string, tag string) error {
		s := &session{dir: dir, opt: buildkit.Options{DockerConfig: filepath.Join(dir, config_), AuthFiles: []string{filepath.Join(dir, config_, "auth.json")}}, targets: []*config.Target{
			{Name: "app", Tags: []string{host + "/app:" + tag}, Outputs: []config.Export{{Type: "registry"}}},
		}}
		_, err := s.run(t, t.Context())
		return err
	}
	for _, from := range []string{"plain", "helper", "podman"} {
		if err := push(from, from); err != nil {
			t.Errorf("%s: %v", from, err)
		}
	}
	if err := push("none", "none"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without credentials: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(seen, []string{"plain", "helped", "podman"}) {
		t.Errorf("the registry saw %q", seen)
	}
}

// TestCaches builds, and builds again on a daemon that has nothing, from each
// kind of cache.
func TestCaches(t *testing.T) {
	reg := newRegistry(t)
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"Dockerfile": busyboxLines + "ARG KIND\nRUN echo $KIND; cat /proc/sys/kernel/random/uuid > /id\n",
	}))
	other := testenv.Start(t)
	cache := func(typ string, pairs ...string) []config.Cache {
		return []config.Cache{{Type: typ, Attrs: kv(pairs...)}}
	}
	for _, tt := range []struct {
		name      string
		to, from  []config.Cache
		outputs   []config.Export
		arguments []config.KeyValue
	}{
		{name: "registry", to: cache("registry", "ref", reg+"/cache:1", "mode", "max"), from: cache("registry", "ref", reg+"/cache:1")},
		{name: "local", to: cache("local", "dest", "cache", "mode", "max"), from: cache("local", "src", "cache")},
		{name: "inline", to: cache("inline"), from: cache("registry", "ref", reg+"/inline:1"), outputs: []config.Export{{Type: "registry"}}},
		{name: "inline2", from: cache("registry", "ref", reg+"/inline2:1"), outputs: []config.Export{{Type: "registry"}}, arguments: kv("BUILDKIT_INLINE_CACHE", "1")},
	} {
		for _, frontend := range []bool{false, true} {
			kind := tt.name
			if frontend {
				kind += "-frontend"
			}
			t.Run(kind, func(t *testing.T) {
				var ids [2]string
				for i, addr := range []string{testenv.Engine(t), other.Addr} {
					out := "out" + kind + string(rune('0'+i))
					target := &config.Target{Name: "app", Tags: []string{reg + "/" + tt.name + ":1"}, Args: append(kv("KIND", kind), tt.arguments...),
						Outputs: append(toDir(out), tt.outputs...)}
					if i == 0 {
						target.CacheTo = tt.to
					}
					target.CacheFrom = tt.from
					s := &session{addr: addr, dir: dir, targets: []*config.Target{target}, opt: buildkit.Options{Frontend: frontend}}
					s.must(t)
					ids[i] = read(t, dir, out, "id")
				}
				if ids[0] != ids[1] {
					t.Error("the step ran again: the cache was not used")
				}
			})
		}
	}
}

// TestGHAWithoutRunner: outside of a runner such a cache is left out.
func TestGHAWithoutRunner(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	s := &session{dir: dir, targets: []*config.Target{{Name: "app", CacheFrom: []config.Cache{{Type: "gha"}}, CacheTo: []config.Cache{{Type: "gha"}}}}}
	s.must(t)
}

// TestLayoutContext builds on an image in an OCI layout, by tag and by digest.
func TestLayoutContext(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{
		"word":       "hello\n",
		"top.file":   "FROM base\nCOPY --from=base word $SUB/out\n",
		"Dockerfile": "FROM scratch\nCOPY word /word\nENV SUB=sub\nWORKDIR /\n",
	})
	conn := dial(t, "")
	s := &session{dir: dir, conn: conn, targets: []*config.Target{
		{Name: "base", Tags: []string{"x/base:7"}, Outputs: []config.Export{{Type: "oci", Dest: "layout", Attrs: kv("tar", "false")}}}}}
	digest := s.must(t)["base"].Output.Digest
	for _, ref := range []string{"layout", "layout:7", "layout@" + digest} {
		for _, frontend := range []bool{false, true} {
			top := &config.Target{Name: "top", Dockerfile: "top.file", Outputs: toDir("out"), Contexts: []config.NamedSource{{Name: "base", From: config.Layout{Ref: ref}}}}
			s := &session{dir: dir, conn: conn, targets: []*config.Target{top}, opt: buildkit.Options{Frontend: frontend}}
			out := s.must(t)
			if got := read(t, dir, "out/sub/out"); got != "hello\n" {
				t.Errorf("%s: %q, %+v", ref, got, out)
			}
			os.RemoveAll(filepath.Join(dir, "out"))
		}
	}
	s = &session{dir: dir, conn: conn, targets: []*config.Target{{Name: "top", Dockerfile: "top.file", Contexts: []config.NamedSource{{Name: "base", From: config.Layout{Ref: "layout:8"}}}}}}
	if _, err := s.run(t, t.Context()); err == nil || !strings.Contains(err.Error(), `the OCI layout layout has no image "8"`) {
		t.Errorf("error is %v", err)
	}
}

// TestCall asks the frontend questions in place of building.
func TestCall(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "# what it is\nFROM scratch as one\nARG A=1\nCOPY Dockerfile /\n"})
	for _, frontend := range []bool{false, true} {
		for call, want := range map[string]string{"check": "FromAsCasing", "outline": "ARG", "targets": "one"} {
			s := &session{dir: dir, opt: buildkit.Options{Frontend: frontend}, targets: []*config.Target{{Name: "app", Call: call, Outputs: toDir("out")}}}
			out, err := s.run(t, t.Context())
			if err != nil {
				t.Errorf("%s: %v", call, err)
				continue
			}
			if got := out["app"].Output.Metadata["result.txt"]; !strings.Contains(got, want) {
				t.Errorf("%s: %q, want %q in it", call, got, want)
			}
			var v any
			if err := json.Unmarshal([]byte(out["app"].Output.Metadata["result.json"]), &v); err != nil {
				t.Errorf("%s: %v", call, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); err == nil {
		t.Error("a question wrote an output")
	}
}

// TestWarnings come once, from either frontend, with the name of the target.
func TestWarnings(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch as one\nCOPY Dockerfile /\n"})
	for _, frontend := range []bool{false, true} {
		r := &recorder{}
		s := &session{dir: dir, sink: r, opt: buildkit.Options{Frontend: frontend}, targets: []*config.Target{{Name: "app"}}}
		s.must(t)
		got := r.of(exec.Warning)
		if len(got) != 1 || got[0].Node != "app" || !strings.Contains(string(got[0].Log), "FromAsCasing") {
			t.Errorf("frontend=%t: warnings are %+v", frontend, got)
		}
	}
}

// TestAttestations asks for a full provenance, which goes into files too.
func TestAttestations(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	st := newStore(t)
	s := &session{dir: dir, opt: buildkit.Options{Store: st}, targets: []*config.Target{
		{Name: "app", Attest: []config.Attestation{{Type: "provenance", Attrs: kv("mode", "max")}}, Platforms: []string{"linux/amd64", "linux/arm64"}},
	}}
	out := s.must(t)
	desc, err := st.Resolve(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(blob(t, st.Content(), desc), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 4 || desc.Digest.String() != out["app"].Output.Digest {
		t.Errorf("the index %s holds %d manifests, want 4; the output is %s", desc.Digest, len(index.Manifests), out["app"].Output.Digest)
	}
}
