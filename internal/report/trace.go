package report

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/internal/runs"
)

// Chrome's trace format, in the form of a JSON object, which Perfetto and
// chrome://tracing read ("Trace Event Format", section "JSON Object Format").
// A target is a process; its first thread shows the phases of the target, the
// others its steps, as many as ran at once: within a thread, events may hold
// each other but not overlap.

type traceFile struct {
	Events   []traceEvent      `json:"traceEvents"`
	Unit     string            `json:"displayTimeUnit"`
	Metadata map[string]string `json:"otherData"`
}

type traceEvent struct {
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	Phase    string         `json:"ph"`            // "X" is a complete event, "M" metadata
	Start    int64          `json:"ts"`            // in microseconds
	Length   *int64         `json:"dur,omitempty"` // likewise; of complete events only
	Process  int            `json:"pid"`
	Thread   int            `json:"tid"`
	Args     map[string]any `json:"args,omitempty"`
}

// WriteTrace writes a run in Chrome's trace format. Times are in
// microseconds since the run began.
func WriteTrace(w io.Writer, r *runs.Run) error {
	f := traceFile{Unit: "ms", Events: []traceEvent{}, Metadata: map[string]string{
		"run": r.ID, "kiln": r.Kiln, "definition": r.Definition, "commit": r.Commit, "command": command(r.Args), "started": r.Started.Format(time.RFC3339Nano),
	}}
	tr := tracer{run: r, file: &f}
	tr.meta("process_name", 0, 0, map[string]any{"name": "run"})
	tr.complete(traceEvent{Name: "kiln build", Category: "run"}, r.Started, r.Ended)
	for i, t := range r.Targets {
		tr.target(i+1, t)
	}
	return json.NewEncoder(w).Encode(f)
}

type tracer struct {
	run  *runs.Run
	file *traceFile
}

func (tr tracer) meta(name string, process, thread int, args map[string]any) {
	tr.file.Events = append(tr.file.Events, traceEvent{Name: name, Phase: "M", Process: process, Thread: thread, Args: args})
}

// complete adds an event of some length; what did not happen is left out.
func (tr tracer) complete(e traceEvent, from, to time.Time) {
	if from.IsZero() || to.Before(from) {
		return
	}
	length := to.Sub(from).Microseconds()
	e.Phase, e.Start, e.Length = "X", from.Sub(tr.run.Started).Microseconds(), &length
	tr.file.Events = append(tr.file.Events, e)
}

func (tr tracer) target(process int, t *runs.Target) {
	tr.meta("process_name", process, 0, map[string]any{"name": t.Name})
	tr.meta("process_sort_index", process, 0, map[string]any{"sort_index": process})
	tr.meta("thread_name", process, 0, map[string]any{"name": "target"})
	about := map[string]any{"status": result(t)}
	if t.Digest != "" {
		about["digest"] = t.Digest
	}
	if len(t.Needs) > 0 {
		about["needs"] = strings.Join(t.Needs, ", ")
	}
	if t.Failure != nil {
		about["error"] = t.Failure.Text
	}
	e := traceEvent{Category: "target", Process: process}
	e.Name, e.Args = "wait", nil
	tr.complete(e, t.Queued, t.Started)
	e.Name, e.Args = t.Name, about
	tr.complete(e, t.Started, t.Finished)
	e.Name, e.Args = "solve", nil
	tr.complete(e, t.Started, t.Solved)
	e.Name = export
	tr.complete(e, t.Exporting, t.Finished)
	var free []time.Time // when each thread ends
	for _, s := range inOrder(t) {
		if s.Started.IsZero() || t.End(s).Before(s.Started) {
			continue
		}
		lane := slices.IndexFunc(free, func(end time.Time) bool { return !end.After(s.Started) })
		if lane < 0 {
			lane = len(free)
			free = append(free, time.Time{})
			tr.meta("thread_name", process, lane+1, map[string]any{"name": "steps"})
		}
		free[lane] = t.End(s)
		tr.complete(traceEvent{Name: s.Name, Category: "step", Process: process, Thread: lane + 1, Args: stepArgs(s)}, s.Started, t.End(s))
	}
}

// stepArgs is what a trace tells of a step beside its times.
func stepArgs(s *runs.Step) map[string]any {
	out := map[string]any{"vertex": s.Digest, "cached": s.Cached}
	for name, n := range map[string]int64{"sent": s.Sent, "pulled": s.Pulled, "pushed": s.Pushed} { // into a map
		if n > 0 {
			out[name] = n
		}
	}
	if place := at("", s.File, s.Line); place != "" {
		out["source"] = place
	}
	if s.Error != "" {
		out["error"] = s.Error
	}
	return out
}
