package buildkit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

func TestLinkedTargets(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{
		"word":            "hello\n",
		"base.Dockerfile": "FROM scratch\nCOPY word /word\nARG W\nENV W=$W\nWORKDIR /there\nONBUILD COPY word /later\n",
		"mid.Dockerfile":  "FROM base\nCOPY --from=base /word copy\nCOPY word /was/$W\n",
		"top.Dockerfile":  "FROM scratch\nCOPY --from=mid /there/copy /out\nCOPY --from=base /word /out2\nCOPY --from=mid /later /was/1 /\n",
	})
	s := &session{dir: dir, names: []string{"top"}, targets: []*config.Target{
		{Name: "base", Dockerfile: "base.Dockerfile", Args: []config.KeyValue{{Key: "W", Value: "1"}}},
		{Name: "mid", Dockerfile: "mid.Dockerfile", Contexts: []config.NamedSource{from("base", "base")}},
		{Name: "top", Dockerfile: "top.Dockerfile", Contexts: []config.NamedSource{from("base", "base"), from("mid", "mid")}, Outputs: toDir("out")},
	}}
	s.conn = dial(t, "")
	for _, frontend := range []bool{false, true} {
		t.Run(fmt.Sprintf("frontend=%t", frontend), func(t *testing.T) {
			os.RemoveAll(filepath.Join(dir, "out"))
			s.opt.Frontend = frontend
			s.must(t)
			for _, name := range []string{"out", "out2", "later", "1"} {
				if got := read(t, dir, "out", name); got != "hello\n" {
					t.Errorf("%s = %q", name, got)
				}
			}
		})
	}
}

// TestHeldOpen is the case for which a result stays open until its last
// reader is done: base was built from one directory, and its cache is gone
// when top reads it, whose own context is another directory with a file of
// the same name. BuildKit then builds base again.
func TestHeldOpen(t *testing.T) {
	for _, frontend := range []bool{false, true} {
		for _, exported := range []bool{false, true} {
			t.Run(fmt.Sprintf("frontend=%t,exported=%t", frontend, exported), func(t *testing.T) {
				testHeldOpen(t, frontend, exported)
			})
		}
	}
}

func testHeldOpen(t *testing.T, frontend, exported bool) {
	dir := t.TempDir()
	files(t, dir, map[string]string{
		"base.Dockerfile":  "FROM scratch\nCOPY word /word\n",
		"other/Dockerfile": "FROM scratch\nCOPY --from=base /word /out\n",
		"word":             "hello " + dir + "\n",
		"other/word":       "the wrong file\n",
	})
	s := &session{dir: dir, targets: []*config.Target{
		{Name: "base", Dockerfile: "base.Dockerfile", Outputs: toDir("base")},
		{Name: "top", Context: local("other"), Contexts: []config.NamedSource{from("base", "base")}, Outputs: toDir("out")},
	}}
	g := s.graph(t)
	c, err := client.New(t.Context(), testenv.Engine(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	solver, err := buildkit.Open(t.Context(), dial(t, ""), g, buildkit.Options{Dir: dir, Frontend: frontend})
	if err != nil {
		t.Fatal(err)
	}
	defer solver.Close()
	sink := &recorder{}
	base, err := solver.Solve(t.Context(), g.Nodes()[0], nil, sink)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	if exported {
		if _, err := base.Export(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Prune(t.Context(), nil, client.PruneAll); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	top, err := solver.Solve(t.Context(), g.Nodes()[1], map[string]exec.Result{"base": base}, sink)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	if _, err := top.Export(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, dir, "out", "out"), "hello "+dir+"\n"; got != want {
		t.Errorf("top has %q, want %q", got, want)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("took %v: the daemon waited for a session that is gone", took)
	}
}

// imageOf reads a manifest of the store and its configuration.
func imageOf(t *testing.T, s buildkit.ImageStore, desc ocispec.Descriptor) (ocispec.Manifest, ocispec.Image) {
	t.Helper()
	var m ocispec.Manifest
	var img ocispec.Image
	if err := json.Unmarshal(blob(t, s.Content(), desc), &m); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(blob(t, s.Content(), m.Config), &img); err != nil {
		t.Fatal(err)
	}
	return m, img
}

func TestStore(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{
		"word":       "hello\n",
		"Dockerfile": "FROM scratch\nCOPY word /word\nARG NAME\nENV NAME=$NAME\nLABEL a=1\n",
	})
	st := newStore(t)
	s := &session{dir: dir, opt: buildkit.Options{Store: st}}
	for i := range 20 {
		name := fmt.Sprintf("app%d", i)
		target := &config.Target{Name: name, Args: []config.KeyValue{{Key: "NAME", Value: name}}, Labels: []config.KeyValue{{Key: "b", Value: "2"}}}
		if i%2 == 0 {
			target.Tags = []string{"team/" + name + ":1.2", name}
		}
		s.targets = append(s.targets, target)
	}
	outcomes := s.must(t)
	for _, tt := range []struct{ target, ref string }{
		{"app0", "docker.io/team/app0:1.2"}, {"app0", "docker.io/library/app0:latest"}, {"app19", "docker.io/library/app19:latest"},
	} {
		img, err := st.Resolve(t.Context(), tt.ref)
		if err != nil {
			t.Errorf("%s: %v", tt.ref, err)
			continue
		}
		if got := outcomes[tt.target].Output.Digest; got != img.Digest.String() {
			t.Errorf("%s: digest is %s, the store has %s", tt.target, got, img.Digest)
		}
		m, cfg := imageOf(t, st, img)
		if len(m.Layers) != 1 || cfg.Config.Env[1] != "NAME="+tt.target || cfg.Config.Labels["a"] != "1" || cfg.Config.Labels["b"] != "2" {
			t.Errorf("%s: %d layers, config %+v", tt.target, len(m.Layers), cfg.Config)
		}
	}
	if got := outcomes["app0"].Output.Refs; len(got) != 2 || got[0] != "docker.io/team/app0:1.2" {
		t.Errorf("references are %q", got)
	}
}

// TestRaw checks that BuildKit's own status comes out as it is.
func TestRaw(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"word": "raw\n", "Dockerfile": "FROM scratch\nCOPY word /word\n"})
	var raw bytes.Buffer
	s := &session{dir: dir, targets: []*config.Target{{Name: "app"}}, opt: buildkit.Options{Raw: &raw}}
	s.must(t)
	found := false
	for line := range bytes.Lines(raw.Bytes()) {
		var st client.SolveStatus
		if err := json.Unmarshal(line, &st); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, v := range st.Vertexes {
			found = found || v.Name == "[1/1] COPY word /word"
		}
	}
	if !found {
		t.Errorf("the status does not tell of the step:\n%s", raw.Bytes())
	}
}
