// Package report makes reports of the record of a run: where the time went,
// what was cached, sent and pulled, what to speed up first, and what has
// changed since the run before.
//
//	report.go    a Run, and the one before → Report
//	critical.go  the critical path, and what a step less would save
//	text.go      Report → text for a terminal
//	page.go      Report → one HTML file that needs nothing else
//	junit.go     Run → JUnit's XML, for CI services
//	trace.go     Run → Chrome's trace format
//	markdown.go  Report → Markdown, for GitHub's step summary
//
// A Report is plain data; as JSON it is described in docs/report.md. The
// package reads and writes no file.
package report

import (
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/internal/runs"
)

// Version is the version of the JSON form, which only grows.
const Version = 1

// A Report is what the record of a run adds up to. Times are in seconds.
type Report struct {
	Version  int         `json:"version"`
	Summary  Summary     `json:"summary"`
	Critical Critical    `json:"critical"`
	Slowest  []StepTime  `json:"slowest"`          // steps and exports that took longest, the longest first
	Before   *Comparison `json:"before,omitempty"` // nil if there is no run before
	Run      *runs.Run   `json:"run"`
}

// A Summary counts.
type Summary struct {
	Status      string  `json:"status"`
	Seconds     float64 `json:"seconds"`
	Targets     int     `json:"targets"`
	Built       int     `json:"built"`  // with those that were cached
	Cached      int     `json:"cached"` // built, with nothing to do
	Failed      int     `json:"failed"`
	Skipped     int     `json:"skipped"`
	Cancelled   int     `json:"cancelled"`
	Steps       int     `json:"steps"` // of Dockerfiles, each once
	StepsCached int     `json:"stepsCached"`
	Sent        int64   `json:"sent"`   // bytes from this machine to the builders
	Pulled      int64   `json:"pulled"` // bytes from registries to the builders
	Pushed      int64   `json:"pushed"` // bytes of results
	Retries     int     `json:"retries"`
}

// A StepTime is a step, or the export of a target, and what it took.
type StepTime struct {
	Target  string  `json:"target"`
	Step    string  `json:"step"`             // its name; "export" for that of the target
	Digest  string  `json:"digest,omitempty"` // of the step, as the run has it
	File    string  `json:"file,omitempty"`
	Line    int     `json:"line,omitempty"`
	Start   float64 `json:"start"` // since the run began
	Seconds float64 `json:"seconds"`
}

// A Comparison says what is different from an earlier run.
type Comparison struct {
	ID          string         `json:"id"` // of the earlier run
	Started     time.Time      `json:"started"`
	Seconds     float64        `json:"seconds"`     // that it took
	Steps       int            `json:"steps"`       // as in Summary
	StepsCached int            `json:"stepsCached"` //
	Targets     []TargetChange `json:"targets"`     // of both runs, that took another time; the largest difference first
	New         []string       `json:"new"`         // targets that the earlier run did not have
	Gone        []string       `json:"gone"`        // targets that only the earlier run had
}

// A TargetChange is a target of two runs.
type TargetChange struct {
	Target string  `json:"target"`
	Before float64 `json:"before"` // seconds
	Now    float64 `json:"now"`
	From   string  `json:"from"` // how it came out then: "cached", "built", "failed" and so on
	To     string  `json:"to"`
}

// mostSlow is how many of the slowest steps are listed.
const mostSlow = 20

// New makes the report of a run, and compares it with an earlier one, which
// may be nil.
func New(r, before *runs.Run) *Report {
	out := &Report{Version: Version, Run: r, Summary: summaryOf(r), Critical: criticalOf(r), Slowest: slowest(r)}
	if before != nil {
		out.Before = compare(r, before)
	}
	return out
}

// WriteJSON writes the report as a JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func summaryOf(r *runs.Run) Summary {
	s := Summary{Status: r.Status, Seconds: seconds(r.Took()), Targets: len(r.Targets)}
	for _, t := range r.Targets {
		cached, all := t.Counts()
		s.Steps, s.StepsCached, s.Retries = s.Steps+all, s.StepsCached+cached, s.Retries+t.Retries
		switch result(t) {
		case "cached":
			s.Built++
			s.Cached++
		case "built":
			s.Built++
		case "failed":
			s.Failed++
		case "skipped":
			s.Skipped++
		default:
			s.Cancelled++
		}
		for _, step := range t.Steps {
			s.Sent, s.Pulled, s.Pushed = s.Sent+step.Sent, s.Pulled+step.Pulled, s.Pushed+step.Pushed
		}
	}
	return s
}

// result is how a target came out, in one word: "cached" if nothing had to be
// done.
func result(t *runs.Target) string {
	if t.Cached {
		return "cached"
	}
	return t.Status
}

func slowest(r *runs.Run) []StepTime {
	all := []StepTime{}
	for _, t := range r.Targets {
		for _, s := range t.Steps {
			if took := t.StepTook(s); took > 0 && !s.Cached && !exporting(s) {
				all = append(all, StepTime{Target: t.Name, Step: s.Name, Digest: s.Digest, File: s.File, Line: s.Line, Start: seconds(s.Started.Sub(r.Started)), Seconds: seconds(took)})
			}
		}
		if took := exportTime(t); took > 0 {
			all = append(all, StepTime{Target: t.Name, Step: export, Start: seconds(t.Exporting.Sub(r.Started)), Seconds: seconds(took)})
		}
	}
	slices.SortStableFunc(all, func(a, b StepTime) int { return cmp.Compare(b.Seconds, a.Seconds) })
	all = slices.DeleteFunc(all, func(s StepTime) bool { return s.Seconds == 0 })
	return all[:min(len(all), mostSlow)]
}

// export stands for the export of a target where steps have names.
const export = "export"

// exporting reports whether a step is part of an export, which is counted as
// a whole.
func exporting(s *runs.Step) bool {
	return strings.HasPrefix(s.Name, "exporting ") || strings.HasPrefix(s.Name, "pushing ")
}

func exportTime(t *runs.Target) time.Duration {
	if t.Exporting.IsZero() || t.Finished.Before(t.Exporting) {
		return 0
	}
	return t.Finished.Sub(t.Exporting)
}

// least is the smallest difference of two runs of a target that is told.
const least = 0.1

func compare(r, before *runs.Run) *Comparison {
	was := summaryOf(before)
	c := &Comparison{
		ID: before.ID, Started: before.Started, Seconds: was.Seconds, Steps: was.Steps, StepsCached: was.StepsCached,
		Targets: []TargetChange{}, New: []string{}, Gone: []string{},
	}
	earlier := map[string]*runs.Target{}
	for _, t := range before.Targets {
		earlier[t.Name] = t
	}
	now := map[string]bool{}
	for _, t := range r.Targets {
		now[t.Name] = true
		old := earlier[t.Name]
		if old == nil {
			c.New = append(c.New, t.Name)
			continue
		}
		change := TargetChange{Target: t.Name, Before: seconds(old.Took()), Now: seconds(t.Took()), From: result(old), To: result(t)}
		if d := change.Now - change.Before; d >= least || d <= -least || change.From != change.To {
			c.Targets = append(c.Targets, change)
		}
	}
	for _, t := range before.Targets {
		if !now[t.Name] {
			c.Gone = append(c.Gone, t.Name)
		}
	}
	slices.SortStableFunc(c.Targets, func(a, b TargetChange) int {
		return cmp.Compare(max(b.Now-b.Before, b.Before-b.Now), max(a.Now-a.Before, a.Before-a.Now))
	})
	return c
}

// seconds are whole milliseconds, for people read them as well.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
