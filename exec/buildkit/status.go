package buildkit

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/exec"
)

// A router turns the daemon's status into events of nodes. All targets of a
// run report through one stream: a step belongs to the first target that
// asked for it and has not failed, and is told once. A target that was solved
// keeps its steps, for the last reports of them come after the result.
type router struct {
	redact *redactor
	pumps  sync.WaitGroup

	// mu guards the fields below.
	mu     sync.Mutex
	raw    *json.Encoder
	closed bool
	sinks  map[string]exec.Sink          // by node, while it is there
	files  map[string]string             // by node, its Dockerfile as a person names it
	places map[digest.Digest]place       // where a step is written
	owners map[digest.Digest][]string    // nodes that asked for a step, in that order
	names  map[string]string             // of steps without a definition: to nodes
	known  map[digest.Digest]exec.Vertex // as last told
	tails  map[digest.Digest]*tail       // ends of logs
	byName map[digest.Digest]string      // node of a step found by its name
}

func newRouter(raw io.Writer) *router {
	r := &router{
		files: map[string]string{}, places: map[digest.Digest]place{},
		sinks: map[string]exec.Sink{}, owners: map[digest.Digest][]string{}, names: map[string]string{},
		known: map[digest.Digest]exec.Vertex{}, tails: map[digest.Digest]*tail{}, byName: map[digest.Digest]string{},
	}
	if raw != nil {
		r.raw = json.NewEncoder(raw)
	}
	return r
}

// join gives the events of a node to a sink. Dockerfile is where its steps
// are written.
func (r *router) join(node, dockerfile string, sink exec.Sink) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[node] = dockerfile
	if sink != nil {
		r.sinks[node] = sink
	}
}

// leave takes a node out that came to nothing.
func (r *router) leave(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sinks, node)
}

// claim says that node asks for the steps of def.
func (r *router) claim(node string, def *pb.Definition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, dt := range def.GetDef() {
		d := digest.FromBytes(dt)
		if !slices.Contains(r.owners[d], node) {
			r.owners[d] = append(r.owners[d], node)
		}
		if _, ok := r.places[d]; !ok {
			r.places[d] = place{node, def.Source}
		}
	}
}

// A place leads to where a step is written: in the Dockerfile of the node
// that asked for it first, at a line that its definition tells.
type place struct {
	node   string
	source *pb.Source
}

// locate returns the Dockerfile and line of a step, "" and 0 if unknown. The
// caller holds the lock.
func (r *router) locate(d digest.Digest) (file string, line int) {
	p := r.places[d]
	if p.source == nil {
		return "", 0
	}
	for _, loc := range p.source.Locations[d.String()].GetLocations() {
		for _, rng := range loc.Ranges {
			if start := int(rng.GetStart().GetLine()); start > 0 && (line == 0 || start < line) {
				file, line = r.files[p.node], start
			}
		}
	}
	return file, line
}

// expect says that the step of that name is made for node.
func (r *router) expect(node, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names[name] == "" {
		r.names[name] = node
	}
}

// shared returns a channel for the status of the run's shared build.
func (r *router) shared() chan *client.SolveStatus {
	return r.pump(func(d digest.Digest, name string) string { return r.owner(d, name) })
}

// direct returns a channel for the status of a build of one node.
func (r *router) direct(node string) chan *client.SolveStatus {
	return r.pump(func(digest.Digest, string) string { return node })
}

// exporting returns a channel for the status of an export, which repeats the
// steps that were told when they were built. Where another run on the daemon
// builds the same, its steps are among them, under digests of their own.
func (r *router) exporting(node string) chan *client.SolveStatus {
	return r.pump(func(d digest.Digest, name string) string {
		if len(r.owners[d]) > 0 || isBuildStep(name) {
			return dropped
		}
		return node
	})
}

// isBuildStep reports whether a step is one of a Dockerfile: "[stage 1/2] RUN".
func isBuildStep(name string) bool {
	return strings.HasPrefix(name, "[") && !strings.HasPrefix(name, "[auth] ")
}

// repeating returns a channel for the status of a build that does once more
// what was done, under other digests, and then exports it.
func (r *router) repeating(node string) chan *client.SolveStatus {
	return r.pump(func(d digest.Digest, name string) string {
		if len(r.owners[d]) > 0 || !strings.HasPrefix(name, "exporting ") {
			return dropped
		}
		return node
	})
}

// dropped stands for the node of a step that is not told.
const dropped = "\x00"

// owner returns the node that a step of the shared build belongs to, "" if
// it concerns the run. The caller holds the lock.
func (r *router) owner(d digest.Digest, name string) string {
	owners := r.owners[d]
	for _, node := range owners {
		if r.sinks[node] != nil {
			return node
		}
	}
	if len(owners) > 0 {
		return dropped
	}
	if node := r.byName[d]; node != "" {
		return node
	}
	if node := r.names[name]; node != "" {
		r.byName[d] = node
		return node
	}
	return ""
}

// A stream is what the daemon tells of one build.
type stream struct {
	node  func(d digest.Digest, name string) string
	known map[digest.Digest]exec.Vertex // as last told in it: the exports of all nodes are steps of one digest
}

func (r *router) pump(node func(digest.Digest, string) string) chan *client.SolveStatus {
	ch := make(chan *client.SolveStatus)
	from := stream{node, map[digest.Digest]exec.Vertex{}}
	r.pumps.Add(1)
	go func() {
		defer r.pumps.Done()
		for st := range ch {
			r.route(st, from)
		}
	}()
	return ch
}

// route tells one report.
func (r *router) route(st *client.SolveStatus, from stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	for _, v := range st.Vertexes {
		v.Name, v.Error = r.redact.text(v.Name), r.redact.text(v.Error)
	}
	for _, l := range st.Logs {
		l.Data = r.redact.bytes(l.Data)
	}
	if r.raw != nil {
		_ = r.raw.Encode(st) // whoever reads it may have gone; the build goes on
	}
	for _, v := range st.Vertexes {
		r.vertex(v, from)
	}
	for _, s := range st.Statuses {
		r.transfer(s, from)
	}
	for _, l := range st.Logs {
		r.log(l, from)
	}
	for _, w := range st.Warnings {
		known := from.known[w.Vertex]
		if known.Digest == "" {
			known.Digest = w.Vertex.String()
		}
		to := from.node(w.Vertex, known.Name)
		r.send(exec.Event{Node: to, Kind: exec.Warning, Vertex: &known, Log: r.redact.bytes(w.Short), Caution: r.caution(to, w)})
	}
}

func (r *router) vertex(v *client.Vertex, from stream) {
	e := exec.Vertex{
		Digest: v.Digest.String(), Name: v.Name, Cached: v.Cached, Error: v.Error,
		Internal: isInternal(v),
	}
	if v.Started != nil {
		e.Started = *v.Started
	}
	if v.Completed != nil {
		e.Completed = *v.Completed
	}
	e.File, e.Line = r.locate(v.Digest)
	r.known[v.Digest], from.known[v.Digest] = e, e
	r.send(exec.Event{Node: from.node(v.Digest, v.Name), Kind: exec.VertexKind, Vertex: &e})
}

// isInternal reports whether a step is bookkeeping: it is in no Dockerfile,
// and uploading a directory is never "cached".
func isInternal(v *client.Vertex) bool {
	upload := strings.HasPrefix(v.Name, "[context ") &&
		(strings.HasSuffix(v.Name, "] load from client") || strings.HasSuffix(v.Name, "] load .dockerignore"))
	return upload || strings.HasPrefix(v.Name, "[internal] ") || v.ProgressGroup != nil && v.ProgressGroup.Weak
}

func (r *router) transfer(s *client.VertexStatus, from stream) {
	e, ok := from.known[s.Vertex]
	if !ok {
		return
	}
	e.Current, e.Total, e.Part, e.PartDone = s.Current, s.Total, r.redact.text(s.ID), s.Completed != nil
	r.send(exec.Event{Time: s.Timestamp, Node: from.node(s.Vertex, e.Name), Kind: exec.VertexKind, Vertex: &e})
}

func (r *router) log(l *client.VertexLog, from stream) {
	if r.tails[l.Vertex] == nil {
		r.tails[l.Vertex] = &tail{}
	}
	r.tails[l.Vertex].write(l.Data)
	e := from.known[l.Vertex]
	r.send(exec.Event{Time: l.Timestamp, Node: from.node(l.Vertex, e.Name), Kind: exec.Log, Vertex: &e, Log: l.Data})
}

// send gives an event to the node's sink; one that concerns the run goes to
// any. The caller holds the lock, so that events keep their order.
func (r *router) send(e exec.Event) {
	if e.Node == dropped {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	sink := r.sinks[e.Node]
	if e.Node == "" {
		for _, s := range r.sinks { // in a run all nodes have one and the same
			sink = s
			break
		}
	}
	if sink != nil {
		sink.Event(e)
	}
}

// warn tells a warning of the frontend that runs in kiln, or of kiln itself.
func (r *router) warn(node, finding string, o gateway.WarnOpts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	finding = r.redact.text(finding)
	text := finding
	if o.SourceInfo != nil {
		text = r.files[node] + ": " + finding
	}
	w := &client.VertexWarning{Level: o.Level, Short: []byte(finding), Detail: o.Detail, URL: o.URL, SourceInfo: o.SourceInfo, Range: o.Range}
	if r.raw != nil {
		_ = r.raw.Encode(&client.SolveStatus{Warnings: []*client.VertexWarning{w}})
	}
	r.send(exec.Event{Node: node, Kind: exec.Warning, Log: []byte(text), Caution: r.caution(node, w)})
}

// caution returns what a warning about a node says beside its line. The
// caller holds the lock.
func (r *router) caution(node string, w *client.VertexWarning) *exec.Caution {
	c := &exec.Caution{Level: w.Level, URL: r.redact.text(w.URL), Finding: r.redact.text(string(w.Short))}
	for _, d := range w.Detail {
		c.Detail = append(c.Detail, r.redact.text(string(d)))
	}
	if w.SourceInfo == nil || len(w.Range) == 0 {
		return c
	}
	c.File, c.Source = r.files[node], r.redact.bytes(w.SourceInfo.Data)
	if c.File == "" {
		c.File = w.SourceInfo.Filename
	}
	for _, rng := range w.Range {
		start := int(rng.GetStart().GetLine())
		c.Ranges = append(c.Ranges, exec.SourceRange{StartLine: start, EndLine: max(start, int(rng.GetEnd().GetLine()))})
	}
	return c
}

// The end of a failed step may come after its error, by settleTurns times
// settleTurn. Of a step that another run has done it does not come at all.
// Turns are counted, not time: a machine that stood still has heard nothing.
const (
	settleTurn  = 5 * time.Millisecond
	settleTurns = 600
)

// settle waits, not for long, until the end of a failed step was told: the
// error of a solve overtakes the log of the step.
func (r *router) settle(ctx context.Context, d digest.Digest) (exec.Vertex, []byte) {
	for turn := 0; ; turn++ {
		r.mu.Lock()
		v, t := r.known[d], r.tails[d]
		if v.Error != "" || turn == settleTurns || ctx.Err() != nil {
			defer r.mu.Unlock()
			if t == nil {
				return v, nil
			}
			return v, t.last(tailLines)
		}
		r.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(settleTurn):
		}
	}
}

// close waits for the last reports, not longer than that, and then drops all
// others.
func (r *router) close(patience time.Duration) {
	done := make(chan struct{})
	go func() {
		r.pumps.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
}

// A tail keeps the end of a log.
type tail struct{ data []byte }

const (
	tailLines = 40
	tailBytes = 64 << 10
)

func (t *tail) write(b []byte) {
	t.data = append(t.data, b...)
	if len(t.data) > 2*tailBytes {
		t.data = slices.Clone(t.data[len(t.data)-tailBytes:])
	}
}

// last returns the last n lines.
func (t *tail) last(n int) []byte {
	lines := bytes.SplitAfter(bytes.TrimSuffix(t.data, []byte("\n")), []byte("\n"))
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return bytes.Join(lines, nil)
}
