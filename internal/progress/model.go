package progress

import (
	"fmt"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/diag"
)

// tailLines is how many lines of a step's log are kept.
const tailLines = 20

// A model is what the events so far add up to.
type model struct {
	began   time.Time
	targets []*target // in the order of the run
	byName  map[string]*target
	ended   []*target // in the order of their ends
	places  Places
	bytes   map[way]int64 // moved so far
}

// A target is a node of the run.
type target struct {
	name      string
	began     time.Time     // zero until it starts
	solved    time.Time     // zero until its result is there
	outcome   *exec.Outcome // nil until it is finished
	steps     []*step       // in the order in which they were first heard of
	byDigest  map[string]*step
	loose     step          // of logs that no known step wrote; it never begins
	numbered  int           // steps that have a number
	worked    bool          // a step of it has begun that was not there already
	silence   *exec.Silence // of the target itself; nil since something was heard
	retry     string        // what is tried again, while that is waited for
	retries   int           // how often anything was
	wasCached bool          // it ended, and all of it had been there
	warnings  []string
}

// A step is a vertex of one target.
type step struct {
	number  int // from 1, in the order of their beginning; 0 until then
	vertex  exec.Vertex
	raw     string    // the vertex's name as it came
	name    string    // the same for showing
	began   time.Time // when it was heard of: the daemon's clock may differ
	running bool
	ended   bool
	silence *exec.Silence // nil since something was heard of the step
	log     splitter
	tail    []string // the last lines of the log
	moves   transfer
}

func newModel(now time.Time) *model {
	return &model{began: now, byName: map[string]*target{}, bytes: map[way]int64{}}
}

// A change is what an event did to the model.
type change struct {
	target  *target
	step    *step // nil if it was not about one
	begun   bool  // the step began
	ended   bool  // the step ended
	lines   []string
	warning string
	silence string // "silent for 5m00s: running make"
	retry   string // "trying again in 2.0s (1 of 2): registry.example answered 503"
	placed  string // "on tcp://a:1234, for linux/arm64"
}

// event takes an event into account.
func (m *model) event(e exec.Event) change {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	t := m.target(e.Node)
	c := change{target: t}
	if e.Kind != exec.Silent {
		t.silence, t.retry = nil, ""
	}
	switch e.Kind {
	case exec.Started:
		t.began = e.Time
	case exec.VertexKind:
		c = t.vertex(e)
		if c.step != nil {
			n := c.step.moves.take(*e.Vertex, e.Time)
			m.bytes[c.step.moves.way] += n
		}
	case exec.Log:
		c.step = t.step(e.Vertex)
		c.step.silence = nil
		c.lines = c.step.logged(c.step.log.add(e.Log))
	case exec.Warning:
		c.warning = strings.Join(cleanLines(e.Log), "\n")
		t.warnings = append(t.warnings, c.warning)
	case exec.Silent:
		c = t.silent(e)
	case exec.Placed:
		m.places.Event(e)
		c.placed = placeText(e)
	case exec.Retrying:
		t.retry = retryText(e.Retry)
		t.retries++
		c.retry = t.retry
	case exec.Solved:
		t.solved = e.Time
	case exec.Finished:
		m.finish(t, e.Outcome)
	}
	return c
}

// finish notes the end of a target.
func (m *model) finish(t *target, o *exec.Outcome) {
	if o == nil || t.outcome != nil {
		return
	}
	t.outcome, t.wasCached = o, t.result(o) == "cached"
	m.ended = append(m.ended, t)
}

func (m *model) target(name string) *target {
	t := m.byName[name]
	if t == nil {
		t = &target{name: name, byDigest: map[string]*step{}}
		m.byName[name] = t
		if name != "" { // what concerns the run belongs to none
			m.targets = append(m.targets, t)
		}
	}
	return t
}

// step returns the step of a vertex, which may be nil.
func (t *target) step(v *exec.Vertex) *step {
	if v == nil {
		return &t.loose
	}
	s := t.byDigest[v.Digest]
	if s == nil {
		s = &step{vertex: exec.Vertex{Digest: v.Digest}}
		t.byDigest[v.Digest] = s
		t.steps = append(t.steps, s)
	}
	if v.Name != "" && v.Name != s.raw {
		s.raw, s.name = v.Name, diag.Redact(oneLine(v.Name))
	}
	return s
}

func (t *target) vertex(e exec.Event) change {
	if e.Vertex == nil {
		return change{target: t}
	}
	v := *e.Vertex
	s := t.step(&v)
	c := change{target: t, step: s}
	s.vertex, s.silence = v, nil
	if begun := !v.Started.IsZero() || !v.Completed.IsZero(); begun && !s.running && (!s.ended || v.Completed.IsZero()) {
		c.begun = true
		s.running, s.ended, s.began = true, false, time.Now()
		t.worked = t.worked || !v.Internal && !v.Cached
		if s.number == 0 && !v.Internal {
			t.numbered++
			s.number = t.numbered
		}
	}
	if !v.Completed.IsZero() && s.running {
		c.ended = true
		s.running, s.ended = false, true
		c.lines = s.logged(s.log.end())
	}
	return c
}

// silent notes that nothing is heard of the target or a step of it.
func (t *target) silent(e exec.Event) change {
	c := change{target: t}
	if e.Silence == nil {
		return c
	}
	c.silence = fmt.Sprintf("silent for %s: %s", took(e.Silence.For), silentDoing(e.Silence))
	if n := len(e.Silence.Holds); n > 0 {
		c.silence += "; it holds up " + several(e.Silence.Holds, 3)
	}
	if e.Vertex == nil {
		t.silence = e.Silence
		return c
	}
	c.step = t.step(e.Vertex)
	c.step.silence = e.Silence
	return c
}

// placeText says where a target, or a part of it, is built.
func placeText(e exec.Event) string {
	text := "on " + oneLine(e.Builder)
	if e.Platforms != nil {
		text += ", for " + oneLine(strings.Join(e.Platforms, ", "))
	}
	return text
}

func retryText(r *exec.Retry) string {
	if r == nil {
		return ""
	}
	what := "trying"
	if r.Export {
		what = "exporting"
	}
	return fmt.Sprintf("%s again in %s (%d of %d): %s", what, took(r.After), r.Number, r.Of, diag.Redact(oneLine(r.Cause)))
}

func silentDoing(s *exec.Silence) string { return diag.Redact(oneLine(s.Doing)) }

// several names the first of some names, and counts the others.
func several(names []string, most int) string {
	if over := len(names) - most; over > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), over)
	}
	return strings.Join(names, ", ")
}

// logged keeps the last lines.
func (s *step) logged(lines []string) []string {
	s.tail = append(s.tail, lines...)
	if over := len(s.tail) - tailLines; over > 0 {
		s.tail = append(s.tail[:0], s.tail[over:]...)
	}
	return lines
}

// flush returns the unfinished lines of all logs, at the end of the target.
func (t *target) flush() []change {
	var out []change
	for _, s := range append([]*step{&t.loose}, t.steps...) {
		if lines := s.logged(s.log.end()); lines != nil {
			out = append(out, change{target: t, step: s, lines: lines})
		}
	}
	return out
}

// current returns what t is doing: the step that began last of those that a
// person cares for.
func (t *target) current() *step {
	var cur *step
	for _, s := range t.steps {
		switch {
		case !s.running:
		case cur == nil, !s.began.Before(cur.began) && (!s.vertex.Internal || cur.vertex.Internal):
			cur = s
		}
	}
	return cur
}

// next returns the step that waits to begin, for the builder or for steps of
// others: of several the one that is written first, for they are heard of in
// any order. It is nil if none is known.
func (t *target) next() *step {
	var first *step
	for _, s := range t.steps {
		if s.running || s.ended || s.vertex.Internal || s.vertex.Line == 0 {
			continue
		}
		if first == nil || s.vertex.Line < first.vertex.Line {
			first = s
		}
	}
	return first
}

// failing returns the step that failed, or nil.
func (t *target) failing() *step {
	for i := len(t.steps) - 1; i >= 0; i-- {
		if t.steps[i].vertex.Error != "" {
			return t.steps[i]
		}
	}
	return nil
}

// cached returns how many of the steps of the Dockerfile that ended had their
// result already, and how many ended. What BuildKit does around them
// ("[internal] load …", "exporting …") is never cached.
func (t *target) cached() (cached, all int) {
	for _, s := range t.steps {
		if !s.ended || s.vertex.Internal || !strings.HasPrefix(s.name, "[") || strings.HasPrefix(s.name, "[internal]") || strings.HasPrefix(s.name, "[auth]") {
			continue
		}
		all++
		if s.vertex.Cached {
			cached++
		}
	}
	return cached, all
}

// result is the outcome in one word: "cached" if nothing had to be done.
func (t *target) result(o *exec.Outcome) string {
	cached, all := t.cached()
	if o.Status == exec.Built && all > 0 && cached == all {
		return "cached"
	}
	return o.Status.String()
}
