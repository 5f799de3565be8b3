package exec

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/graph"
)

// A run is one call of Run. The goroutine of loop owns it all; workers solve,
// export and close, touch nothing of it, and report.
type run struct {
	ctx     context.Context // of the workers; in a struct because it is the run's own
	cancel  context.CancelCauseFunc
	solver  Solver
	opts    Options
	works   []*work // in the order of the graph
	ready   queue
	running int // weight of the solves and exports under way
	open    int // works not yet let go
	stage   stages
	stopped error // why nothing new begins; nil while it may
	parent  error // cause of the caller's cancellation, if that stopped the run
	workers errgroup.Group
	reports chan report
}

// A report is what a worker has done.
type report struct {
	w      *work
	did    phase
	result Result
	output Output
	err    error
}

func newRun(ctx context.Context, g *graph.Graph, s Solver, o Options) *run {
	r := &run{solver: s, opts: o, reports: make(chan report)}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.works = newWorks(g.Nodes())
	rankWorks(r.works, o)
	r.open = len(r.works)
	r.stage = newStages(r.works)
	if r.opts.Sink == nil {
		r.opts.Sink = discard{}
	}
	return r
}

// loop runs until every node has its outcome and every result is closed.
func (r *run) loop(ctx context.Context) {
	for _, w := range r.works {
		w.outcome.Times.Queued = r.tell(w, Queued)
	}
	for _, w := range r.works {
		if w.waits == 0 {
			heap.Push(&r.ready, w)
		}
	}
	ended := ctx.Done()
	for r.open > 0 {
		if ctx.Err() == nil {
			r.dispatch()
		}
		select {
		case rep := <-r.reports:
			r.interrupt(ctx) // before the failures that it caused are taken for the nodes' own
			r.take(rep)
		case <-ended:
			ended = nil
			r.interrupt(ctx)
		}
	}
	_ = r.workers.Wait() // workers report their errors
}

// interrupt stops the run if the caller's context is done.
func (r *run) interrupt(ctx context.Context) {
	if r.parent == nil && ctx.Err() != nil {
		r.parent = context.Cause(ctx)
		r.stop(r.parent)
	}
}

// dispatch starts what may start.
func (r *run) dispatch() {
	for r.ready.Len() > 0 {
		w := r.ready[0]
		if w.settled || w.phase != waiting && w.phase != solved {
			heap.Pop(&r.ready)
			continue
		}
		if r.opts.Jobs > 0 && r.running+w.weight > r.opts.Jobs {
			return // it is next; what is lighter does not overtake it, or it might wait for long
		}
		heap.Pop(&r.ready)
		r.running += w.weight
		if w.phase == waiting {
			w.outcome.Times.Started = r.tell(w, Started)
			r.start(w, solving)
		} else {
			r.export(w)
		}
	}
}

// export sets a worker to the export of w, whose slots are taken.
func (r *run) export(w *work) {
	w.outcome.Times.Exporting = time.Now()
	r.start(w, exporting)
}

// start sets a worker to the next phase of w.
func (r *run) start(w *work, p phase) {
	w.phase = p
	var inputs map[string]Result
	if p == solving {
		inputs = w.inputs()
	}
	r.workers.Go(func() error {
		rep := report{w: w, did: p}
		defer func() {
			rep.recovered(recover())
			r.reports <- rep
		}()
		rep.err = errNoEnd
		switch p {
		case solving:
			rep.result, rep.err = r.solver.Solve(r.ctx, w.node, inputs, r.opts.Sink)
		case exporting:
			rep.output, rep.err = w.result.Export(r.ctx)
		case closing:
			w.result.Close()
			rep.err = nil
		}
		return nil
	})
}

// take goes on with a node after a worker's report.
func (r *run) take(rep report) {
	w := rep.w
	switch rep.did {
	case solving:
		r.running -= w.weight
		r.takeSolved(w, rep.result, rep.err)
	case exporting:
		r.running -= w.weight
		w.outcome.Output = rep.output
		r.settle(w, r.exported(w, rep.err))
	case closing:
		w.closeErr = rep.err
		r.letGo(w)
	}
}

func (r *run) takeSolved(w *work, result Result, err error) {
	if err == nil && result == nil {
		err = errNoResult
	}
	if err != nil {
		r.stage.drop(w)
		r.settle(w, err)
		r.exportStages()
		return
	}
	w.phase, w.result = solved, result
	w.outcome.Times.Solved = r.tell(w, Solved)
	if r.stopped == nil || r.opts.Mode == DeferOutput && r.parent == nil {
		for _, d := range w.needers {
			r.release(d)
		}
	}
	r.stage.solved(w)
	switch {
	case r.stopped != nil:
		r.settle(w, r.stopped)
	case r.opts.Mode != DeferOutput:
		r.running += w.weight // the slots of the solve, handed on
		r.export(w)
	}
	r.exportStages()
}

// exported tells of a cache that was not exported, and returns the error of
// an export that was none.
func (r *run) exported(w *work, err error) error {
	var cache *CacheError
	if !errors.As(err, &cache) {
		return err
	}
	r.opts.Sink.Event(Event{Time: time.Now(), Node: w.node.Name(), Kind: Warning, Log: []byte(cache.Error())})
	return nil
}

// exportStages makes the exports ready that DeferOutput has held back for
// long enough.
func (r *run) exportStages() {
	if r.opts.Mode != DeferOutput || r.stopped != nil {
		return
	}
	for _, w := range r.stage.next() {
		heap.Push(&r.ready, w)
	}
}

// release takes one thing off what w waits for.
func (r *run) release(w *work) {
	if w.waits--; w.waits == 0 && !w.settled {
		heap.Push(&r.ready, w)
	}
}

// settle gives w its outcome and goes on to what that means for others.
func (r *run) settle(w *work, err error) {
	status := r.status(err)
	if status == Cancelled {
		err = r.stopped
	}
	r.finish(w, status, err)
	switch status {
	case Built:
		for _, d := range w.waiters {
			r.release(d)
		}
		return
	case Failed:
		r.skip(w)
		r.failed(w)
	}
	r.cancelWaiters(w)
}

// status tells a failure of the node from the consequence of a stop: once the
// workers' context is done, only a command that ended by itself counts.
func (r *run) status(err error) Status {
	var timeout *TimeoutError
	switch {
	case err == nil:
		return Built
	case r.stopped == nil, errors.As(err, &timeout):
		return Failed
	case errors.Is(err, r.stopped), errors.Is(err, context.Canceled):
		return Cancelled
	case r.ctx.Err() == nil, failedByItself(err):
		return Failed
	}
	return Cancelled
}

// failedByItself reports whether err is of a command that ended with an error
// of its own, which no cancellation made.
func failedByItself(err error) bool {
	var source *SourceError
	return errors.As(err, &source) && source.ExitCode > 0 && source.ExitCode != killed
}

// killed is the exit code of a command ended by SIGKILL, as cancelling does.
const killed = 128 + 9

// finish records and tells the outcome of w.
func (r *run) finish(w *work, status Status, err error) {
	w.settled = true
	w.outcome.Status, w.outcome.Err = status, err
	now := time.Now()
	w.outcome.Times.Finished = now
	o := w.outcome
	r.opts.Sink.Event(Event{Time: now, Node: w.node.Name(), Kind: Finished, Outcome: &o})
	r.free(w)
}

// skip gives all that needs or waits for w, which failed, its outcome. What
// reads the result of w goes on if there is one: only w's export failed.
func (r *run) skip(root *work) {
	todo := []*work{root}
	for len(todo) > 0 {
		w := todo[0]
		todo = todo[1:]
		for _, d := range w.dependents() {
			if d.settled || d.phase != waiting {
				continue
			}
			r.stage.drop(d)
			r.finish(d, Skipped, &SkipError{Need: w.node.Name(), Root: root.node.Name()})
			todo = append(todo, d)
		}
	}
}

// failed does what the mode asks for after the first failure.
func (r *run) failed(w *work) {
	if r.stopped != nil {
		return
	}
	switch r.opts.Mode {
	case FailFast:
		r.stop(&StopError{Failed: w.node.Name()})
	case DeferOutput:
		r.exportNothing(&StopError{Failed: w.node.Name()})
	}
}

// stop cancels what is under way and all that has not begun.
func (r *run) stop(cause error) {
	if r.stopped == nil || r.parent != nil {
		r.stopped = cause
	}
	r.cancel(cause)
	for _, w := range r.works {
		if !w.settled && (w.phase == waiting || w.phase == solved) {
			r.stage.drop(w)
			r.finish(w, Cancelled, r.stopped)
		}
	}
}

// exportNothing gives up all exports that have not begun; solves go on.
func (r *run) exportNothing(cause error) {
	r.stopped = cause
	for _, w := range r.works {
		if !w.settled && w.phase == solved {
			r.finish(w, Cancelled, cause)
			r.cancelWaiters(w)
		}
	}
}

// cancelWaiters cancels what waits for the export of w, which will not come,
// and what needs or waits for that.
func (r *run) cancelWaiters(w *work) {
	todo := append([]*work(nil), w.waiters...)
	for len(todo) > 0 {
		d := todo[0]
		todo = todo[1:]
		if d.settled || d.phase != waiting {
			continue
		}
		r.stage.drop(d)
		r.finish(d, Cancelled, r.stopped)
		todo = append(append(todo, d.needers...), d.waiters...)
	}
}

// free lets go of w if it has its outcome and nobody reads it any more.
func (r *run) free(w *work) {
	switch {
	case !w.settled || w.readers > 0 || w.phase == closing || w.phase == gone:
	case w.result == nil:
		r.letGo(w)
	default:
		r.start(w, closing)
	}
}

// letGo ends w, as a reader of what it needs as well.
func (r *run) letGo(w *work) {
	w.phase, w.result = gone, nil
	r.open--
	for _, need := range w.needs {
		need.readers--
		r.free(need)
	}
}

// tell sends an event about w and returns its time.
func (r *run) tell(w *work, kind EventKind) time.Time {
	now := time.Now()
	r.opts.Sink.Event(Event{Time: now, Node: w.node.Name(), Kind: kind})
	return now
}

// results returns the outcomes and the error of the run.
func (r *run) results() ([]Outcome, error) {
	out := make([]Outcome, len(r.works))
	var errs []error
	interrupted := false
	for i, w := range r.works {
		out[i] = w.outcome
		switch {
		case w.outcome.Status == Failed:
			errs = append(errs, fmt.Errorf("target %s: %w", w.node.Name(), w.outcome.Err))
		case w.outcome.Status == Cancelled && r.parent != nil:
			interrupted = true
		}
		if w.closeErr != nil {
			errs = append(errs, fmt.Errorf("close target %s: %w", w.node.Name(), w.closeErr))
		}
	}
	if interrupted && len(errs) == 0 {
		return out, r.parent
	}
	if interrupted {
		errs = append(errs, r.parent)
	}
	return out, errors.Join(errs...)
}

type discard struct{}

func (discard) Event(Event) {}
