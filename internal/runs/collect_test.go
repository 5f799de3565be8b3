package runs_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/runs"
)

func node(name string, needs ...*graph.Node) *graph.Node {
	return &graph.Node{Target: &config.Target{Name: name}, Needs: needs}
}

func digest(c byte) string { return "sha256:" + string(makeDigits(c)) }

func makeDigits(c byte) []byte {
	out := make([]byte, 64)
	for i := range out {
		out[i] = c
	}
	return out
}

// Events of a run become its record: the last word on each step, bytes summed
// over the parts that moved, and nothing that looks like a password.
func TestCollector(t *testing.T) {
	now := time.Now()
	at := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	c := runs.NewCollector()
	vertex := func(node string, heard time.Time, v exec.Vertex) {
		c.Event(exec.Event{Time: heard, Node: node, Kind: exec.VertexKind, Vertex: &v})
	}
	run := exec.Vertex{Digest: digest('a'), Name: "[1/2] RUN API_TOKEN=hunter2hunter2 make\x1b[31m", File: "Dockerfile", Line: 3, Started: at(1)}
	vertex("app", at(1), run)
	run.Completed = at(4)
	vertex("app", at(4), run)
	send := exec.Vertex{Digest: digest('b'), Name: "[internal] load build context", Internal: true, Started: at(0)}
	for _, n := range []int64{10, 300, 200} { // reports overtake each other
		send.Part, send.Current = "transferring context:", n
		vertex("app", at(0), send)
	}
	pull := exec.Vertex{Digest: digest('c'), Name: "[base 1/1] FROM alpine", Started: at(0), Completed: at(1)}
	for part, n := range map[string]int64{"sha256:1": 1000, "sha256:2": 500} {
		pull.Part, pull.Current = part, n
		vertex("app", at(1), pull)
	}
	vertex("base", at(1), exec.Vertex{Digest: digest('d'), Name: "[1/1] COPY a b", Cached: true, Started: at(1), Completed: at(1)})
	c.Event(exec.Event{Node: "app", Kind: exec.Warning, Log: []byte("careful\n")})
	c.Event(exec.Event{Node: "app", Kind: exec.Warning, Log: []byte("careful\n")})
	c.Event(exec.Event{Node: "app", Kind: exec.Retrying})
	c.Event(exec.Event{Node: "app", Kind: exec.Placed, Builder: "two"})
	c.Event(exec.Event{Node: "app", Kind: exec.Placed, Builder: "one"})

	base := node("base")
	app := node("app", base)
	app.Requested = true
	app.Target.Args = []config.KeyValue{{Key: "Z"}, {Key: "A"}}
	times := exec.Times{Queued: at(0), Started: at(0), Solved: at(4), Finished: at(5)}
	failure := &exec.SourceError{File: "Dockerfile", StartLine: 3, EndLine: 3, Command: "make", ExitCode: 2, Log: []byte("1%\r50%\r100%\r\noo\u202eps\n"), Err: errors.New("exit code: 2")}
	r := c.Run(runs.About{Args: []string{"build", "--set", "app.args.API_TOKEN=hunter2hunter2"}, Jobs: 4}, []exec.Outcome{
		{Node: base, Status: exec.Built, Times: times, Output: exec.Output{Digest: digest('e')}},
		{Node: app, Status: exec.Failed, Times: times, Err: failure},
		{Node: node("web", app), Status: exec.Skipped, Err: &exec.SkipError{Need: "app", Root: "app"}},
	}, []exec.Recipe{{Digest: digest('a'), Inputs: []exec.RecipeInput{{Step: digest('c')}}}})

	two := 2
	if r.Status != "failed" || r.Version != runs.Version || r.Jobs != 4 || r.Started.After(r.Ended) {
		t.Errorf("the run: %+v", r)
	}
	if diff := cmp.Diff([]string{"build", "--set", "app.args.API_TOKEN=**************"}, r.Args); diff != "" {
		t.Error(diff)
	}
	short := "aaaaaaaaaaaaaaaa"
	if r.Recipes[0].Digest != short || r.Recipes[0].Inputs[0].Step != "cccccccccccccccc" {
		t.Errorf("recipes: %+v", r.Recipes)
	}
	if b := r.Target("base"); !b.Cached || b.Digest != digest('e') || b.Failure != nil {
		t.Errorf("base: %+v", b)
	}
	got := r.Target("app")
	want := &runs.Target{
		Name: "app", Status: "failed", Requested: true, Needs: []string{"base"}, Builders: []string{"one", "two"}, Args: []string{"A", "Z"}, Retries: 1, Warnings: []string{"careful"},
		Times:   runs.Times{Queued: at(0).UTC(), Started: at(0).UTC(), Solved: at(4).UTC(), Finished: at(5).UTC()},
		Failure: &runs.Failure{Text: "Dockerfile:3: exit code: 2", File: "Dockerfile", Line: 3, EndLine: 3, Command: "make", ExitCode: &two, Log: "100%\noops"},
		Steps: []*runs.Step{
			{Digest: "bbbbbbbbbbbbbbbb", Name: "[internal] load build context", Internal: true, Started: at(0).UTC(), Sent: 300},
			{Digest: "cccccccccccccccc", Name: "[base 1/1] FROM alpine", Started: at(0).UTC(), Ended: at(1).UTC(), Pulled: 1500},
			{Digest: short, Name: "[1/2] RUN API_TOKEN=************** make", File: "Dockerfile", Line: 3, Started: at(1).UTC(), Ended: at(4).UTC()},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("app (-want +got):\n%s", diff)
	}
	if w := r.Target("web"); w.Failure.Need != "app" || w.Failure.Root != "app" || w.Took() != 0 {
		t.Errorf("web: %+v", w)
	}
	if cached, all := got.Counts(); cached != 0 || all != 2 {
		t.Errorf("%d of %d steps cached", cached, all)
	}
}

// A daemon whose clock is wrong does not shift its steps out of the run.
func TestCollectorPutsClocksRight(t *testing.T) {
	for _, wrong := range []time.Duration{-time.Hour, 0, time.Hour} {
		c := runs.NewCollector()
		now := time.Now()
		for i := range 3 {
			ended := now.Add(time.Duration(i) * time.Second)
			late := time.Duration(3-i) * 10 * time.Millisecond
			v := exec.Vertex{Digest: fmt.Sprint("sha256:", i), Name: "[1/1] RUN x", Started: ended.Add(wrong - time.Second), Completed: ended.Add(wrong)}
			c.Event(exec.Event{Time: ended.Add(late), Node: "app", Kind: exec.VertexKind, Vertex: &v})
		}
		r := c.Run(runs.About{}, []exec.Outcome{{Node: node("app"), Status: exec.Built}}, nil)
		for i, s := range r.Targets[0].Steps {
			if off := s.Ended.Sub(now.Add(time.Duration(i) * time.Second)).Abs(); off > 100*time.Millisecond {
				t.Errorf("clock wrong by %v: step %d is off by %v", wrong, i, off)
			}
		}
	}
}

func TestStatusOfRun(t *testing.T) {
	for want, statuses := range map[string][]exec.Status{
		"built": {exec.Built, exec.Built}, "failed": {exec.Cancelled, exec.Failed, exec.Skipped}, "cancelled": {exec.Built, exec.Cancelled},
	} {
		var outcomes []exec.Outcome
		for i, s := range statuses {
			outcomes = append(outcomes, exec.Outcome{Node: node(fmt.Sprint(i)), Status: s})
		}
		if got := runs.NewCollector().Run(runs.About{}, outcomes, nil).Status; got != want {
			t.Errorf("%v: %s, want %s", statuses, got, want)
		}
	}
}
