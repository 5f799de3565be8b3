package buildkit_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/exec/pool"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// A claim is a daemon and what a test takes it to build for.
type claim struct {
	name, addr string
	platforms  []string
}

// runPool builds on several daemons and returns the outcomes by name.
func (s *session) runPool(t *testing.T, ctx context.Context, claims ...claim) (map[string]exec.Outcome, error) {
	t.Helper()
	g := s.graph(t)
	s.opt.Dir = s.dir
	var members []pool.Member
	for _, c := range claims {
		conn := dial(t, c.addr)
		members = append(members, pool.Member{Name: c.name, Platforms: c.platforms, Open: func(ctx context.Context, part *graph.Graph) (pool.Solver, error) {
			return buildkit.Open(ctx, conn, part, s.opt)
		}})
	}
	images := &buildkit.Images{Lower: s.opt.Lower, DockerConfig: s.opt.DockerConfig}
	p, err := pool.Open(ctx, g, members, pool.Options{
		Images: images, Repeats: images.Repeats,
		Lost: func(err error) bool { return errors.Is(err, buildkit.ErrDaemonLost) },
	})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	outcomes, err := exec.Run(ctx, g, p, exec.Options{Mode: s.mode, Sink: s.sink})
	out := map[string]exec.Outcome{}
	for _, o := range outcomes {
		out[o.Node.Name()] = o
	}
	return out, err
}

// linkedImages are two images for two platforms, of which one reads the other.
func linkedImages(t *testing.T, reg string) *session {
	epoch := kv("SOURCE_DATE_EPOCH", "1700000000")
	push := []config.Export{{Type: "registry", Attrs: kv("rewrite-timestamp", "true")}}
	both := []string{"linux/amd64", "linux/arm64"}
	return &session{
		dir: files(t, t.TempDir(), map[string]string{
			"Dockerfile":     "FROM scratch\nARG TARGETARCH\nCOPY arch-$TARGETARCH /arch\n",
			"app/Dockerfile": "FROM base\nCOPY --from=base arch /again\nCOPY word /\n",
			"app/word":       "hello\n", "arch-amd64": "amd64\n", "arch-arm64": "arm64\n",
		}),
		targets: []*config.Target{
			{Name: "base", Platforms: both, Args: epoch, Tags: []string{reg + "/base"}, Outputs: push},
			{
				Name: "app", Platforms: both, Args: epoch, Context: local("app"), Contexts: []config.NamedSource{from("base", "base")},
				Tags: []string{reg + "/app:1", reg + "/app:2", reg + "/other:1"}, Outputs: push,
				Annotations: []string{"index:in=index", "manifest:in=all", "manifest[linux/arm64]:for=arm", "manifest-descriptor:in=descriptor", "index-descriptor:of=index"},
			},
		},
	}
}

// TestPoolJoins builds linked images for two platforms on two daemons. The
// index that is joined of both is byte for byte the one of a single daemon.
func TestPoolJoins(t *testing.T) {
	reg := newRegistry(t)
	one, two := testenv.Engine(t), testenv.Start(t).Addr
	s := linkedImages(t, reg)
	events := &recorder{}
	s.sink = events
	got, err := s.runPool(t, t.Context(), claim{"x", one, []string{"linux/amd64"}}, claim{"y", two, []string{"linux/arm64"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"base": reg + "/base:latest", "app": reg + "/app:1 " + reg + "/app:2 " + reg + "/other:1"} {
		if refs := strings.Join(got[name].Output.Refs, " "); refs != want {
			t.Errorf("%s is at %q, want %q", name, refs, want)
		}
	}
	for _, ref := range []string{"/base", "/app:1", "/app:2", "/other:1"} {
		index, err := remote.Index(mustRef(t, reg+ref))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	var desc ocispec.Descriptor
	dt, err := base64.StdEncoding.DecodeString(got["app"].Output.Metadata["containerimage.descriptor"])
	if err != nil || json.Unmarshal(dt, &desc) != nil || desc.Digest.String() != got["app"].Output.Digest || desc.Annotations["of"] != "index" {
		t.Errorf("the descriptor is %s: %v", dt, err)
	}
	var placed []string
	for _, e := range events.of(exec.Placed) {
		placed = append(placed, e.Node+" on "+e.Builder+" for "+strings.Join(e.Platforms, ", "))
	}
	slices.Sort(placed)
	if want := "app on x for linux/amd64, app on y for linux/arm64, base on x for linux/amd64, base on y for linux/arm64"; strings.Join(placed, ", ") != want {
		t.Errorf("placed %q", placed)
	}
	alone := linkedImages(t, reg)
	alone.addr = one
	want := alone.must(t)
	for _, name := range []string{"base", "app"} {
		if got, want := got[name].Output, want[name].Output; got.Digest != want.Digest || got.Metadata["containerimage.descriptor"] != want.Metadata["containerimage.descriptor"] || got.Metadata["image.name"] != want.Metadata["image.name"] {
			t.Errorf("%s: two daemons made %v\none made %v", name, got, want)
		}
	}
}

func firstLayer(t *testing.T, image v1.Image) []byte {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	data, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPoolAttests joins images with attestations, each by its daemon.
func TestPoolAttests(t *testing.T) {
	reg := newRegistry(t)
	s := linkedImages(t, reg)
	s.opt.Lower.Provenance = true
	got, err := s.runPool(t, t.Context(), claim{"x", testenv.Engine(t), []string{"linux/arm64"}}, claim{"y", testenv.Start(t).Addr, []string{"linux/amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(mustRef(t, reg+"/app:1"))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := index.Digest(); err != nil || d.String() != got["app"].Output.Digest {
		t.Errorf("the registry has %v, the output says %s: %v", d, got["app"].Output.Digest, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 4 || m.Annotations["in"] != "index" {
		t.Fatalf("the index has %d manifests, annotations %v", len(m.Manifests), m.Annotations)
	}
	for i, p := range []string{"linux/amd64", "linux/arm64"} {
		image, attestation := m.Manifests[i], m.Manifests[i+2]
		if got := image.Platform.String(); got != p {
			t.Errorf("manifest %d is for %s", i, got)
		}
		if attestation.Annotations["vnd.docker.reference.digest"] != image.Digest.String() || attestation.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
			t.Errorf("manifest %d is not the attestation of %s: %v", i+2, p, attestation.Annotations)
		}
		made, err := index.Image(image.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(made); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		statement, err := index.Image(attestation.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(firstLayer(t, statement)); !strings.Contains(text, "https://slsa.dev/provenance") || !strings.Contains(text, image.Digest.Hex) {
			t.Errorf("the provenance for %s is %s", p, text)
		}
	}
}

// TestPoolOtherPlatform refuses a part that reads what another daemon has,
// rather than take its own platform's or an image of a registry.
func TestPoolOtherPlatform(t *testing.T) {
	s := linkedImages(t, newRegistry(t))
	s.targets[1].DockerfileInline = "FROM --platform=linux/amd64 base\n"
	_, err := s.runPool(t, t.Context(), claim{"x", testenv.Engine(t), []string{"linux/amd64"}}, claim{"y", testenv.Engine(t), []string{"linux/arm64"}})
	if err == nil || !strings.Contains(err.Error(), "invalid input base (here it is built for linux/arm64;") {
		t.Errorf("error is %v", err)
	}
}

// TestJoinRecords keeps what the builders' records say of each part.
func TestJoinRecords(t *testing.T) {
	part := func(ref, platform string) exec.Output {
		return exec.Output{Metadata: map[string]string{"buildx.build.ref": ref, "buildx.build.provenance/" + platform: "of " + platform, "other": "x"}}
	}
	out, err := (&buildkit.Images{}).Join(t.Context(), &config.Target{}, []exec.Output{part("b/n0/1", "linux/amd64"), part("b/n1/2", "linux/arm64")})
	want := map[string]string{"buildx.build.ref": "b/n0/1", "buildx.build.provenance/linux/amd64": "of linux/amd64", "buildx.build.provenance/linux/arm64": "of linux/arm64"}
	if err != nil || !maps.Equal(out.Metadata, want) {
		t.Errorf("metadata is %v, error %v", out.Metadata, err)
	}
}

// A trigger calls a function once, when a node's step prints a word.
type trigger struct {
	exec.Sink
	node, word string
	do         func()
	once       sync.Once
}

func (s *trigger) Event(e exec.Event) {
	s.Sink.Event(e)
	if e.Kind == exec.Log && e.Node == s.node && strings.Contains(string(e.Log), s.word) {
		s.once.Do(s.do)
	}
}

// TestPoolLoss kills a daemon in the middle of a step. What it had goes to
// another, with what that reads; what was pushed already stays.
func TestPoolLoss(t *testing.T) {
	reg := newRegistry(t)
	victim := testenv.Start(t)
	own := "linux/" + runtime.GOARCH
	events := &recorder{}
	push := []config.Export{{Type: "registry"}}
	s := &session{
		dir: withBusybox(t, files(t, t.TempDir(), map[string]string{
			"Dockerfile":     busyboxLines + "RUN echo base-runs > /base\n",
			"app.Dockerfile": "FROM base\nRUN echo app-begins; sleep 5; cat /base\n",
			"top.Dockerfile": "FROM app\nRUN cat /base > /top\n",
		})),
		targets: []*config.Target{
			{Name: "base", Tags: []string{reg + "/base"}, Outputs: push},
			{Name: "app", Dockerfile: "app.Dockerfile", Contexts: []config.NamedSource{from("base", "base")}, Tags: []string{reg + "/app"}, Outputs: push},
			{Name: "top", Dockerfile: "top.Dockerfile", Contexts: []config.NamedSource{from("app", "app")}, Outputs: toDir("out")},
			{Name: "waits", Dockerfile: "top.Dockerfile", Contexts: []config.NamedSource{from("app", "app")}, DependsOn: []config.Ref{{Name: "top"}}, Outputs: toDir("waits")},
		},
		sink: &trigger{Sink: events, node: "app", word: "app-begins", do: func() { victim.Signal(t, syscall.SIGKILL) }},
	}
	got, err := s.runPool(t, t.Context(), claim{"victim", victim.Addr, []string{own}}, claim{"other", testenv.Engine(t), []string{"linux/other", own}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"base", "app"} {
		if d := remoteDigest(t, reg+"/"+name); d != got[name].Output.Digest {
			t.Errorf("%s: the registry has %s, the output says %s", name, d, got[name].Output.Digest)
		}
	}
	if read(t, s.dir, "out", "top") != "base-runs\n" || read(t, s.dir, "waits", "top") != "base-runs\n" {
		t.Error("the files are wrong")
	}
	warnings := events.of(exec.Warning)
	if len(warnings) != 1 || !strings.Contains(string(warnings[0].Log), "builder victim was lost: ") || !strings.Contains(string(warnings[0].Log), "are now on other") {
		t.Errorf("the warnings are %+v", warnings)
	}
}

// TestPoolNobodyLeft loses all.
func TestPoolNobodyLeft(t *testing.T) {
	victim := testenv.Start(t)
	own := "linux/" + runtime.GOARCH
	s := &session{
		dir:     withBusybox(t, files(t, t.TempDir(), map[string]string{"Dockerfile": busyboxLines + "RUN echo begins; sleep 60\n"})),
		targets: []*config.Target{{Name: "app", Outputs: cacheOnly}},
		sink:    &trigger{Sink: &recorder{}, node: "app", word: "begins", do: func() { victim.Signal(t, syscall.SIGKILL) }},
	}
	// Both names are of one daemon: when it dies, so does the one that its
	// work was moved to.
	got, err := s.runPool(t, t.Context(), claim{"x", victim.Addr, []string{own}}, claim{"y", victim.Addr, []string{own}})
	if !errors.Is(err, buildkit.ErrDaemonLost) || got["app"].Status != exec.Failed {
		t.Fatalf("outcome %v, error %v", got["app"].Status, err)
	}
	for _, want := range []string{"no builder is left:\n", "\nx was lost at ", "\ny was lost at "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

// TestParts reads what a part of a target is asked for.
func TestParts(t *testing.T) {
	images := &buildkit.Images{}
	for _, tt := range []struct {
		target         config.Target
		joins, repeats bool
	}{
		{config.Target{}, true, true},
		{config.Target{Outputs: cacheOnly}, true, true},
		{config.Target{Outputs: []config.Export{{Type: "registry"}}}, true, true},
		{config.Target{Outputs: []config.Export{{Type: "image", Attrs: kv("push", "true")}, {Type: "cacheonly"}}}, true, true},
		{config.Target{Outputs: []config.Export{{Type: "registry"}, {Type: "registry"}}}, false, true},
		{config.Target{Outputs: []config.Export{{Type: "image"}}}, false, true},
		{config.Target{Outputs: []config.Export{{Type: "image", Attrs: kv("push", "false")}}}, false, true},
		{config.Target{Outputs: toDir("out")}, false, true},
		{config.Target{Outputs: []config.Export{{Type: "tar", Dest: "-"}}}, false, false},
		{config.Target{Outputs: []config.Export{{Type: "oci"}}}, false, false},
		{config.Target{Call: "check"}, false, true},
	} {
		if got := images.Joins(&tt.target); got != tt.joins {
			t.Errorf("Joins(%+v) = %v", tt.target.Outputs, got)
		}
		if got := images.Repeats(&tt.target); got != tt.repeats {
			t.Errorf("Repeats(%+v) = %v", tt.target.Outputs, got)
		}
	}
	whole := config.Target{
		Name: "app", Platforms: []string{"linux/arm64,amd64"}, Tags: []string{"r.test/a:1", "r.test/a:2", "r.test/b"},
		Annotations: []string{"k=v", "manifest[linux/amd64]:a=1", "manifest[linux/arm64/v8]:b=[x]:2", "index:c=3"},
		Outputs:     []config.Export{{Type: "registry", Attrs: kv("compression", "zstd")}},
	}
	if got := strings.Join(images.Platforms(&whole), " "); got != "linux/arm64 linux/amd64" {
		t.Errorf("platforms are %s", got)
	}
	part := images.Part(&whole, []string{"linux/arm64"})
	req, diags := buildkit.Lower(part, buildkit.LowerOptions{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	want := map[string]string{
		"compression": "zstd", "push": "true", "push-by-digest": "true", "name": "r.test/a,r.test/b", "unpack": "",
		"annotation-manifest.b": "", "annotation-index.c": "3",
	}
	attrs := req.Exports[0].Attrs
	for _, k := range []string{"compression", "push", "push-by-digest", "name", "annotation-index.c"} {
		if attrs[k] != want[k] {
			t.Errorf("%s is %q, want %q; all: %v", k, attrs[k], want[k], attrs)
		}
	}
	if len(part.Annotations) != 3 || len(whole.Annotations) != 4 || len(whole.Tags) != 3 {
		t.Errorf("annotations of the part: %q, of the whole: %q", part.Annotations, whole.Annotations)
	}
	if req.Attrs["platform"] != "linux/arm64" || req.Attrs["build-arg:BUILDKIT_MULTI_PLATFORM"] != "1" {
		t.Errorf("attributes are %v", req.Attrs)
	}
}

// TestPartCaches gives each part caches of its own.
func TestPartCaches(t *testing.T) {
	images := &buildkit.Images{}
	cache := func(typ string, attrs ...string) config.Cache { return config.Cache{Type: typ, Attrs: kv(attrs...)} }
	whole := &config.Target{
		CacheFrom: []config.Cache{cache("registry", "ref", "r.test/c"), cache("local", "src", "in/"), cache("registry", "ref", "r.test/c@sha256:"+strings.Repeat("0", 64))},
		CacheTo:   []config.Cache{cache("inline"), cache("registry", "mode", "max", "ref", "r.test/c:main"), cache("local", "dest", "out"), cache("gha"), cache("s3", "name", "a;b")},
	}
	part := images.Part(whole, []string{"linux/arm/v7", "linux/arm64"})
	var got []string
	for _, c := range slices.Concat(part.CacheFrom, part.CacheTo) {
		text := c.Type
		for _, kv := range c.Attrs {
			text += " " + kv.Key + "=" + kv.Value
		}
		got = append(got, text)
	}
	want := []string{
		"registry ref=r.test/c:latest-linux-arm-v7_linux-arm64", "registry ref=r.test/c",
		"local src=in/linux-arm-v7_linux-arm64", "local src=in/",
		"registry ref=r.test/c@sha256:" + strings.Repeat("0", 64), "registry ref=r.test/c@sha256:" + strings.Repeat("0", 64),
		"inline", "registry mode=max ref=r.test/c:main-linux-arm-v7_linux-arm64", "local dest=out/linux-arm-v7_linux-arm64",
		"gha scope=buildkit-linux-arm-v7_linux-arm64", "s3 name=a-linux-arm-v7_linux-arm64;b-linux-arm-v7_linux-arm64",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(whole.CacheFrom) != 3 || whole.CacheTo[1].Attrs[1].Value != "r.test/c:main" {
		t.Error("the whole was changed")
	}
}

// TestPoolPods reaches two daemons through stand-ins for kubectl, as two pods,
// of which each writes a cache of its own to a registry.
func TestPoolPods(t *testing.T) {
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "kubectl")); err != nil {
		t.Fatal(err)
	}
	one, two := testenv.Engine(t), testenv.Start(t).Addr
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv(dialStdio, "buildkitd-0="+strings.TrimPrefix(one, "unix://")+";buildkitd-1="+strings.TrimPrefix(two, "unix://"))
	reg := newRegistry(t)
	s := linkedImages(t, reg)
	s.targets[1].CacheTo = []config.Cache{{Type: "registry", Attrs: kv("ref", reg+"/cache:main", "mode", "max", "ignore-error", "false")}}
	s.targets[1].CacheFrom = []config.Cache{{Type: "registry", Attrs: kv("ref", reg+"/cache:main")}}
	if _, err := s.runPool(t, t.Context(),
		claim{"a", "kube-pod://buildkitd-0?namespace=build&container=buildkitd", []string{"linux/amd64"}},
		claim{"b", "kube-pod://buildkitd-1?namespace=build&container=buildkitd", []string{"linux/arm64"}},
	); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"/app:1", "/cache:main-linux-amd64", "/cache:main-linux-arm64"} {
		if remoteDigest(t, reg+ref) == "" {
			t.Errorf("%s was not pushed", ref)
		}
	}
}
