package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/graph"
)

// A TimeoutError says that a node, or the whole run, has taken longer than it
// may.
type TimeoutError struct {
	After time.Duration // the limit
	Run   bool          // it is the limit of the whole run
	Step  string        // what was going on in the node; "" if that is not known
	// Export says that the node was being exported, not solved.
	Export bool
	// Before is what failed the attempts that the time was spent on; nil if
	// nothing did.
	Before error
}

func (e *TimeoutError) Error() string {
	text := "timed out after " + spell(e.After)
	if e.Run {
		text = fmt.Sprintf("the run timed out after %s", spell(e.After))
	}
	switch {
	case e.Before != nil:
		text += "; before: " + e.Before.Error()
	case e.Step != "":
		text += ", in step " + e.Step
	case e.Export:
		text += ", while it was exported"
	}
	return text
}

// spell writes a duration without its zero parts: "10m", not "10m0s".
func spell(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// WithRunTimeout returns a context that ends after d, with a TimeoutError as
// its cause: a Run with it fails what is at work by then, and cancels the rest.
func WithRunTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, &TimeoutError{After: d, Run: true})
}

// WithTimeouts returns a Solver that gives up a node after the time that of
// says, 0 for no limit. It counts while the node is solved and while it is
// exported, not while it waits between the two. The error is a TimeoutError
// with the step that was going on; so is that of a node that the end of the
// run's time has stopped, if ctx has a TimeoutError as its cause.
func WithTimeouts(s Solver, of func(*graph.Node) time.Duration) Solver {
	return &timer{s, of}
}

type timer struct {
	solver Solver
	of     func(*graph.Node) time.Duration
}

func (t *timer) Solve(ctx context.Context, n *graph.Node, inputs map[string]Result, sink Sink) (Result, error) {
	inner := make(map[string]Result, len(inputs))
	for name, in := range inputs {
		inner[name] = in.(*timedResult).Result
	}
	limit := t.of(n)
	r := &timedResult{limit: limit, left: limit, steps: &stepSink{Sink: sink}}
	err := r.bound(ctx, func(ctx context.Context) (err error) {
		r.Result, err = t.solver.Solve(ctx, n, inner, r.steps)
		return err
	})
	if err != nil || r.Result == nil {
		return nil, err
	}
	return r, nil
}

// A timedResult is a Result whose export has what the solve has left of the
// node's time.
type timedResult struct {
	Result
	limit time.Duration // 0 is none
	left  time.Duration
	steps *stepSink
}

func (r *timedResult) Export(ctx context.Context) (Output, error) {
	var out Output
	err := r.bound(ctx, func(ctx context.Context) (err error) {
		out, err = r.Result.Export(ctx)
		return err
	})
	if t, ok := err.(*TimeoutError); ok {
		t.Export = true
	}
	return out, err
}

// bound calls do with a context that ends when the node's time is up.
func (r *timedResult) bound(ctx context.Context, do func(context.Context) error) error {
	if r.limit > 0 {
		began := time.Now()
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.left, &TimeoutError{After: r.limit})
		defer func() { cancel(); r.left -= time.Since(began) }()
	}
	inner, cancel := r.steps.bound(ctx)
	defer cancel()
	err := do(inner)
	var timeout *TimeoutError
	var cache *CacheError
	if err == nil || errors.As(err, &cache) || !errors.As(context.Cause(ctx), &timeout) || failedByItself(err) {
		return err
	}
	out := &TimeoutError{After: timeout.After, Run: timeout.Run, Step: r.steps.current()}
	var network *NetworkError
	if errors.As(err, &network) {
		out.Before = network
	}
	return out
}

// A stepSink passes events on and remembers the steps that are going on.
type stepSink struct {
	Sink
	mu     sync.Mutex // guards open and frozen
	open   []Vertex   // in the order in which they began
	frozen string     // what current was when the time was up
}

// bound returns a context that ends with ctx, but not before it was noted what
// was going on: the end ends the steps, too.
func (s *stepSink) bound(ctx context.Context) (context.Context, func()) {
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		now := s.current()
		s.mu.Lock()
		s.frozen = now
		s.mu.Unlock()
		cancel(context.Cause(ctx))
	})
	return inner, func() { stop(); cancel(nil) }
}

func (s *stepSink) Event(e Event) {
	if e.Kind == VertexKind && e.Vertex != nil {
		s.note(*e.Vertex)
	}
	s.Sink.Event(e)
}

func (s *stepSink) note(v Vertex) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.open {
		if s.open[i].Digest == v.Digest {
			s.open = append(s.open[:i], s.open[i+1:]...)
			break
		}
	}
	if !v.Started.IsZero() && v.Completed.IsZero() {
		s.open = append(s.open, v)
	}
}

// current returns the name of the step that was heard of last, one that a
// person cares for if there is one.
func (s *stepSink) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := s.frozen
	if name != "" {
		return name
	}
	for _, v := range s.open {
		if !v.Internal || name == "" {
			name = v.Name
		}
	}
	return name
}
