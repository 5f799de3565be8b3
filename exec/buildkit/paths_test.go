package buildkit_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

// newRegistry starts a registry on loopback and returns its host.
func newRegistry(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	return strings.Replace(strings.TrimPrefix(srv.URL, "http://"), "127.0.0.1", "localhost", 1)
}

// pushBase pushes an image for both platforms, with a configuration that a
// build on it inherits.
func pushBase(t testing.TB, ref string) {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
			OS: "linux", Architecture: arch, RootFS: v1.RootFS{Type: "layers"},
			Config: v1.Config{Env: []string{"PATH=/bin", "DIR=deep"}, WorkingDir: "/base", Labels: map[string]string{"base": arch}, OnBuild: []string{"COPY word /onbuild"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(r, index); err != nil {
		t.Fatal(err)
	}
}

// TestBothPaths builds with the frontend in kiln and with the one in the
// daemon. The images must be the same, byte for byte.
func TestBothPaths(t *testing.T) {
	base := newRegistry(t) + "/base:1"
	pushBase(t, base)
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"word": "word\n", "run.sh!": "#!/bin/sh\n", "deep/file": "file\n", "deep/more/file": "more\n", "skip/file": "no\n", "lib/x": "x\n",
		".dockerignore": "skip\n*.Dockerfile\n!deep\n", "own.Dockerfile.dockerignore": "deep/more\n",
		"named/file": "named\n", "named/skip": "no\n", "named/.dockerignore": "skip\n",
		"named.Dockerfile": "FROM extra\nCOPY --from=extra file /copy\n",
		"own.Dockerfile":   "FROM scratch\nCOPY . /\n",
	}))
	named := []config.NamedSource{{Name: "extra", From: local("named")}}
	for _, tt := range []struct {
		name   string
		file   string
		target config.Target
	}{
		{"copy", "FROM scratch\nCOPY word deep/ /\nCOPY --chmod=600 run.sh /r\n", config.Target{}},
		{"everything", "FROM scratch\nCOPY . /all\n", config.Target{}},
		{"ignored", "", config.Target{Dockerfile: "own.Dockerfile"}},
		{"args", "ARG A=1\nFROM scratch\nARG A\nARG B=2\nENV C=$A$B\nLABEL l=$C m=1\n", config.Target{Args: kv("A", "x"), Labels: kv("m", "2", "n", "3")}},
		{"stages", "FROM scratch AS one\nCOPY word /1\nFROM scratch AS two\nCOPY --from=one /1 /2\nFROM one\nCOPY --from=two /2 /3\n", config.Target{}},
		{"stage", "FROM scratch AS one\nCOPY word /1\nFROM scratch AS two\nCOPY --from=one /1 /2\n", config.Target{Stage: "one"}},
		{"config", "FROM scratch\nCOPY word /\nUSER 1:2\nWORKDIR /a\nEXPOSE 80/tcp\nVOLUME /v\nSTOPSIGNAL SIGINT\nSHELL [\"/x\"]\nENTRYPOINT [\"/e\"]\nCMD c\nHEALTHCHECK --interval=5s CMD true\nONBUILD RUN x\n", config.Target{}},
		{"heredoc", busyboxLines + "COPY <<EOF /here\nA $PATH\nEOF\nRUN <<EOF\necho 1 > /one\necho 2 >> /one\nEOF\n", config.Target{}},
		{"run", busyboxLines + "RUN --mount=type=bind,source=word,target=/w --mount=type=cache,target=/c cat /w > /out\nRUN --network=none mkdir -p /usr\n", config.Target{}},
		{"add", "FROM scratch\nADD word run.sh /dir/\nADD --link deep /deep\n", config.Target{}},
		{"platforms", "FROM --platform=$BUILDPLATFORM scratch AS b\nARG TARGETARCH\nCOPY word /$TARGETARCH\nFROM scratch\nCOPY --from=b / /\n", config.Target{Platforms: []string{"linux/amd64,linux/arm64"}}},
		{"one platform", "FROM scratch\nCOPY word /\n", config.Target{Platforms: []string{"arm64"}}},
		{"forced index", "FROM scratch\nCOPY word /\n", config.Target{Args: kv("BUILDKIT_MULTI_PLATFORM", "1")}},
		{"base", "FROM " + base + "\nCOPY $DIR/file here\n", config.Target{}},
		{"base platforms", "FROM " + base + "\nCOPY word .\n", config.Target{Platforms: []string{"linux/amd64", "linux/arm64"}}},
		// A directory as base has no date of its own, and what is copied onto it is copied anew.
		{"named", "", config.Target{Dockerfile: "named.Dockerfile", Contexts: named, Args: kv("SOURCE_DATE_EPOCH", "1")}},
		{"image context", "FROM other\nCOPY word /\n", config.Target{Contexts: []config.NamedSource{{Name: "other", From: config.Image{Ref: base}}}}},
		{"replaced image", "FROM alpine:3\nCOPY word /\n", config.Target{Contexts: []config.NamedSource{{Name: "alpine:3", From: config.Image{Ref: base}}}}},
		{"empty", "FROM scratch\nENV A=1\n", config.Target{}},
		{"annotated", "FROM scratch\nCOPY word /\n", config.Target{Annotations: []string{"a=1", "index:b=2", "manifest-descriptor:c=3"}, Platforms: []string{"linux/amd64", "linux/arm64"}}},
		{"epoch", "FROM scratch\nCOPY word /\n", config.Target{Args: kv("SOURCE_DATE_EPOCH", "1600000000")}},
		{"epoch from image", "FROM " + base + "\nCOPY word /\n", config.Target{Args: kv("SOURCE_DATE_EPOCH", "context")}},
		{"compressed", "FROM scratch\nCOPY word /\n", config.Target{Outputs: []config.Export{{Type: "oci", Dest: "out/z.tar", Attrs: kv("compression", "zstd", "force-compression", "true")}}}},
		{"limits", busyboxLines + "RUN ulimit -n > /n; cat /etc/hosts > /h\n", config.Target{Ulimits: []string{"nofile=1024:2048"}, ShmSize: "8m", ExtraHosts: kv("h", "1.2.3.4")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.file != "" {
				tt.target.DockerfileInline = tt.file
			}
			(&session{dir: dir}).bothPaths(t, &tt.target)
		})
	}
}

// bothPaths builds a target, and what it reads, by both paths, with the rest
// of the session as it is, and compares the digests.
func (s *session) bothPaths(t *testing.T, target *config.Target, needs ...*config.Target) {
	t.Helper()
	st := newStore(t)
	var digests [2]string
	var images [2]any
	for i, frontend := range []bool{false, true} {
		app := *target
		app.Name = "app"
		run := *s
		run.targets, run.names = append([]*config.Target{&app}, needs...), []string{"app"}
		run.opt.Store, run.opt.Frontend = st, frontend
		out, err := run.run(t, t.Context())
		if err != nil {
			t.Fatalf("frontend=%t: %v", frontend, err)
		}
		digests[i] = out["app"].Output.Digest
		if len(target.Outputs) == 0 {
			desc, err := st.Resolve(t.Context(), "app")
			if err != nil {
				t.Fatal(err)
			}
			images[i] = contents(t, st, desc)
		}
	}
	if digests[0] == "" || digests[0] != digests[1] {
		t.Errorf("kiln's path gives %s, the daemon's %s\n%s", digests[0], digests[1], cmp.Diff(images[0], images[1]))
	}
}

// contents reads all JSON of an image, for the difference between two.
func contents(t *testing.T, s buildkit.ImageStore, desc ocispec.Descriptor) map[string]any {
	t.Helper()
	out := map[string]any{}
	var v map[string]any
	if err := json.Unmarshal(blob(t, s.Content(), desc), &v); err != nil {
		t.Fatal(err)
	}
	out["self"] = v
	var m struct {
		Config    *ocispec.Descriptor
		Manifests []ocispec.Descriptor
	}
	if err := json.Unmarshal(blob(t, s.Content(), desc), &m); err != nil {
		t.Fatal(err)
	}
	if m.Config != nil {
		var cfg map[string]any
		if err := json.Unmarshal(blob(t, s.Content(), *m.Config), &cfg); err != nil {
			t.Fatal(err)
		}
		out["config"] = cfg
	}
	for i, d := range m.Manifests {
		out[fmt.Sprint("manifest ", i)] = contents(t, s, d)
	}
	return out
}
