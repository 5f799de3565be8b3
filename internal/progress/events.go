package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/diag"
)

// Events for programs, an object a line. docs/json.md describes the objects
// below field by field, and a test holds the two together. They only grow: a
// field keeps its name, its type and its meaning.

// Version is what every line of JSON for programs begins with.
const Version = 1

// An eventHead is what every line begins with.
type eventHead struct {
	Version int       `json:"version"`
	Event   string    `json:"event"`
	Time    time.Time `json:"time"`
	Target  string    `json:"target,omitempty"`
}

type beginEvent struct {
	eventHead
	Builder string `json:"builder"`
}

type noteEvent struct {
	eventHead
	Text string `json:"text"`
}

type vertexEvent struct {
	eventHead
	Vertex    string     `json:"vertex"`
	Name      string     `json:"name"`
	State     string     `json:"state"`
	Internal  bool       `json:"internal,omitempty"`
	File      string     `json:"file,omitempty"`
	Line      int        `json:"line,omitempty"`
	Started   *time.Time `json:"started,omitempty"`
	Completed *time.Time `json:"completed,omitempty"`
	Part      string     `json:"part,omitempty"`
	PartDone  bool       `json:"partDone,omitempty"`
	Current   int64      `json:"current,omitempty"`
	Total     int64      `json:"total,omitempty"`
	Error     string     `json:"error,omitempty"`
}

type logEvent struct {
	eventHead
	Vertex string `json:"vertex,omitempty"`
	Text   string `json:"text"`
}

type warningEvent struct {
	eventHead
	Vertex  string   `json:"vertex,omitempty"`
	Text    string   `json:"text"`
	Level   int      `json:"level,omitempty"`
	Detail  []string `json:"detail,omitempty"`
	URL     string   `json:"url,omitempty"`
	File    string   `json:"file,omitempty"`
	Line    int      `json:"line,omitempty"`
	EndLine int      `json:"endLine,omitempty"`
}

type silentEvent struct {
	eventHead
	Vertex  string    `json:"vertex,omitempty"`
	Name    string    `json:"name,omitempty"`
	Doing   string    `json:"doing"`
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"`
	Holds   []string  `json:"holds,omitempty"`
}

type placedEvent struct {
	eventHead
	Builder   string   `json:"builder"`
	Platforms []string `json:"platforms,omitempty"`
}

type retryEvent struct {
	eventHead
	Number int     `json:"number"`
	Of     int     `json:"of"`
	After  float64 `json:"after"`
	Export bool    `json:"export,omitempty"`
	Cause  string  `json:"cause"`
}

type finishedEvent struct {
	eventHead
	Status      string        `json:"status"`
	Cached      bool          `json:"cached,omitempty"`
	Digest      string        `json:"digest,omitempty"`
	References  []string      `json:"references,omitempty"`
	Builders    []string      `json:"builders,omitempty"`
	Seconds     float64       `json:"seconds"`
	Steps       int           `json:"steps"`
	StepsCached int           `json:"stepsCached"`
	Error       *failureEvent `json:"error,omitempty"`
}

type failureEvent struct {
	Text     string `json:"text"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	EndLine  int    `json:"endLine,omitempty"`
	Stage    string `json:"stage,omitempty"`
	Command  string `json:"command,omitempty"`
	ExitCode *int   `json:"exitCode,omitempty"`
	Log      string `json:"log,omitempty"`
	Need     string `json:"need,omitempty"`
	Root     string `json:"root,omitempty"`
}

type endEvent struct {
	eventHead
	Status      string  `json:"status"`
	Targets     int     `json:"targets"`
	Built       int     `json:"built"`
	Cached      int     `json:"cached"`
	Failed      int     `json:"failed"`
	Skipped     int     `json:"skipped"`
	Cancelled   int     `json:"cancelled"`
	Steps       int     `json:"steps"`
	StepsCached int     `json:"stepsCached"`
	Seconds     float64 `json:"seconds"`
}

// An events view writes the lines.
type events struct {
	model *model
	b     bytes.Buffer
}

func (v *events) text(bool) string {
	s := v.b.String()
	v.b.Reset()
	return s
}

func (v *events) take(it item) {
	head := eventHead{Version: Version, Time: it.at.UTC()}
	switch {
	case it.event != nil:
		head.Event, head.Target = string(it.event.Kind), it.event.Node
		v.event(head, *it.event)
	case it.end:
		head.Event = "end"
		v.end(head, it.outcomes)
	case it.header:
		head.Event = "begin"
		v.write(beginEvent{head, oneLine(it.note)})
	case it.note != "":
		head.Event = "note"
		v.write(noteEvent{head, oneLine(it.note)})
	}
}

func (v *events) write(line any) {
	enc := json.NewEncoder(&v.b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(line); err != nil {
		panic(err) // a mistake of ours: strings, numbers and times can be written
	}
}

func (v *events) event(head eventHead, e exec.Event) {
	if e.Kind == exec.Finished {
		for _, c := range v.model.target(e.Node).flush() {
			v.log(head, c)
		}
	}
	c := v.model.event(e)
	v.log(head, c)
	switch e.Kind {
	case exec.Log: // its lines, above
	case exec.VertexKind:
		if e.Vertex != nil {
			v.write(vertexOf(head, *e.Vertex))
		}
	case exec.Warning:
		v.write(warningOf(head, e))
	case exec.Silent:
		if e.Silence != nil {
			v.write(silentOf(head, e))
		}
	case exec.Placed:
		v.write(placedEvent{head, oneLine(e.Builder), e.Platforms})
	case exec.Retrying:
		if r := e.Retry; r != nil {
			v.write(retryEvent{head, r.Number, r.Of, seconds(r.After), r.Export, diag.Redact(oneLine(r.Cause))})
		}
	case exec.Finished:
		if e.Outcome != nil {
			v.write(v.finishedOf(head, *e.Outcome))
		}
	default:
		v.write(head)
	}
}

// log writes the lines that a change brought, each by itself.
func (v *events) log(head eventHead, c change) {
	head.Event = string(exec.Log)
	for _, l := range c.lines {
		v.write(logEvent{head, c.step.vertex.Digest, l})
	}
}

func vertexOf(head eventHead, x exec.Vertex) vertexEvent {
	e := vertexEvent{
		eventHead: head, Vertex: x.Digest, Name: diag.Redact(oneLine(x.Name)), State: "waiting", Internal: x.Internal,
		File: x.File, Line: x.Line, Part: diag.Redact(oneLine(x.Part)), PartDone: x.PartDone, Current: x.Current, Total: x.Total,
		Error: diag.Redact(strings.Join(cleanLines([]byte(x.Error)), "\n")),
	}
	if !x.Started.IsZero() {
		began := x.Started.UTC()
		e.Started, e.State = &began, "running"
	}
	if !x.Completed.IsZero() {
		ended := x.Completed.UTC()
		e.Completed, e.State = &ended, "done"
	}
	switch {
	case x.Error != "":
		e.State = "failed"
	case x.Cached && e.State == "done":
		e.State = "cached"
	}
	return e
}

func warningOf(head eventHead, e exec.Event) warningEvent {
	w := warningEvent{eventHead: head, Text: strings.Join(cleanLines(e.Log), "\n")}
	if e.Vertex != nil {
		w.Vertex = e.Vertex.Digest
	}
	if c := e.Caution; c != nil {
		w.Level, w.Detail, w.URL, w.File = c.Level, c.Detail, c.URL, c.File
		if len(c.Ranges) > 0 {
			w.Line, w.EndLine = c.Ranges[0].StartLine, c.Ranges[0].EndLine
		}
	}
	return w
}

func silentOf(head eventHead, e exec.Event) silentEvent {
	s := silentEvent{eventHead: head, Doing: silentDoing(e.Silence), Since: e.Silence.Since.UTC(), Seconds: seconds(e.Silence.For), Holds: e.Silence.Holds}
	if e.Vertex != nil {
		s.Vertex, s.Name = e.Vertex.Digest, diag.Redact(oneLine(e.Vertex.Name))
	}
	return s
}

func (v *events) finishedOf(head eventHead, o exec.Outcome) finishedEvent {
	t := v.model.target(head.Target)
	f := finishedEvent{
		eventHead: head, Status: o.Status.String(), Cached: t.result(&o) == "cached",
		Digest: o.Output.Digest, References: o.Output.Refs, Builders: v.model.places.Builders(head.Target), Seconds: between(o.Times.Started, o.Times.Finished),
	}
	f.StepsCached, f.Steps = t.cached()
	if o.Status != exec.Built {
		f.Error = failureOf(o)
	}
	return f
}

func failureOf(o exec.Outcome) *failureEvent {
	f := &failureEvent{Text: o.Status.String()}
	if o.Err != nil {
		f.Text = diag.Redact(strings.Join(cleanLines([]byte(o.Err.Error())), "\n"))
	}
	var skip *exec.SkipError
	if errors.As(o.Err, &skip) {
		f.Need, f.Root = skip.Need, skip.Root
	}
	var source *exec.SourceError
	if !errors.As(o.Err, &source) {
		return f
	}
	f.File, f.Line, f.EndLine, f.Stage = source.File, source.StartLine, source.EndLine, source.Stage
	f.Command = diag.Redact(source.Command)
	if source.Command != "" && source.ExitCode >= 0 {
		f.ExitCode = &source.ExitCode
	}
	f.Log = strings.Join(cleanLines(source.Log), "\n")
	return f
}

func (v *events) end(head eventHead, outcomes []exec.Outcome) {
	e := endEvent{eventHead: head, Targets: len(outcomes), Status: "failed", Seconds: between(v.model.began, head.Time)}
	for _, o := range outcomes {
		t := v.model.target(o.Node.Name())
		cached, all := t.cached()
		e.Steps, e.StepsCached = e.Steps+all, e.StepsCached+cached
		switch o.Status {
		case exec.Built:
			e.Built++
			if t.result(&o) == "cached" {
				e.Cached++
			}
		case exec.Failed:
			e.Failed++
		case exec.Skipped:
			e.Skipped++
		default:
			e.Cancelled++
		}
	}
	switch {
	case outcomes == nil || e.Failed > 0:
	case e.Cancelled > 0:
		e.Status = "cancelled"
	default:
		e.Status = "built"
	}
	v.write(e)
}

// between is the time from one moment to another, 0 unless both were reached.
func between(from, to time.Time) float64 {
	if from.IsZero() || to.Before(from) {
		return 0
	}
	return seconds(to.Sub(from))
}

// seconds are whole milliseconds, for people read them as well.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
