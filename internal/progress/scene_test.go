package progress

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

// A scene plays a run: it sends events and keeps the outcomes. It is used in
// a bubble, so that time is virtual.
type scene struct {
	sink     exec.Sink
	outcomes []exec.Outcome
	vertices map[string]*exec.Vertex
}

func newScene(sink exec.Sink, names ...string) *scene {
	s := &scene{sink: sink, vertices: map[string]*exec.Vertex{}}
	for _, n := range names {
		s.outcomes = append(s.outcomes, exec.Outcome{
			Node:   &graph.Node{Target: &config.Target{Name: n}},
			Status: exec.Cancelled,
			Times:  exec.Times{Queued: time.Now()},
		})
		s.send(exec.Event{Node: n, Kind: exec.Queued})
	}
	return s
}

func (s *scene) send(e exec.Event) {
	e.Time = time.Now()
	s.sink.Event(e)
}

func (s *scene) outcome(name string) *exec.Outcome {
	for i := range s.outcomes {
		if s.outcomes[i].Node.Name() == name {
			return &s.outcomes[i]
		}
	}
	panic("no " + name)
}

func (s *scene) start(name string) {
	s.outcome(name).Times.Started = time.Now()
	s.send(exec.Event{Node: name, Kind: exec.Started})
}

// step begins a step; set changes the vertex before it is sent.
func (s *scene) step(name, step string, set ...func(*exec.Vertex)) {
	v := s.vertices[name+step]
	if v == nil {
		v = &exec.Vertex{Digest: "sha256:" + step, Name: step, Started: time.Now()}
		s.vertices[name+step] = v
	}
	for _, f := range set {
		f(v)
	}
	c := *v
	s.send(exec.Event{Node: name, Kind: exec.VertexKind, Vertex: &c})
}

func done(v *exec.Vertex)     { v.Completed = time.Now() }
func cached(v *exec.Vertex)   { v.Completed, v.Cached = time.Now(), true }
func internal(v *exec.Vertex) { v.Internal = true }
func failed(text string) func(*exec.Vertex) {
	return func(v *exec.Vertex) { v.Completed, v.Error = time.Now(), text }
}
func moved(cur, total int64) func(*exec.Vertex) {
	return func(v *exec.Vertex) { v.Current, v.Total = cur, total }
}

func (s *scene) log(name, step, text string) {
	v := &exec.Vertex{Digest: "sha256:" + step}
	if step == "" {
		v = nil
	}
	s.send(exec.Event{Node: name, Kind: exec.Log, Vertex: v, Log: []byte(text)})
}

func (s *scene) finish(name string, status exec.Status, err error, refs ...string) {
	o := s.outcome(name)
	o.Status, o.Err, o.Times.Finished = status, err, time.Now()
	if status == exec.Built {
		o.Output = exec.Output{Digest: "sha256:" + strings.Repeat("0123456789abcdef", 4), Refs: refs}
	}
	c := *o
	s.send(exec.Event{Node: name, Kind: exec.Finished, Outcome: &c})
}

func second(n float64) { time.Sleep(time.Duration(n * float64(time.Second))) }

const dockerfile = "FROM base AS build\nWORKDIR /src\nCOPY . .\nRUN make all\nCMD [\"/app\"]\n"

// play is a run with everything in it: cached and built targets, a failing
// step, what needs it, a sibling that is cancelled, logs that draw, transfers
// and warnings. It pauses three times, for the looks of a display.
func play(sink exec.Sink, pause func(n int)) []exec.Outcome {
	s := newScene(sink, "base", "tools", "api", "web", "日本語-docs", "e2e")
	s.start("base")
	s.step("base", "[internal] load build definition", internal)
	second(0.2)
	s.step("base", "[internal] load build definition", internal, done)
	s.step("base", "[1/2] FROM scratch", cached)
	s.step("base", "[2/2] COPY rootfs /", cached)
	s.finish("base", exec.Built, nil)
	s.start("tools")
	s.start("api")
	s.start("日本語-docs")
	s.step("tools", "[tools 1/3] FROM base", cached)
	s.step("tools", "[tools 2/3] RUN apk add go")
	s.log("tools", "[tools 2/3] RUN apk add go", "fetch\r\n10%\r50%\r")
	second(1.25)
	s.log("tools", "[tools 2/3] RUN apk add go", "100%\nOK: 12 MiB in \x1b[32m14\x1b[0m packages")
	s.step("api", "[build 4/7] RUN make all")
	s.log("api", "[build 4/7] RUN make all", "cc -c a.c\nI haven't \xff\x1b]0;title\a\tended")
	s.step("日本語-docs", "exporting layers", moved(1_500_000, 3_000_000))
	s.log("日本語-docs", "", "from no step")
	s.send(exec.Event{Node: "日本語-docs", Kind: exec.Warning, Log: []byte("FromAsCasing: 'as' and 'FROM' keywords' casing do not match\nDockerfile:1")})
	pause(1)
	second(3.5)
	s.step("tools", "[tools 2/3] RUN apk add go", done)
	s.step("tools", "[tools 3/3] RUN true")
	s.step("tools", "[tools 3/3] RUN true", done)
	s.send(exec.Event{Node: "tools", Kind: exec.Solved})
	second(0.3)
	pause(2)
	s.finish("tools", exec.Built, nil, "registry.example/tools:1.2", "out/tools.tar")
	s.log("api", "[build 4/7] RUN make all", " now\nmake: *** [all] Error 2\n")
	s.step("api", "[build 4/7] RUN make all", failed("process \"/bin/sh -c make all\" did not complete successfully: exit code: 2"))
	s.finish("api", exec.Failed, fmt.Errorf("solve: %w", &exec.SourceError{
		File: "services/api/Dockerfile", StartLine: 4, EndLine: 4, Source: []byte(dockerfile), Stage: "build",
		Command: "make all", ExitCode: 2, Log: []byte("cc -c a.c\nmake: *** [all] Error 2\n"), Err: errors.New("process did not complete"),
	}))
	s.finish("web", exec.Skipped, &exec.SkipError{Need: "api", Root: "api"})
	s.finish("e2e", exec.Skipped, &exec.SkipError{Need: "web", Root: "api"})
	pause(3)
	second(0.1)
	s.finish("日本語-docs", exec.Cancelled, &exec.StopError{Failed: "api"})
	return s.outcomes
}

// A locked buffer, for displays that write while a test looks.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// golden compares text with a file of testdata; KILN_UPDATE=1 rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if os.Getenv("KILN_UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s:\n%s", path, diff)
	}
}
