package progress

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

// finished is a run of n targets that has come to its end: most were cached,
// some built, each for another time, and so many failed.
func finished(sink exec.Sink, n, failures, warnings int) []exec.Outcome {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("service-%03d", i))
	}
	s := newScene(sink, names...)
	for i, name := range names {
		o := s.outcome(name)
		o.Node.Requested = true
		s.start(name)
		if i < warnings {
			s.send(exec.Event{Node: name, Kind: exec.Warning, Log: fmt.Appendf(nil, "Dockerfile:%d: something is not as it should be", i)})
		}
		step := "[1/1] RUN make"
		switch {
		case i < failures:
			s.step(name, step)
			s.log(name, step, "cc -c a.c\nmake: *** [all] Error 2\n")
			s.step(name, step, failed("exit code: 2"))
			s.finish(name, exec.Failed, &exec.SourceError{
				File: "services/" + name + "/Dockerfile", StartLine: 4, EndLine: 4, Source: []byte(dockerfile), Stage: "build",
				Command: "make all", ExitCode: 2, Log: []byte("cc -c a.c\nmake: *** [all] Error 2\n"), Err: errors.New("process did not complete"),
			})
		case i%7 == 3:
			s.step(name, step)
			second(float64(i%90) + 0.5)
			s.step(name, step, done)
			o.Node.Target.Outputs = []config.Export{{Type: "local", Dest: "out/" + name}}
			s.finish(name, exec.Built, nil, "out/"+name)
		case i%7 == 4:
			o.Node.Target.Outputs = []config.Export{{Type: "image", Attrs: []config.KeyValue{{Key: "push", Value: "true"}}}}
			s.step(name, step, cached)
			s.finish(name, exec.Built, nil, "registry.example/"+name+":1")
		case i%7 == 5:
			o.Node.Target.Outputs = []config.Export{{Type: "docker"}, {Type: "cacheonly"}, {Type: "tar", Dest: "-"}}
			s.step(name, step, cached)
			s.finish(name, exec.Built, nil, "docker.io/library/"+name+":latest")
		default:
			s.step(name, step, cached)
			s.finish(name, exec.Built, nil, "docker.io/library/"+name+":latest")
		}
	}
	return s.outcomes
}

// The end on a terminal: one screen, unless failures need more, with the root
// cause at its end; in plain mode there is every row.
func TestGlanceGolden(t *testing.T) {
	for _, tt := range []struct {
		targets, failures, warnings int
		w, h                        int
		more                        bool // than a screen
	}{
		{targets: 5, w: 80, h: 24},
		{targets: 5, failures: 1, w: 80, h: 24},
		{targets: 500, w: 80, h: 24},
		{targets: 500, w: 200, h: 50},
		{targets: 500, failures: 1, warnings: 40, w: 80, h: 24},
		{targets: 500, failures: 1, warnings: 40, w: 200, h: 50},
		{targets: 500, failures: 3, w: 80, h: 24, more: true},
		{targets: 500, failures: 200, w: 80, h: 24, more: true},
		{targets: 500, w: 20, h: 5, more: true},
		{targets: 0, w: 80, h: 24},
	} {
		name := fmt.Sprintf("glance-%d-%d-%d-%dx%d", tt.targets, tt.failures, tt.warnings, tt.w, tt.h)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(time.Now())
				s := newScreen(Options{Kept: "in the image store (kiln images)", Width: func() int { return tt.w }, Height: func() int { return tt.h }}, m)
				outcomes := append([]exec.Outcome{}, finished(sinkOf(m), tt.targets, tt.failures, tt.warnings)...)
				s.take(item{end: true, outcomes: outcomes})
				for l := range strings.Lines(s.end) {
					if w := ansi.StringWidth(strings.TrimSuffix(l, "\n")); w >= tt.w && strings.HasPrefix(l, "service") {
						t.Errorf("%d columns: %q", w, l)
					}
				}
				if n := rowsOf(s.end, tt.w); !tt.more && n >= tt.h {
					t.Errorf("%d rows on a screen of %d", n, tt.h)
				}
				golden(t, name, s.end)
			})
		})
	}
}

// A line of a log that is longer than a screen is cut there, and nowhere else.
func TestGlanceCutsLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(time.Now())
		s := newScene(sinkOf(m), "a")
		long := strings.Repeat("x", 70_000)
		s.start("a")
		s.finish("a", exec.Failed, &exec.SourceError{File: "Dockerfile", StartLine: 1, EndLine: 1, Source: []byte("RUN x"), Command: long, ExitCode: 2, Log: []byte(long + "\nlast\n"), Err: errors.New("x")})
		text := newSummary(Options{}, m, s.outcomes).glance(79, 24)
		if n := rowsOf(text, 80); n >= 24 || !strings.Contains(text, "| last") {
			t.Errorf("%d rows on a screen of 24:\n%s", n, text)
		}
		if whole := newSummary(Options{}, m, s.outcomes).all(0); strings.Count(whole, long) != 2 {
			t.Errorf("a log has %d of 2 long lines", strings.Count(whole, long))
		}
	})
}

// The chain ends with what was built last, and goes back by what each waited
// for longest; a short run, and one without a chain, has none.
func TestChain(t *testing.T) {
	for _, tt := range []struct {
		needs string // a target and what it needs, with how many seconds it takes
		want  string
	}{
		{"base:3 tool:4 app:2:base,tool e2e:1:app other:6", "longest chain: tool 4.0s → app 2.0s → e2e 1.0s; kiln report tells more\n"},
		{"base:1 app:2:base", ""},
		{"a:30 b:20", ""},
		{"a:1 b:1:a c:1:b d:1:c e:1:d f:1:e g:1:f", "longest chain: … → c 1.0s → d 1.0s → e 1.0s → f 1.0s → g 1.0s; kiln report tells more\n"},
	} {
		began := time.Unix(1e9, 0)
		nodes := map[string]exec.Outcome{}
		var all []exec.Outcome
		for field := range strings.FieldsSeq(tt.needs) {
			parts := strings.Split(field, ":")
			var seconds int
			fmt.Sscan(parts[1], &seconds)
			n := &graph.Node{Target: &config.Target{Name: parts[0]}}
			start := began
			if len(parts) > 2 {
				for need := range strings.SplitSeq(parts[2], ",") {
					n.Needs = append(n.Needs, nodes[need].Node)
					if f := nodes[need].Times.Finished; f.After(start) {
						start = f
					}
				}
			}
			o := exec.Outcome{Node: n, Status: exec.Built, Times: exec.Times{Queued: began, Started: start, Finished: start.Add(time.Duration(seconds) * time.Second)}}
			nodes[parts[0]] = o
			all = append(all, o)
		}
		var got strings.Builder
		(&summary{outcomes: all}).chain(&got)
		if got.String() != tt.want {
			t.Errorf("%s: got %q, want %q", tt.needs, got.String(), tt.want)
		}
	}
}
