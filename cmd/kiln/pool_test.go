package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// An other is a second engine beside the shell's own.
type other struct {
	*shell
	addr string
}

// engines starts n engines, each with a root of its own.
func engines(t *testing.T, n int) []other {
	t.Helper()
	var out []other
	for range n {
		s := newShell(t)
		if got := s.run("kiln engine start"); !strings.Contains(got, "started") {
			t.Fatal(got)
		}
		socket := regexp.MustCompile(`(?m)^socket: +(\S+)$`).FindStringSubmatch(s.run("kiln engine status"))
		if socket == nil {
			t.Fatal("kiln engine status does not tell the socket")
		}
		out = append(out, other{s, "unix://" + socket[1]})
	}
	return out
}

// pair writes a buildx builder of two nodes, each kept for a platform.
func pair(s *shell, nodes []other, platforms ...string) {
	s.t.Helper()
	type platform struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	}
	type node struct {
		Name, Endpoint string
		Platforms      []platform
	}
	inst := struct {
		Driver string
		Nodes  []node
	}{Driver: "remote"}
	for i, n := range nodes {
		inst.Nodes = append(inst.Nodes, node{fmt.Sprint("pair", i), n.addr, []platform{{"linux", platforms[i]}}})
	}
	data, err := json.Marshal(inst)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "x", "instances"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.write("x/instances/pair", string(data))
	s.env = append(s.env, "BUILDX_CONFIG="+filepath.Join(s.dir, "x"))
}

// A run for two platforms on two builders: one index with attestations under
// all tags, and the same in what kiln says of it.
func TestSeveralBuilders(t *testing.T) {
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	host := strings.TrimPrefix(reg.URL, "http://")
	nodes := engines(t, 2)
	s := newShell(t)
	pair(s, nodes, "amd64", "arm64")
	s.write("arch-amd64", "a\n")
	s.write("arch-arm64", "b\n")
	s.write("build.hcl", strings.ReplaceAll(`
group "default" { targets = ["app", "files"] }
target "base" {
  platforms = ["linux/amd64", "linux/arm64"]
  dockerfile-inline = "FROM scratch\nARG TARGETARCH\nCOPY arch-$TARGETARCH /arch\n"
}
target "app" {
  contexts  = { base = "target:base" }
  platforms = ["linux/amd64", "linux/arm64"]
  tags      = ["HOST/app:1", "HOST/app:2"]
  dockerfile-inline = "FROM base\nCOPY build.hcl /\n"
  output    = ["type=registry"]
}
target "files" {
  platforms = ["linux/arm64"]
  dockerfile-inline = "FROM scratch\nCOPY build.hcl /\n"
  output    = ["out"]
}
`, "HOST", host))
	out := s.run("kiln build --builder pair --json --progress=plain --metadata-file m.json 2>err; cat err >&2")
	result := struct {
		Target, Digest       string
		References, Builders []string
	}{}
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&result); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if result.Target != "app" || !slices.Equal(result.Builders, []string{"pair/pair0", "pair/pair1"}) || len(result.References) != 2 {
		t.Errorf("the result is %+v", result)
	}
	for _, want := range []string{
		"2 builders: pair/pair0 (BuildKit v", "base | on pair/pair0, for linux/amd64\n", "app | on pair/pair1, for linux/arm64\n",
		"files | on pair/pair1\n", "TARGET  RESULT  TIME  CACHED  BUILDER", "pair/pair0, pair/pair1",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	var metadata map[string]map[string]any
	data, err := os.ReadFile(filepath.Join(s.dir, "m.json"))
	if err == nil {
		err = json.Unmarshal(data, &metadata)
	}
	if err != nil || metadata["app"]["containerimage.digest"] != result.Digest {
		t.Errorf("the metadata is %s: %v", data, err)
	}
	for _, tag := range []string{"1", "2"} {
		ref, err := name.ParseReference(host + "/app:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		index, err := remote.Index(ref)
		if err != nil {
			t.Fatal(err)
		}
		m, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if digest, err := index.Digest(); err != nil || digest.String() != result.Digest || len(m.Manifests) != 4 {
			t.Errorf("%s is %v with %d manifests: %v", tag, digest, len(m.Manifests), err)
		}
	}
}

// What builders there are is told by flag or environment; those that are not
// there are left out, unless nothing else will do.
func TestUnreachableBuilders(t *testing.T) {
	node := engines(t, 1)[0]
	s := newShell(t)
	s.write("build.hcl", `
target "default" {
  dockerfile-inline = "FROM scratch\nCOPY build.hcl /\n"
  output = ["out"]
}
target "rare" {
  inherits  = ["default"]
  platforms = ["linux/mips64le"]
}
`)
	gone := "unix://" + filepath.Join(s.dir, "gone.sock")
	for _, tt := range []struct {
		line string
		code int
		want []string
	}{
		{"KILN_BUILDERS='ADDR GONE' kiln build", 0, []string{"warning: going on without builder GONE: connect to GONE: no BuildKit daemon could be reached: there is no such socket", "default | on ADDR\n"}},
		{"KILN_BUILDERS=GONE,ADDR kiln build", 0, []string{"default | on ADDR\n"}},
		{"KILN_BUILDERS=GONE kiln build --builder ADDR --builder GONE", 0, []string{"default | on ADDR\n"}},
		{"KILN_BUILDERS='GONE GONE2' kiln build", 3, []string{"connect to GONE: no BuildKit daemon", "connect to GONE2: no BuildKit daemon"}},
		{"kiln build --builder ADDR --builder GONE rare", 3, []string{`ERROR: target rare is for linux/mips64le, for which no builder is left: GONE cannot be reached`}},
		{"kiln build --builder ADDR --builder kiln --engine in-process", 0, []string{"2 builders: ADDR (", ", kiln ("}},
		{"kiln build --builder ADDR --builder ADDR", 2, []string{"--builder names the builder ADDR twice"}},
		{"kiln build --builder ADDR --builder nosuch", 2, []string{`--builder: "nosuch" is neither an address`}},
	} {
		words := strings.NewReplacer("GONE", gone, "ADDR", node.addr)
		got := s.run(words.Replace(tt.line) + " --progress=plain; echo exit code $?")
		for _, want := range append(tt.want, fmt.Sprintf("exit code %d\n", tt.code)) {
			if want = words.Replace(want); !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in\n%s", tt.line, want, got)
			}
		}
	}
}

// A builder that is killed in the middle of a step has its targets built by
// the other.
func TestKillOneOfSeveral(t *testing.T) {
	nodes := engines(t, 2)
	s := slow(t)
	// The step takes as long as a secret says: to the builder that runs it
	// again, no time.
	s.write("build.hcl", strings.NewReplacer("RUN echo", "RUN --mount=type=secret,id=seconds echo",
		"sleep $SECONDS", "sleep $(cat /run/secrets/seconds)", "output   =", "secret   = [\"id=seconds,src=seconds\"]\n  output   =").Replace(slowBuild))
	s.write("seconds", "300\n")
	s.env = append(s.env, "KILN_BUILDERS="+nodes[0].addr+" "+nodes[1].addr)
	r := s.build("--progress=plain")
	victim, rest := nodes[0], nodes[1]
	if strings.Contains(r.text(), "base | on "+rest.addr+"\n") {
		victim, rest = rest, victim
	}
	s.write("seconds", "0\n")
	if err := syscall.Kill(victim.enginePID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := r.ends(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, r.text())
	}
	for _, want := range []string{"warning: builder " + victim.addr + " was lost", "base, default are now on " + rest.addr + "\n", "default | on " + rest.addr + "\n", "2 targets built"} {
		if !strings.Contains(r.text(), want) {
			t.Errorf("%q is not in\n%s", want, r.text())
		}
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, "out", "done")); err != nil || string(text) != "done\n" {
		t.Errorf("exported %q, %v", text, err)
	}
	if got := victim.run("kiln engine start"); !strings.Contains(got, "started") { // which clears away what the killed one left
		t.Error(got)
	}
}
