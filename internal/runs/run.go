// Package runs keeps a record of every run of `kiln build`: what its targets
// and steps took, what was found in the cache, what the steps were made of,
// and which files a build was sent. Reports are made of a record, and why a
// target was built anew is found by comparing two.
//
//	run.go        what a record holds
//	collect.go    events of a run → Run
//	keep.go       Runs ↔ files in the state directory, of which the oldest go
//	listing.go    lists of files ↔ files in the state directory
//	compare.go    two runs of a target → what changed first, and what followed
//
// A record is a help and no more: one that cannot be read counts as not
// there. No secret is in it (docs/secrets.md).
package runs

import (
	"time"

	"github.com/kilnbuild/kiln/exec"
)

// Version is the version of the format of records, which docs/report.md
// describes. It only grows: a field keeps its name, its type and its meaning.
const Version = 1

// A Run is the record of one run. Times are in UTC, by kiln's clock; those of
// steps are the daemon's, moved to kiln's clock where the two differ. A zero
// time was not reached.
type Run struct {
	Version    int           `json:"version"`
	ID         string        `json:"id"`                   // time to the millisecond and three random digits: "20261123-131502-1257f3"; sorts by time
	Kiln       string        `json:"kiln,omitempty"`       // version
	Definition string        `json:"definition,omitempty"` // absolute directory of the first build file, or URL it was fetched from
	Files      []string      `json:"files,omitempty"`      // build files, as they were named
	Dir        string        `json:"directory,omitempty"`  // working directory
	Commit     string        `json:"commit,omitempty"`     // of the git work tree; "" outside of one
	Args       []string      `json:"args,omitempty"`       // of the command line, without secrets
	Builders   []string      `json:"builders,omitempty"`   // as people know them, in the order in which they were named
	Jobs       int           `json:"jobs,omitempty"`       // the limit of -j; 0 is none
	Status     string        `json:"status"`               // "built" if all targets were, "failed" if one failed, else "cancelled"
	Started    time.Time     `json:"started"`
	Ended      time.Time     `json:"ended"`
	Targets    []*Target     `json:"targets"`           // in the order of the run: each after what it needs
	Recipes    []exec.Recipe `json:"recipes,omitempty"` // each after those it reads; none where the frontend of the daemon has kept them to itself
	Listings   []ListingRef  `json:"listings,omitempty"`
}

// A Target is what became of a target in a run.
type Target struct {
	Name      string   `json:"name"`
	Status    string   `json:"status"`              // "built", "failed", "skipped" or "cancelled"
	Cached    bool     `json:"cached,omitempty"`    // built, and all its steps were there already
	Requested bool     `json:"requested,omitempty"` // asked for, not only needed by another
	Digest    string   `json:"digest,omitempty"`    // of the image or index
	Refs      []string `json:"references,omitempty"`
	Needs     []string `json:"needs,omitempty"` // targets whose results it reads, in the order of the run
	After     []string `json:"after,omitempty"` // targets it depends on otherwise
	Builders  []string `json:"builders,omitempty"`
	Args      []string `json:"args,omitempty"`    // names of its build arguments, sorted
	Secrets   []string `json:"secrets,omitempty"` // names of its secrets, sorted
	NoCache   bool     `json:"noCache,omitempty"` // it was to be built without cache, or some stages of it
	Pull      bool     `json:"pull,omitempty"`    // its bases were to be asked for anew
	Retries   int      `json:"retries,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
	Times
	Failure *Failure `json:"failure,omitempty"` // nil unless it was not built
	Steps   []*Step  `json:"steps,omitempty"`   // in the order in which they began; one that targets share is told of the first that asked
}

// Times of a target, by kiln's clock.
type Times struct {
	Queued    time.Time `json:"queued,omitzero"`
	Started   time.Time `json:"started,omitzero"`
	Solved    time.Time `json:"solved,omitzero"`
	Exporting time.Time `json:"exporting,omitzero"`
	Finished  time.Time `json:"finished,omitzero"`
}

// A Failure says why a target was not built.
type Failure struct {
	Text     string `json:"text"`              // in words
	File     string `json:"file,omitempty"`    // that it points to
	Line     int    `json:"line,omitempty"`    // the first, from 1
	EndLine  int    `json:"endLine,omitempty"` // the last, included
	Stage    string `json:"stage,omitempty"`
	Command  string `json:"command,omitempty"`
	ExitCode *int   `json:"exitCode,omitempty"` // of the command; nil if it did not end by itself
	Log      string `json:"log,omitempty"`      // the end of what it printed
	Need     string `json:"need,omitempty"`     // of a skipped target: what it needs and did not get
	Root     string `json:"root,omitempty"`     // of a skipped target: the target that failed
}

// A Step is a step of BuildKit's graph, as it came out.
type Step struct {
	Digest   string    `json:"digest"`             // of its definition, cut by shorten; leads to its Recipe, where there is one
	Name     string    `json:"name"`               // "[build 2/5] RUN make"
	File     string    `json:"file,omitempty"`     // Dockerfile it is written in, as the target names it
	Line     int       `json:"line,omitempty"`     // of File, from 1
	Cached   bool      `json:"cached,omitempty"`   // its result was there already
	Internal bool      `json:"internal,omitempty"` // bookkeeping
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Error    string    `json:"error,omitempty"`
	Sent     int64     `json:"sent,omitempty"`   // bytes from this machine to the builder
	Pulled   int64     `json:"pulled,omitempty"` // bytes from registries to the builder
	Pushed   int64     `json:"pushed,omitempty"` // bytes from the builder to a registry, or back to this machine
}

// A ListingRef leads to the list of what a build was sent of a directory.
type ListingRef struct {
	Dir   string `json:"directory"` // as the recipes have it
	ID    string `json:"id"`        // of the list: the same files of the same sizes and times have the same
	Files int    `json:"files"`
	More  int    `json:"more,omitempty"` // files beyond those that are kept
}

// Target returns the target of that name, nil if there is none.
func (r *Run) Target(name string) *Target {
	for _, t := range r.Targets {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Took is how long the run took.
func (r *Run) Took() time.Duration { return r.Ended.Sub(r.Started) }

// Took is how long the target took, from its start; 0 if it was never begun.
func (t *Target) Took() time.Duration { return span(t.Started, t.Finished) }

// End is when a step of the target ended. One that was still running when the
// target came to its end, because the run was stopped, ended with it.
func (t *Target) End(s *Step) time.Time {
	if s.Ended.IsZero() && !s.Started.IsZero() && t.Finished.After(s.Started) {
		return t.Finished
	}
	return s.Ended
}

// StepTook is how long a step of the target took; 0 if it did not begin.
func (t *Target) StepTook(s *Step) time.Duration { return span(s.Started, t.End(s)) }

// span is the time between two moments, 0 unless both were reached.
func span(from, to time.Time) time.Duration {
	if from.IsZero() || to.Before(from) {
		return 0
	}
	return to.Sub(from)
}

// Counts tells how many steps of Dockerfiles ended, and how many of them were
// there already. What BuildKit does around them is never cached.
func (t *Target) Counts() (cached, all int) {
	for _, s := range t.Steps {
		if s.Ended.IsZero() || !s.Written() {
			continue
		}
		all++
		if s.Cached {
			cached++
		}
	}
	return cached, all
}
