package durations

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

type nowhere struct{}

func (nowhere) Event(exec.Event) {}

// node makes the node of a target.
func node(name string) *graph.Node { return &graph.Node{Target: &config.Target{Name: name}} }

var epoch = time.Unix(1_700_000_000, 0)

// built is the outcome of a target that took so long to solve and to export.
func built(name string, solve, export time.Duration) exec.Outcome {
	solved := epoch.Add(solve)
	return exec.Outcome{Node: node(name), Status: exec.Built, Times: exec.Times{
		Started: epoch, Solved: solved, Exporting: solved.Add(time.Minute), Finished: solved.Add(time.Minute + export),
	}}
}

// step tells h of a step that was done, or found in the cache.
func step(h *History, name, step string, cached bool) {
	h.Watch(nowhere{}).Event(exec.Event{Node: name, Kind: exec.VertexKind, Vertex: &exec.Vertex{Name: step, Completed: epoch, Cached: cached}})
}

func expect(t *testing.T, h *History, name string, want exec.Estimate) {
	t.Helper()
	got, ok := h.Expect(node(name))
	if got != want || ok != (want != exec.Estimate{}) {
		t.Errorf("%s: expected to take %v (%t), want %v", name, got, ok, want)
	}
}

func save(t *testing.T, h *History, outcomes ...exec.Outcome) {
	t.Helper()
	if err := h.Save(outcomes); err != nil {
		t.Fatal(err)
	}
}

func TestHistory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "durations")
	h := Open(dir, "/here")
	expect(t, h, "app", exec.Estimate{})
	failed := built("bad", time.Hour, 0)
	failed.Status = exec.Failed
	save(t, h, built("app", 8*time.Second, 2*time.Second), built("web", time.Second, 0), failed)

	h = Open(dir, "/here")
	expect(t, h, "app", exec.Estimate{Solve: 8 * time.Second, Export: 2 * time.Second})
	expect(t, h, "web", exec.Estimate{Solve: time.Second})
	expect(t, h, "bad", exec.Estimate{})
	expect(t, Open(dir, "/there"), "app", exec.Estimate{}) // another definition's app

	// Found in the cache: what is known stays, and nothing is written.
	before, err := os.Stat(h.path)
	if err != nil {
		t.Fatal(err)
	}
	step(h, "app", "[2/2] RUN make", true)
	step(h, "app", "[internal] load build context", false)
	save(t, h, built("app", 100*time.Millisecond, 0))
	expect(t, Open(dir, "/here"), "app", exec.Estimate{Solve: 8 * time.Second, Export: 2 * time.Second})
	if after, err := os.Stat(h.path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written anew: %v", err)
	}

	// Really built, and quicker than before.
	h = Open(dir, "/here")
	step(h, "app", "[2/2] RUN make", false)
	save(t, h, built("app", 3*time.Second, time.Second))
	h = Open(dir, "/here")
	expect(t, h, "app", exec.Estimate{Solve: 3 * time.Second, Export: time.Second})
	expect(t, h, "web", exec.Estimate{Solve: time.Second})
}

// A file that is broken, foreign or a directory is as none, and is replaced
// if that is possible.
func TestBrokenFile(t *testing.T) {
	for name, data := range map[string]string{
		"empty": "", "no JSON": "{\"version\":1,", "a later version": `{"version":2,"targets":[{"name":"app","solveMs":5}]}`,
		"nonsense": `{"version":1,"targets":[{"name":"app","solveMs":-5},{"solveMs":9}]}`, "other JSON": `[1]`,
		"endless": `{"version":1,"targets":[` + strings.Repeat(" ", maxSize) + `]}`,
	} {
		h := Open(t.TempDir(), "k")
		if err := os.WriteFile(h.path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			expect(t, h, "app", exec.Estimate{})
			save(t, h, built("app", time.Second, 0))
			expect(t, &History{path: h.path, read: h.load}, "app", exec.Estimate{Solve: time.Second})
		})
	}
	h := Open(t.TempDir(), "k")
	if err := os.MkdirAll(filepath.Join(h.path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	expect(t, h, "app", exec.Estimate{})
	if err := h.Save([]exec.Outcome{built("app", time.Second, 0)}); err == nil {
		t.Error("a directory was written over")
	}
	if left, err := os.ReadDir(filepath.Dir(h.path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var path *os.PathError
	if err := Open(filepath.Join(blocked, "durations"), "k").Save([]exec.Outcome{built("app", time.Second, 0)}); !errors.As(err, &path) {
		t.Errorf("error is %v", err)
	}
}

// Neither the file of a definition nor their number grows without end.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	h := Open(dir, "many")
	var all []exec.Outcome
	for i := range maxTargets + 100 {
		o := built(fmt.Sprintf("a-target-with-a-rather-long-name-for-a-target-%06d", i), time.Hour, time.Hour)
		o.Times.Finished = o.Times.Finished.Add(time.Duration(i) * time.Second)
		all = append(all, o)
	}
	save(t, h, all...)
	h = Open(dir, "many")
	if n := len(h.read()); n != maxTargets {
		t.Errorf("%d targets are kept", n)
	}
	if _, ok := h.Expect(all[0].Node); ok {
		t.Error("the oldest was kept")
	}
	if _, ok := h.Expect(all[len(all)-1].Node); !ok {
		t.Error("the newest was not kept")
	}
	stale := filepath.Join(dir, ".left-behind")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(stale, epoch, epoch); err != nil {
		t.Fatal(err)
	}
	for i := range maxFiles + 20 {
		save(t, Open(dir, fmt.Sprint("key", i)), built("app", time.Second, 0))
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != maxFiles {
		t.Errorf("%d files, %v", len(files), err)
	}
	expect(t, Open(dir, fmt.Sprint("key", maxFiles+19)), "app", exec.Estimate{Solve: time.Second})
}

// Several kilns may save at once: the file is always whole.
func TestAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			h := Open(dir, "k")
			if err := h.Save([]exec.Outcome{built(fmt.Sprint("t", i), time.Second, 0), built("app", time.Duration(i+1)*time.Second, 0)}); err != nil {
				t.Error(err)
			}
			if _, ok := Open(dir, "k").Expect(node("app")); !ok {
				t.Error("the file was not whole")
			}
		})
	}
	wg.Wait()
}
