package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

var errLost = errors.New("the daemon is gone")

// A fake is a daemon in virtual time: a second for a solve and one for an
// export. It records what it does, and what should not have happened.
type fake struct {
	name      string
	platforms []string

	mu      sync.Mutex // guards all below
	dead    bool
	deaths  chan struct{} // closed at death; made in the bubble of the test
	dies    string        // in the solve of this node, or, with a ">" before it, in its export
	fails   map[string]error
	noOpen  error
	log     []string // "+node@platforms" solve begins, ">node" exported
	wrong   []string
	open    int // runs
	pending int // results that are not closed
}

func newFake(name string, platforms ...string) *fake {
	return &fake{name: name, platforms: platforms, fails: map[string]error{}}
}

func (f *fake) member() Member {
	return Member{Name: f.name, Platforms: f.platforms, Open: func(_ context.Context, g *graph.Graph) (Solver, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.noOpen != nil {
			return nil, f.noOpen
		}
		f.open++
		return &fakeRun{f: f, g: g}, nil
	}}
}

// begin makes the fake ready for a run.
func (f *fake) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deaths == nil {
		f.deaths = make(chan struct{})
	}
}

func (f *fake) kill() {
	f.begin()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.dead {
		f.dead = true
		close(f.deaths)
	}
}

// work takes a second, or as long as the daemon lives.
func (f *fake) work(ctx context.Context, what string) error {
	f.mu.Lock()
	dies := f.dies == what
	f.mu.Unlock()
	if dies {
		time.Sleep(3 * time.Second / 2) // what began at the same time is done
		f.kill()
	}
	select {
	case <-f.deaths:
		return fmt.Errorf("%s: %w", f.name, errLost)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Second):
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fails[what]
}

func (f *fake) note(list *[]string, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*list = append(*list, fmt.Sprintf(format, args...))
}

// A fakeRun is one run on a fake.
type fakeRun struct {
	f *fake
	g *graph.Graph
}

func (r *fakeRun) Solve(ctx context.Context, n *graph.Node, in map[string]exec.Result, _ exec.Sink) (exec.Result, error) {
	r.f.note(&r.f.log, "+%s@%s", n.Name(), strings.Join(n.Target.Platforms, ","))
	if r.g.Node(n.Name()) != n {
		r.f.note(&r.f.wrong, "%s: %s is not of the run", r.f.name, n.Name())
	}
	for _, need := range n.Needs {
		got, ok := in[need.Name()].(*fakeResult)
		switch {
		case !ok || got.r != r:
			r.f.note(&r.f.wrong, "%s: %s reads %s of another daemon or run", r.f.name, n.Name(), need.Name())
		case got.isClosed():
			r.f.note(&r.f.wrong, "%s: %s reads %s, which is closed", r.f.name, n.Name(), need.Name())
		case len(n.Target.Platforms) > 1 || len(got.n.Target.Platforms) > 1:
			for _, p := range n.Target.Platforms {
				if len(got.n.Target.Platforms) > 1 && !slices.Contains(got.n.Target.Platforms, p) {
					r.f.note(&r.f.wrong, "%s: %s reads %s for %s, of which there is %q", r.f.name, n.Name(), need.Name(), p, got.n.Target.Platforms)
				}
			}
		}
	}
	if err := r.f.work(ctx, n.Name()); err != nil {
		return nil, err
	}
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.f.pending++
	return &fakeResult{r: r, n: n}, nil
}

func (r *fakeRun) Close() error {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.f.open--
	return nil
}

type fakeResult struct {
	r *fakeRun
	n *graph.Node

	mu     sync.Mutex // guards closed
	closed bool
}

func (r *fakeResult) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

func (r *fakeResult) Export(ctx context.Context) (exec.Output, error) {
	if r.isClosed() {
		r.r.f.note(&r.r.f.wrong, "%s: %s is exported after it was closed", r.r.f.name, r.n.Name())
	}
	err := r.r.f.work(ctx, ">"+r.n.Name())
	var cache *exec.CacheError
	if err != nil && !errors.As(err, &cache) {
		return exec.Output{}, err
	}
	r.r.f.note(&r.r.f.log, ">%s", r.n.Name())
	what := r.r.f.name + ":" + r.n.Name()
	if len(r.n.Target.Platforms) > 0 {
		what += "@" + strings.Join(r.n.Target.Platforms, ",")
	}
	return exec.Output{Digest: what}, err
}

func (r *fakeResult) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.r.f.note(&r.r.f.wrong, "%s: %s is closed twice", r.r.f.name, r.n.Name())
	}
	r.closed = true
	r.r.f.mu.Lock()
	defer r.r.f.mu.Unlock()
	r.r.f.pending--
}

// images joins parts to "a+b". A target with an output to "-" cannot be made
// in parts, and not be exported twice.
type images struct{}

func (images) Platforms(t *config.Target) []string { return t.Platforms }
func (images) Joins(t *config.Target) bool         { return !toStdout(t) }
func (images) Part(t *config.Target, platforms []string) *config.Target {
	c := *t
	c.Platforms = platforms
	return &c
}
func (images) Join(_ context.Context, _ *config.Target, parts []exec.Output) (exec.Output, error) {
	var digests []string
	for _, p := range parts {
		digests = append(digests, p.Digest)
	}
	return exec.Output{Digest: strings.Join(digests, "+")}, nil
}

func toStdout(t *config.Target) bool {
	return slices.ContainsFunc(t.Outputs, func(e config.Export) bool { return e.Dest == "-" })
}

// parse makes a graph of words such as "app@amd64,arm64:base,lib>db": app is
// for two platforms, reads base and lib, and comes after db. An "!" before
// the name sends the output to "-".
func parse(t testing.TB, text string) *graph.Graph {
	t.Helper()
	cfg := &config.Config{}
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
	}
	for _, word := range strings.Fields(text) {
		head, rest, _ := strings.Cut(word, ":")
		needs, after, _ := strings.Cut(rest, ">")
		name, platforms, _ := strings.Cut(head, "@")
		tgt := &config.Target{Name: strings.TrimPrefix(name, "!")}
		if tgt.Name != name {
			tgt.Outputs = []config.Export{{Type: "tar", Dest: "-"}}
		}
		for _, p := range split(platforms) {
			tgt.Platforms = append(tgt.Platforms, "linux/"+p)
		}
		for _, n := range split(needs) {
			tgt.Contexts = append(tgt.Contexts, config.NamedSource{Name: n, From: config.FromTarget{Target: n}})
		}
		for _, n := range split(after) {
			tgt.DependsOn = append(tgt.DependsOn, config.Ref{Name: n, Range: hcl.Range{Filename: "f"}})
		}
		cfg.Targets = append(cfg.Targets, tgt)
	}
	g, diags := graph.New(cfg)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return g
}

// A recorder is a Sink that keeps where nodes were placed, and the warnings.
type recorder struct {
	mu       sync.Mutex
	placed   map[string][]string
	warnings []string
}

func (r *recorder) Event(e exec.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case exec.Placed:
		if r.placed == nil {
			r.placed = map[string][]string{}
		}
		text := e.Builder
		if e.Platforms != nil {
			text += " (" + strings.Join(e.Platforms, ", ") + ")"
		}
		r.placed[e.Node] = append(r.placed[e.Node], text)
		slices.Sort(r.placed[e.Node])
	case exec.Warning:
		r.warnings = append(r.warnings, e.Node+": "+string(e.Log))
	}
}

// A session is a run of a graph on fakes.
type session struct {
	fakes []*fake
	exec  exec.Options
	opt   Options
	recorder
}

// run builds and returns the digests of what was built, and checks the fakes.
func (s *session) run(t testing.TB, ctx context.Context, g *graph.Graph) (map[string]string, error) {
	t.Helper()
	var members []Member
	for _, f := range s.fakes {
		f.begin()
		members = append(members, f.member())
	}
	s.opt.Images = images{}
	s.opt.Lost = func(err error) bool { return errors.Is(err, errLost) }
	s.opt.Repeats = func(t *config.Target) bool { return !toStdout(t) }
	p, err := Open(ctx, g, members, s.opt)
	if err != nil {
		t.Fatal(err)
	}
	s.exec.Sink = s
	outcomes, err := exec.Run(ctx, g, p, s.exec)
	if e := p.Close(); e != nil {
		t.Error(e)
	}
	out := map[string]string{}
	for _, o := range outcomes {
		if o.Status == exec.Built {
			out[o.Node.Name()] = o.Output.Digest
		}
	}
	for _, f := range s.fakes {
		for _, w := range f.wrong {
			t.Error(w)
		}
		if f.open != 0 || f.pending != 0 {
			t.Errorf("%s: %d runs and %d results are left open", f.name, f.open, f.pending)
		}
	}
	return out, err
}
