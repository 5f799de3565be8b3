package exec

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/graph"
)

// A fake builds nodes in virtual time: a second for a solve and one for an
// export, unless said otherwise. It records what happens and what is wrong.
type fake struct {
	mu       sync.Mutex // guards all below
	log      []string   // "+name" solve begins, "=name" solved, ">name" exported, "-name" closed
	wrong    []string
	busy     int            // solves and exports under way
	most     int            // the most at once
	weights  map[string]int // of nodes; 0 is 1
	load     int            // their sum for what is under way
	heaviest int            // the most of it
	solved   map[string]bool
	closed   map[string]int
	export   map[string]bool
	slow     map[string]time.Duration // more time for the solve
	lag      map[string]time.Duration // more time for the export
	fails    map[string]error         // of the solve
	unmoved  map[string]error         // of the export
	does     map[string]func()        // in the solve
	deaf     map[string]bool          // takes no notice of a cancellation
}

// work takes its time and counts how much goes on at once.
func (f *fake) work(ctx context.Context, name string, d time.Duration) error {
	f.mu.Lock()
	f.busy++
	f.load += max(1, f.weights[name])
	f.most, f.heaviest = max(f.most, f.busy), max(f.heaviest, f.load)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.busy--; f.load -= max(1, f.weights[name]); f.mu.Unlock() }()
	if f.deaf[name] {
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case <-time.After(time.Second + d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	}
}

func (f *fake) Solve(ctx context.Context, n *graph.Node, in map[string]Result, sink Sink) (Result, error) {
	f.begins(n, in)
	sink.Event(Event{Node: n.Name(), Kind: VertexKind, Vertex: &Vertex{Digest: n.Name(), Name: "RUN " + n.Name(), Started: time.Now()}})
	if do := f.does[n.Name()]; do != nil {
		do()
	}
	err := f.work(ctx, n.Name(), f.slow[n.Name()])
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range in {
		if f.closed[name] > 0 {
			f.wrong = append(f.wrong, fmt.Sprintf("%s was closed while %s read it", name, n.Name()))
		}
	}
	if err == nil {
		err = f.fails[n.Name()]
	}
	if err != nil {
		return nil, err
	}
	f.solved[n.Name()] = true
	f.log = append(f.log, "="+n.Name())
	return &fakeResult{f: f, node: n}, nil
}

// begins checks that n has what it needs.
func (f *fake) begins(n *graph.Node, in map[string]Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, "+"+n.Name())
	for _, need := range n.Needs {
		if r, ok := in[need.Name()].(*fakeResult); !ok || r.node != need || f.closed[need.Name()] > 0 {
			f.wrong = append(f.wrong, fmt.Sprintf("%s began with %v as %s", n.Name(), in[need.Name()], need.Name()))
		}
	}
	for _, after := range n.After {
		if !f.export[after.Name()] {
			f.wrong = append(f.wrong, fmt.Sprintf("%s began before %s was exported", n.Name(), after.Name()))
		}
	}
}

type fakeResult struct {
	f    *fake
	node *graph.Node
}

func (r *fakeResult) Export(ctx context.Context) (Output, error) {
	name := r.node.Name()
	err := r.f.work(ctx, name, r.f.lag[name])
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	if r.f.closed[name] > 0 || r.f.export[name] {
		r.f.wrong = append(r.f.wrong, name+" was exported twice, or after it was closed")
	}
	if err == nil {
		err = r.f.unmoved[name]
	}
	if err != nil {
		return Output{}, err
	}
	r.f.export[name] = true
	r.f.log = append(r.f.log, ">"+name)
	return Output{Digest: "sha256:" + name}, nil
}

func (r *fakeResult) Close() {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	for _, n := range r.node.Needers {
		if r.f.solved[n.Name()] && r.f.closed[n.Name()] == 0 {
			r.f.wrong = append(r.f.wrong, fmt.Sprintf("%s was closed before %s, which reads it", r.node.Name(), n.Name()))
		}
	}
	r.f.closed[r.node.Name()]++
	r.f.log = append(r.f.log, "-"+r.node.Name())
}

func newFake() *fake {
	return &fake{solved: map[string]bool{}, closed: map[string]int{}, export: map[string]bool{}}
}

// check reports what went wrong, and results that were not closed once.
func (f *fake) check(t *testing.T) {
	t.Helper()
	for _, w := range f.wrong {
		t.Error(w)
	}
	for name := range f.solved {
		if f.closed[name] != 1 {
			t.Errorf("%s was closed %d times", name, f.closed[name])
		}
	}
	if f.busy != 0 {
		t.Errorf("%d still at work", f.busy)
	}
}

// parse makes a graph of words such as "app:base,lib>db": app reads base and
// lib, and comes after db.
func parse(t *testing.T, text string) *graph.Graph {
	t.Helper()
	cfg := &config.Config{}
	for _, word := range strings.Fields(text) {
		name, rest, _ := strings.Cut(word, ":")
		needs, after, _ := strings.Cut(rest, ">")
		tgt := &config.Target{Name: name}
		for _, n := range strings.FieldsFunc(needs, isComma) {
			tgt.Contexts = append(tgt.Contexts, config.NamedSource{Name: n, From: config.FromTarget{Target: n}})
		}
		for _, n := range strings.FieldsFunc(after, isComma) {
			tgt.DependsOn = append(tgt.DependsOn, config.Ref{Name: n, Range: hcl.Range{Filename: "f"}})
		}
		cfg.Targets = append(cfg.Targets, tgt)
	}
	g, diags := graph.New(cfg)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if diags := g.Check(); diags.HasErrors() {
		t.Fatal(diags)
	}
	return g
}

func isComma(r rune) bool { return r == ',' }

// A recorder is a Sink that keeps events, but those of steps, as "kind name".
type recorder struct {
	mu     sync.Mutex
	events []string
	ends   map[string]Status
}

func (r *recorder) Event(e Event) {
	if e.Kind == VertexKind {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, string(e.Kind)+" "+e.Node)
	if e.Kind == Finished {
		r.ends[e.Node] = e.Outcome.Status
	}
}

// closePanics builds in no time and panics when it lets go.
type closePanics struct{}

func (closePanics) Solve(context.Context, *graph.Node, map[string]Result, Sink) (Result, error) {
	return closePanics{}, nil
}
func (closePanics) Export(context.Context) (Output, error) { return Output{}, nil }
func (closePanics) Close()                                 { panic("oh") }
