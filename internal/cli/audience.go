package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/progress"
	"github.com/kilnbuild/kiln/internal/runs"
)

// A tellFlags says what a build tells, and whom.
type tellFlags struct {
	progress     string
	json         string // "", or a jsonMode
	metadataFile string
	stuckAfter   string // a duration; "" leaves it to the environment
}

func (t *tellFlags) register(f *pflag.FlagSet) {
	f.StringVar(&t.metadataFile, "metadata-file", "", "write the results' metadata to this `file` as JSON")
	f.StringVar(&t.progress, "progress", "auto", "how to show progress: `auto`, tty, plain, ci, quiet, json or rawjson")
	f.StringVar(&t.json, "json", "", "print JSON objects, one a line: the results, or, as they happen, the events of the run; `results` or events, after a =")
	f.Lookup("json").NoOptDefVal = string(jsonResults)
	f.StringVar(&t.stuckAfter, "stuck-after", "", "tell of a step of which nothing is heard for this `duration`, and what it waits for; 0 is never (default 5m)")
}

// A jsonMode is what goes to stdout as JSON.
type jsonMode string

const (
	jsonNone    jsonMode = ""
	jsonResults jsonMode = "results"
	jsonEvents  jsonMode = "events"
)

// A telling is what the flags and the environment come to.
type telling struct {
	display progress.Mode
	json    jsonMode
	stuck   time.Duration // 0 is never
	record  buildkit.Record
}

// defaultStuck is the silence that is told of if nobody says otherwise.
const defaultStuck = 5 * time.Minute

// tellingOf weighs the flags and the environment.
func (a *app) tellingOf(t tellFlags) (telling, error) {
	out := telling{json: jsonMode(t.json), stuck: defaultStuck}
	var err error
	if out.display, err = a.progressMode(t.progress); err != nil {
		return out, err
	}
	if t.metadataFile != "" {
		out.record = recordMode(a.env["BUILDX_METADATA_PROVENANCE"])
	}
	switch t.json {
	case "", string(jsonResults), string(jsonEvents):
	case "true", "false": // as of a flag without a value
		out.json = jsonNone
		if t.json == "true" {
			out.json = jsonResults
		}
	default:
		names := []string{string(jsonEvents), string(jsonResults)}
		return out, usagef("--json=%s: there are results and events%s", t.json, didYouMean(t.json, names))
	}
	value, from := t.stuckAfter, "--stuck-after"
	if value == "" {
		value, from = a.env["KILN_STUCK_AFTER"], "KILN_STUCK_AFTER"
	}
	if value == "" {
		return out, nil
	}
	out.stuck, err = time.ParseDuration(value)
	switch {
	case err != nil:
		return out, usagef("%s: %q is no duration; one is 90s, 5m or 1h30m, and 0 is never", from, value)
	case out.stuck < 0:
		return out, usagef("%s: %s is negative; 0 is never", from, value)
	}
	return out, nil
}

// checkStdout says before a build what would meet the events on stdout.
func (t telling) checkStdout(p *plan) error {
	if t.json != jsonEvents {
		return nil
	}
	for _, n := range p.graph.Nodes() {
		if n.Requested && slices.ContainsFunc(n.Target.Outputs, isStdout) {
			return usagef("--json=events writes to standard output, and so does the output of target %s; use --progress=json, which writes to standard error", n.Name())
		}
		if n.Requested && isCall(n.Target) {
			return usagef("--json=events writes to standard output, and so does the answer of target %s to --call; use --progress=json, which writes to standard error", n.Name())
		}
	}
	return nil
}

// An audience is who hears of a run: the display, who reads events on stdout,
// and those that keep something for later. It is a Sink.
type audience struct {
	exec.Sink
	displays []*progress.Display
	warnings *warningSink
	places   *progress.Places
	record   *recording
	dog      *exec.Watchdog // nil if nobody cares for silence
}

// audience gathers who hears of the run of p. It has to be ended by finish.
func (a *app) audience(p *plan, header string) *audience {
	out := &audience{displays: []*progress.Display{a.display(p, header)}}
	if p.json == jsonEvents {
		out.displays = append(out.displays, progress.New(progress.Options{Out: a.Out, Mode: progress.JSON, Header: header}))
	}
	out.places, out.record = &progress.Places{}, newRecording()
	out.warnings = &warningSink{Sink: everyone{out.displays, out.places, out.record.events}}
	out.Sink = out.warnings
	if p.stuck > 0 {
		out.dog = exec.Watch(out.Sink, p.graph, exec.WatchOptions{After: p.stuck, Doing: buildkit.Doing})
		out.Sink = out.dog
	}
	return out
}

// note tells what belongs to no target.
func (a *audience) note(text string) {
	for _, d := range a.displays {
		d.Note(text)
	}
}

// finish tells how the run came out; nil is a run that could not begin. The
// error is that of writing events; nobody can be told that a display broke.
func (a *audience) finish(outcomes []exec.Outcome) error {
	if a.dog != nil {
		a.dog.Close()
	}
	var err error
	for i, d := range a.displays {
		if e := d.Finish(outcomes); i > 0 && e != nil {
			err = cmp.Or(err, fmt.Errorf("write the events: %w", e))
		}
	}
	return err
}

// everyone is a Sink of several displays, of what knows the builders, and of
// what is recorded.
type everyone struct {
	displays []*progress.Display
	places   *progress.Places
	record   *runs.Collector
}

// Event implements exec.Sink.
func (all everyone) Event(e exec.Event) {
	all.places.Event(e)
	all.record.Event(e)
	for _, d := range all.displays {
		d.Event(e)
	}
}

// solve builds the graph of p on its builders and tells how it goes.
func (a *app) solve(ctx context.Context, p *plan) (*audience, []exec.Outcome, error) {
	told := a.audience(p, p.connected.header())
	defer context.AfterFunc(ctx, func() { told.note("interrupted: stopping; interrupt again to end at once") })()
	p.trail = told.record.trail
	solver, err := a.openSolver(ctx, p, p.connected)
	if err != nil {
		return nil, nil, errors.Join(a.openError(err, p), told.finish(nil))
	}
	outcomes, err := a.schedule(ctx, p, solver, told, told.note)
	err = errors.Join(err, solver.Close())
	written := told.finish(outcomes)
	return told, outcomes, cmp.Or(runError(ctx, err, outcomes, p.display), unwritten(written))
}
