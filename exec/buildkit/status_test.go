package buildkit_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

// steps returns the names of the steps that a node was told of, in the order
// of their first event, without those of other nodes and repetitions.
func (r *recorder) steps(node string) []string {
	var out []string
	for _, e := range r.of(exec.VertexKind) {
		if e.Node == node && !slices.Contains(out, e.Vertex.Name) {
			out = append(out, e.Vertex.Name)
		}
	}
	return out
}

// ownExport checks that a node is told of its own export, and of that to its
// end: the exports of all nodes have one digest, and go on at once.
func (r *recorder) ownExport(t *testing.T, node string) {
	t.Helper()
	var last exec.Vertex
	for _, e := range r.of(exec.VertexKind) {
		if v := *e.Vertex; e.Node == node && v.Name == "exporting to image" {
			if last.Digest != "" && (!v.Started.Equal(last.Started) || v.Completed.IsZero() && !last.Completed.IsZero()) {
				t.Errorf("the export of %s, begun at %v and ended at %v, is now from %v to %v", node, last.Started, last.Completed, v.Started, v.Completed)
			}
			last = v
		}
	}
	if last.Completed.IsZero() {
		t.Errorf("the export of %s has not ended", node)
	}
}

// TestStepsOfAnotherRun: two runs on a daemon that build the same at the same
// time, from directories of their own, tell each of their own steps alone.
func TestStepsOfAnotherRun(t *testing.T) {
	var runs errgroup.Group
	recorders := []*recorder{{}, {}}
	for i, r := range recorders {
		dir := withBusybox(t, files(t, t.TempDir(), map[string]string{"Dockerfile": strings.Repeat("\n", i) + busyboxLines + "RUN sleep 1; echo " + t.Name() + " > /f\n"}))
		s := &session{dir: dir, sink: r, conn: dial(t, ""), targets: []*config.Target{{Name: "app", Outputs: []config.Export{{Type: "oci", Dest: "out.tar"}}}}}
		runs.Go(func() error {
			_, err := s.run(t, t.Context())
			return err
		})
	}
	if err := runs.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, r := range recorders {
		told := map[string]string{}
		for _, e := range r.of(exec.VertexKind) {
			if v := e.Vertex; e.Node == "app" && !v.Internal && strings.Contains(v.Name, "] ") {
				if d, ok := told[v.Name]; ok && d != v.Digest {
					t.Errorf("run %d tells of %s twice", i, v.Name)
				}
				told[v.Name] = v.Digest
			}
		}
		if want := 1 + strings.Count(busyboxLines, "COPY"); len(told) != want {
			t.Errorf("run %d tells of %d steps, want %d: %v", i, len(told), want, told)
		}
	}
}

// TestSharedSteps: a step that several targets share is one target's, and its
// log is told once.
func TestSharedSteps(t *testing.T) {
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"Dockerfile": busyboxLines + "RUN echo shared; sleep 0.3; cat /proc/sys/kernel/random/uuid\nARG N\nRUN echo own $N\n",
	}))
	r := &recorder{}
	s := &session{dir: dir, sink: r, opt: buildkit.Options{Store: newStore(t)}}
	for i := range 5 {
		s.targets = append(s.targets, &config.Target{Name: fmt.Sprint("t", i), Args: kv("N", fmt.Sprint(i))})
	}
	s.must(t)
	shared, owners := 0, 0
	for i := range 5 {
		node := fmt.Sprint("t", i)
		log := r.log(node)
		shared += strings.Count(log, "shared\n")
		if !strings.Contains(log, "own "+fmt.Sprint(i)+"\n") || strings.Count(log, "own ") != 1 {
			t.Errorf("the log of %s is %q", node, log)
		}
		steps := r.steps(node)
		if slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, "RUN echo shared") }) {
			owners++
		}
		if !slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, "exporting to") }) {
			t.Errorf("%s has no export among its steps %q", node, steps)
		}
		r.ownExport(t, node)
		completed := map[string]int{}
		for _, e := range r.of(exec.VertexKind) {
			if e.Node == node && !e.Vertex.Completed.IsZero() {
				completed[e.Vertex.Digest+e.Vertex.Completed.String()]++
			}
		}
		if len(completed) == 0 {
			t.Errorf("no step of %s was completed", node)
		}
	}
	if shared != 1 || owners != 1 {
		t.Errorf("the shared step was told to %d nodes, its log %d times", owners, shared)
	}
}

// TestCachedSteps: what the second run tells is cached.
func TestCachedSteps(t *testing.T) {
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{"Dockerfile": busyboxLines + "RUN echo once\n"}))
	conn := dial(t, "")
	for i := range 2 {
		r := &recorder{}
		s := &session{dir: dir, conn: conn, sink: r, targets: []*config.Target{{Name: "app"}}}
		s.must(t)
		ran, cached := 0, 0
		for _, e := range r.of(exec.VertexKind) {
			if strings.Contains(e.Vertex.Name, "RUN echo once") && !e.Vertex.Completed.IsZero() {
				ran++
				if e.Vertex.Cached {
					cached++
				}
			}
		}
		if ran == 0 || (cached > 0) != (i == 1) {
			t.Errorf("run %d: %d events, %d cached", i, ran, cached)
		}
	}
}

// TestTransfers tells how much of the context was sent.
func TestTransfers(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY big /\n", "big": strings.Repeat("x", 3<<20)})
	r := &recorder{}
	s := &session{dir: dir, sink: r, targets: []*config.Target{{Name: "app"}}}
	s.must(t)
	var most int64
	for _, e := range r.of(exec.VertexKind) {
		if e.Vertex.Name == "[internal] load build context" {
			most = max(most, e.Vertex.Current)
			if !e.Vertex.Internal {
				t.Error("the step is not marked as bookkeeping")
			}
		}
	}
	if most < 3<<20 {
		t.Errorf("told of %d bytes", most)
	}
}

// TestOneUpload: however many targets read a directory, it is sent once, and
// only what they copy of it.
func TestOneUpload(t *testing.T) {
	tree := map[string]string{"Dockerfile": "FROM scratch\nARG N\nCOPY svc/$N /\n", "huge": strings.Repeat("x", 5<<20)}
	s := &session{opt: buildkit.Options{}}
	for i := range 20 {
		name := fmt.Sprint("t", i)
		tree["svc/"+name+"/data"] = strings.Repeat(name, 10000)
		s.targets = append(s.targets, &config.Target{Name: name, Args: kv("N", name), Outputs: toDir("out/" + name)})
	}
	s.dir = files(t, t.TempDir(), tree)
	var raw bytes.Buffer
	s.opt.Raw = &raw
	r := &recorder{}
	s.sink = r
	s.must(t)
	digests := map[string]bool{}
	var most int64
	for _, e := range r.of(exec.VertexKind) {
		if e.Vertex.Name == "[internal] load build context" {
			digests[e.Vertex.Digest] = true
			most = max(most, e.Vertex.Current)
		}
	}
	if len(digests) != 1 || most > 2<<20 {
		t.Errorf("%d uploads, %d bytes", len(digests), most)
	}
	for i := range 20 {
		name := fmt.Sprint("t", i)
		if read(t, s.dir, "out", name, "data") != strings.Repeat(name, 10000) {
			t.Errorf("%s has the wrong file", name)
		}
	}
}
