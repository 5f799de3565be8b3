package exec

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/graph"
)

// A listener keeps what a watchdog adds, one line each.
type listener struct {
	mu    sync.Mutex
	began time.Time
	lines []string
	all   int
}

func (l *listener) Event(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all++
	if e.Kind != Silent {
		return
	}
	step := "-"
	if e.Vertex != nil {
		step = e.Vertex.Name
	}
	s := e.Silence
	l.lines = append(l.lines, strings.TrimSpace(fmt.Sprintf("%v %s %s: %s since %v for %v %s",
		time.Since(l.began).Round(time.Second), e.Node, step, s.Doing, s.Since.Sub(l.began), s.For.Round(time.Second), strings.Join(s.Holds, ","))))
}

func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

// A playing is a run whose events a test sends.
type playing struct {
	*Watchdog
	listener *listener
}

// watched begins to watch base, app that reads it, e2e that comes after app,
// and docs.
func watchPlay(t *testing.T, after time.Duration) playing {
	t.Helper()
	local := config.Local{Path: "."}
	g, diags := graph.New(&config.Config{Targets: []*config.Target{
		{Name: "base", Context: local},
		{Name: "app", Context: local, Contexts: []config.NamedSource{{Name: "b", From: config.FromTarget{Target: "base"}}}},
		{Name: "e2e", Context: local, DependsOn: []config.Ref{{Name: "app"}}},
		{Name: "docs", Context: local},
	}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	l := &listener{began: time.Now()}
	w := Watch(l, g, WatchOptions{After: after, Doing: func(n *graph.Node, v Vertex) string { return "doing " + v.Name + " of " + n.Name() }})
	t.Cleanup(w.Close)
	for _, n := range g.Nodes() {
		w.Event(Event{Node: n.Name(), Kind: Queued})
	}
	return playing{w, l}
}

func (p playing) kind(node string, k EventKind) { p.Event(Event{Node: node, Kind: k}) }

func (p playing) step(node, name string, change ...func(*Vertex)) {
	v := &Vertex{Digest: "sha256:" + name, Name: name, Started: time.Now()}
	for _, f := range change {
		f(v)
	}
	p.Event(Event{Node: node, Kind: VertexKind, Vertex: v})
}

func ended(v *Vertex)    { v.Completed = time.Now() }
func notBegun(v *Vertex) { v.Started = time.Time{} }
func part(name string, at int64) func(*Vertex) {
	return func(v *Vertex) { v.Part, v.Current = name, at }
}

func TestWatchdog(t *testing.T) {
	for _, tt := range []struct {
		name string
		play func(playing)
		want []string
	}{
		{"a busy run", func(p playing) {
			p.kind("base", Started)
			p.step("base", "RUN")
			for range 60 {
				time.Sleep(50 * time.Second)
				p.Event(Event{Node: "base", Kind: Log, Vertex: &Vertex{Digest: "sha256:RUN"}, Log: []byte("x")})
			}
			p.step("base", "RUN", ended)
			p.kind("base", Solved)
			p.kind("base", Finished)
		}, nil},
		{"a silent step, told at doubling intervals, and anew after a sign of life", func(p playing) {
			p.kind("base", Started)
			p.step("base", "RUN", func(v *Vertex) { v.File, v.Line = "Dockerfile", 7 })
			time.Sleep(8*time.Minute - time.Second)
			p.Event(Event{Node: "base", Kind: Log, Vertex: &Vertex{Digest: "sha256:RUN"}, Log: []byte("x")})
			time.Sleep(time.Minute + 10*time.Second)
			p.step("base", "RUN", ended)
		}, []string{
			"1m0s base RUN: doing RUN of base (Dockerfile:7) since 0s for 1m0s app,e2e",
			"2m0s base RUN: doing RUN of base (Dockerfile:7) since 0s for 2m0s app,e2e",
			"4m0s base RUN: doing RUN of base (Dockerfile:7) since 0s for 4m0s app,e2e",
			"9m0s base RUN: doing RUN of base (Dockerfile:7) since 7m59s for 1m1s app,e2e",
		}},
		{"one silent step beside a busy one", func(p playing) {
			p.kind("base", Started)
			p.kind("docs", Started)
			p.step("base", "RUN")
			p.step("docs", "RUN docs")
			for range 9 {
				time.Sleep(10 * time.Second)
				p.Event(Event{Node: "docs", Kind: Log, Vertex: &Vertex{Digest: "sha256:RUN docs"}, Log: []byte("x")})
			}
		}, []string{"1m0s base RUN: doing RUN of base since 0s for 1m0s app,e2e"}},
		{"reports without progress are no sign of life, bytes and parts are", func(p playing) {
			p.kind("docs", Started)
			p.step("docs", "FROM")
			for i := range 11 {
				p.step("docs", "FROM", part("layer", int64(min(i, 6))))
				p.step("docs", "FROM", part("other", 5))
				time.Sleep(10 * time.Second)
			}
			p.step("docs", "FROM", part("other", 5), func(v *Vertex) { v.PartDone = true })
			time.Sleep(59 * time.Second)
		}, nil},
		{"a transfer that stops", func(p playing) {
			p.kind("docs", Started)
			p.step("docs", "FROM")
			before := p.listener.count()
			for range 95 {
				p.step("docs", "FROM", part("layer", 100))
				time.Sleep(time.Second)
			}
			if n := p.listener.count() - before; n != 2 {
				panic(fmt.Sprintf("%d events were passed on: one report, and the silence", n))
			}
		}, []string{"1m0s docs FROM: doing FROM of docs since 0s for 1m0s"}},
		{"a step that has not begun is not running", func(p playing) {
			p.kind("docs", Started)
			p.step("docs", "RUN", notBegun)
			p.kind("base", Started)
			p.step("base", "RUN base")
			for range 10 {
				time.Sleep(20 * time.Second)
				p.Event(Event{Node: "base", Kind: Log, Vertex: &Vertex{Digest: "sha256:RUN base"}, Log: []byte("x")})
			}
		}, nil},
		{"nothing is heard of the whole run", func(p playing) {
			p.kind("base", Started)
			p.kind("docs", Started)
			p.kind("docs", Solved)
			time.Sleep(65 * time.Second)
		}, []string{
			"1m0s base -: waiting for the builder since 0s for 1m0s app,e2e",
			"1m0s docs -: waiting for its export since 0s for 1m0s",
		}},
		{"a slow export holds who depends on it, not who reads it", func(p playing) {
			p.kind("base", Started)
			p.kind("base", Solved)
			p.step("base", "exporting to image", part("pushing layers", 0))
			p.kind("app", Started)
			p.step("app", "RUN app")
			time.Sleep(65 * time.Second)
			p.kind("app", Solved)
			p.step("app", "exporting to image")
			time.Sleep(65 * time.Second)
		}, []string{
			"1m0s base exporting to image: doing exporting to image of base since 0s for 1m0s",
			"1m0s app RUN app: doing RUN app of app since 0s for 1m0s e2e",
			"2m0s base exporting to image: doing exporting to image of base since 0s for 2m0s",
			"2m8s app exporting to image: doing exporting to image of app since 1m5s for 1m3s e2e",
		}},
		{"nothing begins", func(p playing) {
			time.Sleep(65 * time.Second)
		}, []string{
			"1m0s base -: waiting for its turn since 0s for 1m0s app,e2e",
			"1m0s docs -: waiting for its turn since 0s for 1m0s",
		}},
		{"a step that belongs to no target", func(p playing) {
			p.kind("docs", Started)
			p.step("", "importing cache")
			time.Sleep(65 * time.Second)
			p.step("", "importing cache", ended)
			time.Sleep(50 * time.Second)
		}, []string{
			"1m0s  importing cache: doing importing cache of  since 0s for 1m0s",
			"1m0s docs -: waiting for the builder since 0s for 1m0s",
		}},
		{"a retry is a sign of life, and so is what concerns the run", func(p playing) {
			p.kind("docs", Started)
			p.step("docs", "FROM")
			time.Sleep(50 * time.Second)
			p.Event(Event{Node: "docs", Kind: Retrying, Retry: &Retry{Number: 1}})
			time.Sleep(50 * time.Second)
			p.Event(Event{Kind: Log, Log: []byte("x")})
			time.Sleep(50 * time.Second)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := watchPlay(t, time.Minute)
				tt.play(p)
				synctest.Wait()
				p.listener.mu.Lock()
				defer p.listener.mu.Unlock()
				if diff := cmp.Diff(tt.want, p.listener.lines); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}
