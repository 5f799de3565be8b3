package exec

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kilnbuild/kiln/graph"
)

// A flaky Solver fails the first solves and exports of a node with what its
// lists hold.
type flaky struct {
	Solver
	mu      sync.Mutex // guards all below
	solves  map[string][]error
	exports map[string][]error
	tried   map[string]int
}

// fails takes the next error of a list, nil after the last.
func (f *flaky) fails(list map[string][]error, name, what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried[what+name]++
	if len(list[name]) == 0 {
		return nil
	}
	err := list[name][0]
	list[name] = list[name][1:]
	return err
}

func (f *flaky) Solve(ctx context.Context, n *graph.Node, in map[string]Result, sink Sink) (Result, error) {
	inner := map[string]Result{}
	for name, r := range in {
		inner[name] = r.(*flakyResult).Result
	}
	if err := f.fails(f.solves, n.Name(), "="); err != nil {
		return nil, err
	}
	r, err := f.Solver.Solve(ctx, n, inner, sink)
	if err != nil {
		return nil, err
	}
	return &flakyResult{Result: r, f: f, name: n.Name()}, nil
}

type flakyResult struct {
	Result
	f    *flaky
	name string
}

func (r *flakyResult) Export(ctx context.Context) (Output, error) {
	if err := r.f.fails(r.f.exports, r.name, ">"); err != nil {
		return Output{}, err
	}
	return r.Result.Export(ctx)
}

// retries keeps the retries that were told.
type retries struct {
	mu     sync.Mutex
	told   []string
	warned string
}

func (r *retries) Event(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Kind == Warning {
		r.warned = string(e.Log)
	}
	if e.Kind != Retrying {
		return
	}
	what := "solve"
	if e.Retry.Export {
		what = "export"
	}
	r.told = append(r.told, fmt.Sprintf("%s %s %d/%d: %s", e.Node, what, e.Retry.Number, e.Retry.Of, e.Retry.Cause))
}

var errNet = &NetworkError{Cause: "r answered 503", Err: errors.New("503")}

func many(n int, err error) []error { return slices.Repeat([]error{err}, n) }

func TestRetries(t *testing.T) {
	asked := &NetworkError{Cause: "r answered 429", After: 50 * time.Second, Err: errors.New("429")}
	hours := &NetworkError{Cause: "r answered 429", After: time.Hour, Err: errors.New("429")}
	for _, tt := range []struct {
		name            string
		graph           string
		solves, exports map[string][]error
		times           int
		want            string
		told            []string
		least, most     time.Duration
	}{
		{"a solve", "a b:a", map[string][]error{"a": many(2, errNet)}, nil, 2, "a=built b=built",
			[]string{"a solve 1/2: r answered 503", "a solve 2/2: r answered 503"}, 6 * time.Second, 7500 * time.Millisecond},
		{"an export", "a b:>a", nil, map[string][]error{"a": many(1, errNet)}, 2, "a=built b=built",
			[]string{"a export 1/2: r answered 503"}, 5 * time.Second, 5500 * time.Millisecond},
		{"both, each with its own count", "a", map[string][]error{"a": many(2, errNet)}, map[string][]error{"a": many(2, errNet)}, 2, "a=built",
			[]string{"a solve 1/2: r answered 503", "a solve 2/2: r answered 503", "a export 1/2: r answered 503", "a export 2/2: r answered 503"}, 8 * time.Second, 11 * time.Second},
		{"too often", "a b:a", map[string][]error{"a": many(3, errNet)}, nil, 2, "a=failed b=skipped(a/a)",
			[]string{"a solve 1/2: r answered 503", "a solve 2/2: r answered 503"}, 3 * time.Second, 4500 * time.Millisecond},
		{"never", "a", map[string][]error{"a": many(1, errNet)}, nil, 0, "a=failed", nil, 0, 0},
		{"what is not the network's is not tried again", "a", map[string][]error{"a": many(1, errBoom)}, nil, 5, "a=failed", nil, 0, 0},
		{"a place in the Dockerfile does not matter", "a", map[string][]error{"a": many(1, &SourceError{ExitCode: -1, Err: errNet})}, nil, 1, "a=built",
			[]string{"a solve 1/1: r answered 503"}, 3 * time.Second, 3500 * time.Millisecond},
		{"the server says when", "a", map[string][]error{"a": many(1, asked)}, nil, 1, "a=built",
			[]string{"a solve 1/1: r answered 429"}, 52 * time.Second, 52 * time.Second},
		{"the server asks for too much", "a", map[string][]error{"a": many(1, hours)}, nil, 1, "a=failed", nil, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := newFake()
				f := &flaky{Solver: inner, solves: tt.solves, exports: tt.exports, tried: map[string]int{}}
				told := &retries{}
				began := time.Now()
				out, err := Run(t.Context(), parse(t, tt.graph), WithRetries(f, Retries{Times: tt.times}), Options{Sink: told})
				took := time.Since(began)
				if got := show(out); got != tt.want || (err == nil) != allBuilt(out) {
					t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
				}
				if !slices.Equal(told.told, tt.told) {
					t.Errorf("told %q\nwant %q", told.told, tt.told)
				}
				if took < tt.least || took > tt.most {
					t.Errorf("took %v, want %v to %v", took, tt.least, tt.most)
				}
				inner.check(t)
			})
		})
	}
}

// A node that waits to be tried again is stopped like any other.
func TestRetryStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newFake()
		inner.fails = map[string]error{"bad": errBoom}
		inner.slow = map[string]time.Duration{"bad": 2 * time.Second}
		f := &flaky{Solver: inner, solves: map[string][]error{"a": many(9, errNet)}, tried: map[string]int{}}
		out, err := Run(t.Context(), parse(t, "a bad"), WithRetries(f, Retries{Times: 9}), Options{})
		if got := show(out); got != "a=cancelled(bad) bad=failed" || !errors.Is(err, errBoom) {
			t.Errorf("got %s, %v", got, err)
		}
		if f.tried["=a"] != 2 { // at 0 s and after one to one and a half
			t.Errorf("a was tried %d times", f.tried["=a"])
		}
	})
}

// The waits grow, up to a bound, and differ between nodes and runs, but not
// between equal ones.
func TestRetryWaits(t *testing.T) {
	for i, base := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		base *= time.Second
		if got := (Retries{}).wait("app", i+1); got < base || got > base*3/2 {
			t.Errorf("wait %d is %v, want %v to %v", i+1, got, base, base*3/2)
		}
	}
	seen := map[time.Duration]bool{}
	for i := range 20 {
		seen[Retries{}.wait(fmt.Sprint("n", i), 1)] = true
		seen[Retries{Seed: uint64(i + 1)}.wait("app", 1)] = true
	}
	if len(seen) < 30 {
		t.Errorf("40 waits have only %d values", len(seen))
	}
	first := Retries{Seed: 5}.wait("app", 3)
	if again := (Retries{Seed: 5}).wait("app", 3); first != again {
		t.Errorf("the same retry waits %v and %v", first, again)
	}
}

func TestTimeouts(t *testing.T) {
	const minute = time.Minute
	for _, tt := range []struct {
		name  string
		graph string
		set   func(*fake)
		of    map[string]time.Duration
		run   time.Duration // of the whole run
		mode  Mode
		want  string
		err   string
		took  time.Duration
	}{
		{"in time", "a b:a", nil, map[string]time.Duration{"a": 3 * time.Second}, 0, FailFast, "a=built b=built", "", 3 * time.Second},
		{"a solve", "a b:a c", func(f *fake) { f.slow = map[string]time.Duration{"a": hour, "c": hour} }, map[string]time.Duration{"a": minute}, 0, FailFast,
			"a=failed b=skipped(a/a) c=cancelled(a)", "target a: timed out after 1m, in step RUN a", minute},
		{"others go on", "a b:a c", func(f *fake) { f.slow = map[string]time.Duration{"a": hour, "c": hour} }, map[string]time.Duration{"a": minute}, 0, KeepGoing,
			"a=failed b=skipped(a/a) c=built", "target a: timed out after 1m, in step RUN a", hour + 2*time.Second},
		{"an export", "a", func(f *fake) { f.lag = map[string]time.Duration{"a": hour} }, map[string]time.Duration{"a": minute}, 0, FailFast,
			"a=failed", "target a: timed out after 1m, in step RUN a", minute},
		{"waiting for others does not count", "a slow", func(f *fake) { f.slow = map[string]time.Duration{"slow": hour} }, map[string]time.Duration{"a": minute}, 0, DeferOutput,
			"a=built slow=built", "", hour + 2*time.Second},
		{"the run", "a b:a c", func(f *fake) { f.slow = map[string]time.Duration{"a": hour, "c": hour} }, nil, 90 * time.Second, FailFast,
			"a=failed b=cancelled(the run timed out after 1m30s) c=failed",
			"target a: the run timed out after 1m30s, in step RUN a\ntarget c: the run timed out after 1m30s, in step RUN c\nthe run timed out after 1m30s", 90 * time.Second},
		{"the run, what is built stays", "a c", func(f *fake) { f.slow = map[string]time.Duration{"c": hour} }, nil, minute, KeepGoing,
			"a=built c=failed", "target c: the run timed out after 1m, in step RUN c", minute},
		{"the run is in time", "a b", nil, nil, minute, FailFast, "a=built b=built", "", 2 * time.Second},
		{"whichever comes first", "a", func(f *fake) { f.slow = map[string]time.Duration{"a": hour} }, map[string]time.Duration{"a": minute}, 2 * minute, FailFast,
			"a=failed", "target a: timed out after 1m, in step RUN a", minute},
		{"a command that failed by itself meanwhile", "a", func(f *fake) {
			f.slow, f.deaf = map[string]time.Duration{"a": hour}, map[string]bool{"a": true}
			f.fails = map[string]error{"a": &SourceError{File: "D", StartLine: 1, ExitCode: 2, Err: errOther}}
		}, map[string]time.Duration{"a": minute}, 0, FailFast, "a=failed", "target a: D:1: other", hour + time.Second},
		{"a command that was killed then", "a", func(f *fake) {
			f.slow, f.deaf = map[string]time.Duration{"a": hour}, map[string]bool{"a": true}
			f.fails = map[string]error{"a": &SourceError{File: "D", StartLine: 1, ExitCode: 137, Err: errOther}}
		}, map[string]time.Duration{"a": minute}, 0, FailFast, "a=failed", "target a: timed out after 1m, in step RUN a", hour + time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				if tt.set != nil {
					tt.set(f)
				}
				ctx := t.Context()
				if tt.run > 0 {
					var cancel context.CancelFunc
					ctx, cancel = WithRunTimeout(ctx, tt.run)
					defer cancel()
				}
				began := time.Now()
				s := WithTimeouts(f, func(n *graph.Node) time.Duration { return tt.of[n.Name()] })
				out, err := Run(ctx, parse(t, tt.graph), s, Options{Mode: tt.mode})
				if got := show(out); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
				if got := withoutStack(err); got != tt.err {
					t.Errorf("error %q\nwant  %q", got, tt.err)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				f.check(t)
			})
		})
	}
}

// Retries and waits for them are within a node's time.
func TestTimeoutOfRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newFake()
		f := &flaky{Solver: inner, solves: map[string][]error{"a": many(99, errNet)}, tried: map[string]int{}}
		s := WithTimeouts(WithRetries(f, Retries{Times: 99}), func(*graph.Node) time.Duration { return 10 * time.Second })
		out, err := Run(t.Context(), parse(t, "a"), s, Options{})
		if show(out) != "a=failed" || err == nil || !strings.Contains(err.Error(), "timed out after 10s; before: 503") {
			t.Errorf("got %s, %v", show(out), err)
		}
		var timeout *TimeoutError
		if !errors.As(err, &timeout) || timeout.Run {
			t.Errorf("%v is no TimeoutError", err)
		}
	})
}

// Random graphs behind both Solvers keep all that Run promises.
func TestWrappedRandom(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 11))
		text := randomGraph(t, rnd)
		synctest.Test(t, func(t *testing.T) {
			g := parse(t, text)
			inner := newFake()
			inner.slow = map[string]time.Duration{}
			f := &flaky{Solver: inner, solves: map[string][]error{}, exports: map[string][]error{}, tried: map[string]int{}}
			for _, n := range g.Nodes() {
				inner.slow[n.Name()] = time.Duration(rnd.IntN(5000)) * time.Millisecond
				f.solves[n.Name()] = many(rnd.IntN(4), errNet)
				f.exports[n.Name()] = many(rnd.IntN(4), errNet)
			}
			limit := func(*graph.Node) time.Duration { return time.Duration(rnd.IntN(2)) * 12 * time.Second }
			limits := map[string]time.Duration{}
			for _, n := range g.Nodes() {
				limits[n.Name()] = limit(n)
			}
			s := WithTimeouts(WithRetries(f, Retries{Times: 2, Seed: seed}), func(n *graph.Node) time.Duration { return limits[n.Name()] })
			o := Options{Jobs: rnd.IntN(4), Mode: Mode(rnd.IntN(3))}
			out, err := Run(t.Context(), g, s, o)
			inner.check(t)
			if allBuilt(out) != (err == nil) || t.Failed() {
				t.Fatalf("seed %d, %+v: %s: %v\n%s", seed, o, text, err, show(out))
			}
		})
	}
}

// A cache that is not exported is a warning, and the node is built; what the
// network has failed of it is tried again first.
func TestCacheError(t *testing.T) {
	for _, tt := range []struct {
		name    string
		exports []error
		limit   time.Duration
		told    []string
		warning string
	}{
		{"refused", []error{&CacheError{errBoom}}, 0, nil, "the cache was not exported: boom"},
		{"the network, for a moment", []error{&CacheError{errNet}, nil}, 0, []string{"a export 1/2: r answered 503"}, ""},
		{"the network, for long", many(3, &CacheError{errNet}), 0, []string{"a export 1/2: r answered 503", "a export 2/2: r answered 503"}, "the cache was not exported: 503"},
		{"the time is up", many(3, &CacheError{errNet}), 4 * time.Second, []string{"a export 1/2: r answered 503", "a export 2/2: r answered 503"}, "the cache was not exported: 503"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &flaky{Solver: newFake(), exports: map[string][]error{"a": tt.exports}, tried: map[string]int{}}
				told := &retries{}
				s := WithTimeouts(WithRetries(f, Retries{Times: 2}), func(*graph.Node) time.Duration { return tt.limit })
				out, err := Run(t.Context(), parse(t, "a"), s, Options{Sink: told})
				if got := show(out); got != "a=built" || err != nil {
					t.Errorf("got %s, %v", got, err)
				}
				if !slices.Equal(told.told, tt.told) || told.warned != tt.warning {
					t.Errorf("told %q and %q\nwant %q and %q", told.told, told.warned, tt.told, tt.warning)
				}
			})
		})
	}
}

// A time that is up during an export says so, if no step is known.
func TestTimeoutWhileExporting(t *testing.T) {
	for want, err := range map[string]*TimeoutError{
		"timed out after 1h, while it was exported":      {After: time.Hour, Export: true},
		"the run timed out after 1h30m, in step pushing": {After: 90 * time.Minute, Run: true, Export: true, Step: "pushing"},
		"timed out after 1m30s; before: boom":            {After: 90 * time.Second, Before: errBoom, Step: "pushing"},
		"the run timed out after 250ms":                  {After: 250 * time.Millisecond, Run: true},
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.lag = map[string]time.Duration{"a": hour}
		_, err := Run(t.Context(), parse(t, "a"), WithTimeouts(f, func(*graph.Node) time.Duration { return time.Minute }), Options{})
		var timeout *TimeoutError
		if !errors.As(err, &timeout) || !timeout.Export {
			t.Errorf("error is %v", err)
		}
	})
}
