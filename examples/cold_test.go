package examples

import (
	"encoding/json"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/plan"
	"github.com/kilnbuild/kiln/internal/store"
)

// TestPlanFiles builds every example from its saved plan, on an engine that
// has nothing yet: what that asks for is just what kiln plan says will be
// sent. It comes first of the tests, which then find its results.
func TestPlanFiles(t *testing.T) {
	kiln(t, ".", "engine", "stop")
	if err := os.RemoveAll(shared.state); err != nil {
		t.Fatal(err)
	}
	had := map[string]bool{} // of the directories that examples share
	for _, e := range everyExample() {
		t.Run(e.dir, func(t *testing.T) {
			dir := filepath.Join("examples", e.dir)
			file := filepath.Join(t.TempDir(), "saved.plan")
			var p plan.Plan
			if err := json.Unmarshal(kiln(t, dir, append([]string{"plan", "--json", "--files", "--save", file}, e.args...)...), &p); err != nil {
				t.Fatal(err)
			}
			want := map[string]bool{}
			for _, u := range p.Sends.Uploads {
				if u.AtLeast {
					t.Errorf("not all files of %s were counted", u.Dir)
				}
				for _, f := range u.List {
					want[filepath.Join(absolute(dir, u.Dir), f.Path)] = true
				}
			}
			got := buildSaved(t, dir, file)
			if len(got) == 0 {
				t.Fatal("the engine asked for nothing")
			}
			for path := range want {
				if had[path] {
					got[path] = true
				}
			}
			maps.Copy(had, got)
			if diff := cmp.Diff(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))); diff != "" {
				t.Errorf("the engine asked for (-), the plan has (+):\n%s", diff)
			}
		})
	}
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(shared.root, dir, path)
}

// kiln runs a command in a directory of the repository.
func kiln(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), shared.kiln, args...)
	cmd.Dir, cmd.Env = filepath.Join(shared.root, dir), shared.vars
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kiln %s in %s: %v\n%s", strings.Join(args, " "), dir, err, stderr.String())
	}
	return out
}

// buildSaved builds a saved plan and returns the files that the engine has
// asked for.
func buildSaved(t *testing.T, dir, file string) map[string]bool {
	t.Helper()
	saved, err := plan.Read([]byte(readFile(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := saved.Build.Config(func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	g, diags := graph.New(cfg)
	if !diags.HasErrors() {
		g, diags = g.Select(saved.Build.Requested...)
	}
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	images, err := store.Open(filepath.Join(shared.state, "images"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	sent := map[string]bool{}
	solver, err := buildkit.Open(t.Context(), engine(t), g, buildkit.Options{
		Dir: filepath.Join(shared.root, dir), Store: images, Lower: buildkit.LowerOptions{Provenance: true},
		Sent: func(dir, path string) {
			mu.Lock()
			defer mu.Unlock()
			sent[filepath.Join(dir, path)] = true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer solver.Close()
	if _, err := exec.Run(t.Context(), g, solver, exec.Options{}); err != nil {
		t.Fatal(err)
	}
	return sent
}

// engine connects to the engine of the tests.
func engine(t *testing.T) *buildkit.Conn {
	t.Helper()
	kiln(t, ".", "engine", "start")
	var status struct{ Socket string }
	if err := json.Unmarshal(kiln(t, ".", "engine", "status", "--json"), &status); err != nil {
		t.Fatal(err)
	}
	conn, err := buildkit.Dial(t.Context(), buildkit.DialOptions{Addr: "unix://" + status.Socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
