package exec

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/graph"
)

// A Silence says of what nothing was heard for long. It is no failure, and
// nothing is done about it: the step may be slow, or stuck.
type Silence struct {
	Doing string        // what is waited for: "running make", "pulling golang:1.27 from docker.io"
	Since time.Time     // the last sign of life, by kiln's clock
	For   time.Duration // from then until now
	Holds []string      // unfinished targets that cannot go on before it, in the order of the graph
}

// A Watchdog passes events on to a sink, and adds a Silent one for each
// running step of which nothing is heard for long: neither log nor byte nor
// a change of its state. A target of which no step runs is told if nothing is
// heard of the whole run, for it may wait for what another is busy with. What
// stays silent is told again at doubling intervals.
type Watchdog struct {
	sink  Sink
	opts  WatchOptions
	stop  chan struct{}
	ended chan struct{}

	// mu guards the fields below.
	mu    sync.Mutex
	nodes []*watched // in the order of the graph
	loose *watched   // steps that belong to no node
	index map[string]*watched
	heard time.Time // of anything
}

// WatchOptions say what is silent, and how to tell.
type WatchOptions struct {
	// After is the silence that is told. It has to be positive.
	After time.Duration
	// Doing says in words, that go on after "while", what a step of a node
	// does. Nil is the step's name.
	Doing func(n *graph.Node, v Vertex) string
}

// A watched is a node that may fall silent.
type watched struct {
	node  *graph.Node
	phase EventKind // Queued, Started, Solved or Finished
	steps map[string]*watchedStep
	order []string // digests of steps, as they began
	alarm
}

// A watchedStep is a running step.
type watchedStep struct {
	vertex Vertex
	parts  map[string]int64 // how far each came; -1 is its end
	alarm
}

// An alarm knows when something was heard of last, and which silence is told
// next.
type alarm struct {
	heard time.Time
	next  time.Duration
}

// Watch begins to watch a run of g, whose events go to the Watchdog from now
// on, and from there to sink. Close ends it.
func Watch(sink Sink, g *graph.Graph, o WatchOptions) *Watchdog {
	w := &Watchdog{
		sink: sink, opts: o, index: map[string]*watched{}, heard: time.Now(),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	for _, n := range g.Nodes() {
		one := &watched{node: n, phase: Queued}
		one.reset(w.heard, o.After)
		w.nodes = append(w.nodes, one)
		w.index[n.Name()] = one
	}
	nobody := &graph.Node{Target: &config.Target{}}
	w.loose = &watched{node: nobody, phase: Finished}
	go w.run()
	return w
}

// Close ends the watch. Events are still passed on.
func (w *Watchdog) Close() {
	close(w.stop)
	<-w.ended
}

// Event implements [Sink]. What says nothing new is not passed on.
func (w *Watchdog) Event(e Event) {
	if w.note(e) {
		w.sink.Event(e)
	}
}

// note takes an event for a sign of life, and reports whether it is one: a
// daemon goes on telling how many bytes of a layer are there when no more come.
func (w *Watchdog) note(e Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	n := w.index[e.Node]
	if n == nil {
		n = w.loose
	}
	switch e.Kind {
	case Queued, Started:
		n.phase = e.Kind
	case Retrying, Placed: // what ran before is over, told or not
		n.steps, n.order = nil, nil
	case Solved, Finished:
		n.phase, n.steps, n.order = e.Kind, nil, nil
	case VertexKind:
		if e.Vertex != nil && !n.step(*e.Vertex, now, w.opts.After) {
			return false
		}
	case Log:
		if e.Vertex != nil && n.steps[e.Vertex.Digest] != nil {
			n.steps[e.Vertex.Digest].reset(now, w.opts.After)
		}
	}
	n.reset(now, w.opts.After)
	w.heard = now
	return true
}

func (a *alarm) reset(now time.Time, after time.Duration) { a.heard, a.next = now, after }

// due reports whether the silence since an earlier or the alarm's own last
// sign is to be told now, and sets the next.
func (a *alarm) due(now time.Time) bool {
	if now.Sub(a.heard) < a.next {
		return false
	}
	for now.Sub(a.heard) >= a.next {
		a.next *= 2
	}
	return true
}

// step keeps the state of a step, and reports whether anything is new.
func (n *watched) step(v Vertex, now time.Time, after time.Duration) bool {
	s := n.steps[v.Digest]
	running := !v.Started.IsZero() && v.Completed.IsZero()
	switch {
	case !running:
		delete(n.steps, v.Digest)
		n.order = slices.DeleteFunc(n.order, func(d string) bool { return d == v.Digest })
		return true
	case n.phase == Finished && n.node.Name() != "": // a late report
		return true
	case s == nil:
		s = &watchedStep{parts: map[string]int64{}}
		if n.steps == nil {
			n.steps = map[string]*watchedStep{}
		}
		n.steps[v.Digest] = s
		n.order = append(n.order, v.Digest)
	case !s.moved(v):
		return false
	}
	s.vertex = v
	s.reset(now, after)
	return true
}

// moved reports whether a report says more than the one before it.
func (s *watchedStep) moved(v Vertex) bool {
	at := v.Current
	if v.PartDone {
		at = -1
	}
	before, known := s.parts[v.Part]
	s.parts[v.Part] = at
	return !known || before != at
}

// run looks around every now and then.
func (w *Watchdog) run() {
	defer close(w.ended)
	tick := time.NewTicker(min(max(w.opts.After/16, 5*time.Millisecond), 15*time.Second))
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		for _, e := range w.look(time.Now()) {
			w.sink.Event(e)
		}
	}
}

// look returns what is to be told.
func (w *Watchdog) look(now time.Time) []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Event
	tell := func(n *watched, v *Vertex, a alarm, doing string) {
		out = append(out, Event{Time: now, Node: n.node.Name(), Kind: Silent, Vertex: v, Silence: &Silence{
			Doing: doing, Since: a.heard, For: now.Sub(a.heard), Holds: w.holds(n),
		}})
	}
	idle := true // no target is being built
	for _, n := range append(slices.Clip(w.nodes), w.loose) {
		idle = idle && (n.phase == Queued || n.phase == Finished)
		for _, d := range n.order {
			if s := n.steps[d]; s.due(now) {
				v := s.vertex
				tell(n, &v, s.alarm, w.doing(n, v))
			}
		}
	}
	if now.Sub(w.heard) < w.opts.After {
		return out
	}
	for _, n := range w.nodes {
		if doing := n.waiting(idle && !w.blocked(n)); doing != "" && n.due(now) {
			tell(n, nil, n.alarm, doing)
		}
	}
	return out
}

// waiting says what a node without a running step waits for, "" if it has
// one, is finished, or waits for others. Free says that nothing keeps it from
// beginning.
func (n *watched) waiting(free bool) string {
	switch {
	case len(n.order) > 0:
	case n.phase == Started:
		return "waiting for the builder"
	case n.phase == Solved:
		return "waiting for its export"
	case n.phase == Queued && free:
		return "waiting for its turn"
	}
	return ""
}

func (w *Watchdog) doing(n *watched, v Vertex) string {
	if w.opts.Doing == nil {
		return v.Name
	}
	doing := w.opts.Doing(n.node, v)
	if v.File != "" && v.Line > 0 {
		doing += " (" + v.File + ":" + strconv.Itoa(v.Line) + ")"
	}
	return doing
}

// holds returns the targets that have not begun and wait for n, directly or
// through others. Who only reads n goes on as soon as it is solved.
func (w *Watchdog) holds(n *watched) []string {
	held := map[*graph.Node]bool{n.node: true}
	var out []string
	for _, other := range w.nodes { // each after what it needs
		m := other.node
		reads := func(x *graph.Node) bool { return held[x] && (x != n.node || n.phase != Solved) }
		after := func(x *graph.Node) bool { return held[x] }
		if other.phase == Queued && (slices.ContainsFunc(m.Needs, reads) || slices.ContainsFunc(m.After, after)) {
			held[m] = true
			out = append(out, m.Name())
		}
	}
	return out
}

// blocked reports whether n waits for another node.
func (w *Watchdog) blocked(n *watched) bool {
	return slices.ContainsFunc(n.node.Needs, func(x *graph.Node) bool {
		p := w.index[x.Name()].phase
		return p != Solved && p != Finished
	}) || slices.ContainsFunc(n.node.After, func(x *graph.Node) bool { return w.index[x.Name()].phase != Finished })
}
