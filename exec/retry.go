package exec

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/kilnbuild/kiln/graph"
)

// A NetworkError is a failure of the network, or of a server behind it, that
// may be over a moment later. Solvers return it, wrapped or not.
type NetworkError struct {
	Cause string        // in one line: "registry.example.com answered 503 Service Unavailable"
	After time.Duration // how long the server asks to be left alone; 0 if it does not say
	Err   error
}

func (e *NetworkError) Error() string { return e.Err.Error() }
func (e *NetworkError) Unwrap() error { return e.Err }

// Retries say how often something is tried again after a NetworkError.
type Retries struct {
	Times int    // most retries of a node's solve, and as many of its export; 0 is none
	Seed  uint64 // moves the waits of one run against those of another
}

const (
	firstWait = time.Second      // before the first retry; doubles each time
	maxWait   = 30 * time.Second // between two attempts, unless the server asks for more
	maxAfter  = 2 * time.Minute  // that a server may ask for; after more it is not tried again
)

// WithRetries returns a Solver that solves and exports again what fails with
// a NetworkError, after a while that grows, and tells of it with an event.
// Results of s may be exported again after an error.
func WithRetries(s Solver, r Retries) Solver {
	if r.Times <= 0 {
		return s
	}
	return &retrier{s, r}
}

type retrier struct {
	solver  Solver
	retries Retries
}

func (r *retrier) Solve(ctx context.Context, n *graph.Node, inputs map[string]Result, sink Sink) (Result, error) {
	inner := make(map[string]Result, len(inputs))
	for name, in := range inputs {
		inner[name] = in.(*retriedResult).Result
	}
	t := &retriedResult{r: r, node: n, sink: sink}
	err := t.try(ctx, false, func() (err error) {
		t.Result, err = r.solver.Solve(ctx, n, inner, sink)
		return err
	})
	if err != nil || t.Result == nil {
		return nil, err
	}
	return t, nil
}

// A retriedResult is a Result whose export may be tried again.
type retriedResult struct {
	Result
	r    *retrier
	node *graph.Node
	sink Sink
}

func (t *retriedResult) Export(ctx context.Context) (Output, error) {
	var out Output
	err := t.try(ctx, true, func() (err error) {
		out, err = t.Result.Export(ctx)
		return err
	})
	return out, err
}

// try does what belongs to the result's node until it is done, or has failed.
func (t *retriedResult) try(ctx context.Context, export bool, do func() error) error {
	tell := func(again Retry) {
		again.Export = export
		t.sink.Event(Event{Time: time.Now(), Node: t.node.Name(), Kind: Retrying, Retry: &again})
	}
	return t.r.retries.Do(ctx, t.node.Name(), tell, do)
}

// Do calls do until it succeeds, fails with another error than a
// NetworkError, or has failed often enough, and returns its last error. It
// tells of each retry before it waits; the waits differ from name to name.
func (r Retries) Do(ctx context.Context, name string, tell func(Retry), do func() error) error {
	for i := 1; ; i++ {
		err := do()
		var network *NetworkError
		if err == nil || i > r.Times || !errors.As(err, &network) || network.After > maxAfter || ctx.Err() != nil {
			return err
		}
		wait := max(r.wait(name, i), network.After)
		tell(Retry{Number: i, Of: r.Times, After: wait, Cause: network.Cause})
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w, while waiting to try again: %w", context.Cause(ctx), err)
		}
	}
}

// wait returns how long to wait before the i-th retry of a node, from 1: it
// doubles, and up to half of it is added, so that the nodes that one outage
// has failed do not all come back at once.
func (r Retries) wait(node string, i int) time.Duration {
	d := maxWait
	if i < 6 { // 2^5 s are more than maxWait
		d = min(maxWait, firstWait<<(i-1))
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%d %s %d", r.Seed, node, i)
	return d + d*time.Duration(h.Sum32()%512)/1024
}
