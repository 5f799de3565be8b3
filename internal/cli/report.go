package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/internal/report"
	"github.com/kilnbuild/kiln/internal/runs"
)

// A reportFlags says which reports a build is to leave behind.
type reportFlags struct {
	reports []string
	trace   string
}

func (r *reportFlags) register(f *pflag.FlagSet) {
	f.StringArrayVar(&r.reports, "report", nil, "write a report of the run to this `file`, by its ending a page (.html), an object (.json) or JUnit's XML (.xml); may be repeated")
	f.StringVar(&r.trace, "trace", "", "write the times of the run to this `file` in Chrome's trace format, for Perfetto")
}

// A reportFormat is a way to write a report.
type reportFormat struct {
	name   string
	ending string // of the files that are written so; "" if no file's is
	write  func(*report.Report, io.Writer) error
}

var reportFormats = []reportFormat{
	{"text", ".txt", (*report.Report).WriteText},
	{"html", ".html", (*report.Report).WriteHTML},
	{"json", ".json", (*report.Report).WriteJSON},
	{"junit", ".xml", (*report.Report).WriteJUnit},
	{"markdown", ".md", func(r *report.Report, w io.Writer) error { return r.WriteMarkdown(w, maxSummary) }},
	{"trace", "", func(r *report.Report, w io.Writer) error { return report.WriteTrace(w, r.Run) }},
}

// formatNamed returns the format of that name, or of files that end so.
func formatNamed(name string) (reportFormat, error) {
	var names []string
	for _, f := range reportFormats {
		if f.name == name || f.ending != "" && f.ending[1:] == name {
			return f, nil
		}
		names = append(names, f.name)
	}
	return reportFormat{}, usagef("--format=%s: there is %s%s", name, strings.Join(names, ", "), didYouMean(name, names))
}

// formatOf returns the format that a file's ending asks for.
func formatOf(flag, path string) (reportFormat, error) {
	ending := strings.ToLower(filepath.Ext(path))
	var endings []string
	for _, f := range reportFormats {
		switch f.ending {
		case "":
			continue
		case ending:
			return f, nil
		}
		endings = append(endings, f.ending)
	}
	return reportFormat{}, usagef("%s %s: its ending says nothing of a format; there is %s%s", flag, path, strings.Join(endings, ", "), didYouMean(ending, endings))
}

// check says before the build what would make writing reports fail after it.
func (r *reportFlags) check() error {
	for _, path := range r.reports {
		if _, err := formatOf("--report", path); err != nil {
			return err
		}
		if err := checkOutputFile("--report", path); err != nil {
			return err
		}
	}
	return checkOutputFile("--trace", r.trace)
}

// after makes of the record of a run what was asked for. The reports are what
// the user waits for; spans and GitHub's summary are beside the build, and
// trouble with them is told and no more.
func (a *app) after(ctx context.Context, o reportFlags, k *runs.Keeper, r *runs.Run) error {
	if len(o.reports)+len(o.trace)+len(a.env["GITHUB_STEP_SUMMARY"]) > 0 {
		rep := report.New(r, lastBefore(k, r))
		a.stepSummary(rep)
		var errs []error
		for _, path := range o.reports {
			f, err := formatOf("--report", path)
			errs = append(errs, err, writeReport(f, rep, path))
		}
		if o.trace != "" {
			f, err := formatNamed("trace")
			errs = append(errs, err, writeReport(f, rep, o.trace))
		}
		if err := errors.Join(errs...); err != nil {
			return &exitError{code: codeFailed, err: err}
		}
	}
	a.sendSpans(ctx, r)
	return nil
}

// writeReport writes a report to a file, whole or not at all.
func writeReport(f reportFormat, r *report.Report, path string) error {
	var b bytes.Buffer
	err := f.write(r, &b)
	if err == nil {
		err = writeFileAtomic(linked(path), b.Bytes(), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the report %s: %w", path, err)
	}
	return nil
}

// lastBefore loads the last run of the definition before another that has a
// target of it; nil if there is none.
func lastBefore(k *runs.Keeper, now *runs.Run) *runs.Run {
	if k == nil {
		return nil
	}
	for _, e := range runs.Of(k.Entries(), now.Definition) {
		if e.ID >= now.ID {
			continue
		}
		r, err := k.Load(e)
		if err == nil && slices.ContainsFunc(now.Targets, func(t *runs.Target) bool { return r.Target(t.Name) != nil }) {
			return r
		}
	}
	return nil
}

// maxSummary is what GitHub takes of a step's summary.
const maxSummary = 1 << 20

// stepSummary adds the report to GitHub's summary of a step, where there is one.
func (a *app) stepSummary(r *report.Report) {
	path := a.env["GITHUB_STEP_SUMMARY"]
	if path == "" {
		return
	}
	room := maxSummary
	if fi, err := os.Stat(path); err == nil {
		room -= int(min(fi.Size(), maxSummary))
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		err = r.WriteMarkdown(f, room)
		err = cmp.Or(err, f.Close())
	}
	if err != nil {
		fmt.Fprintln(a.Err, "warning: write GitHub's summary of this step:", err)
	}
}

// A reportOptions is `kiln report` after its flags were read.
type reportOptions struct {
	run    string
	format string
	output string
	list   bool
	all    bool
}

func reportCommand(a *app) *cobra.Command {
	var o reportOptions
	c := &cobra.Command{
		Use:   "report",
		Short: "Show where the time of a run went",
		Long: `Show a run of kiln build that is over: the critical path and what to speed up
first, the slowest steps, what was cached, and what is different from the run
before. The last 20 runs of each definition are kept.`,
		Example: "  kiln report\n  kiln report -o report.html\n  kiln report --list",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.reportRun(o) },
	}
	f := c.Flags()
	f.StringVar(&o.run, "run", "", "which `run`: its ID or the beginning of it, or a number: 1 is the last, 2 the one before")
	f.StringVar(&o.format, "format", "", "`format`: text, html, json, junit, markdown or trace (default: by the ending of the file, else text)")
	f.StringVarP(&o.output, "output", "o", "", "write to this `file` in place of standard output")
	f.BoolVar(&o.list, "list", false, "list the runs that are kept; with --format=json as an object")
	f.BoolVar(&o.all, "all", false, "runs of all definitions, not only of those in this directory or above it")
	return c
}

// reportRun is the flow of `kiln report`.
func (a *app) reportRun(o reportOptions) error {
	k, err := a.keeper()
	if err != nil {
		return err
	}
	if o.list {
		return a.listRuns(k, o)
	}
	if o.output == "-" {
		o.output = ""
	}
	format := reportFormats[0]
	switch {
	case o.format != "":
		format, err = formatNamed(o.format)
	case o.output != "":
		format, err = formatOf("--output", o.output)
	}
	if err != nil {
		return err
	}
	if err := checkOutputFile("--output", o.output); err != nil {
		return err
	}
	r, err := a.loadRun(k, o)
	if err != nil {
		return err
	}
	rep := report.New(r, lastBefore(k, r))
	if o.output != "" {
		if err := writeReport(format, rep, o.output); err != nil {
			return &exitError{code: codeFailed, err: err}
		}
		return nil
	}
	return format.write(rep, a.Out)
}

// loadRun loads the run that was asked for; where none was named, the last of
// which the record can be read.
func (a *app) loadRun(k *runs.Keeper, o reportOptions) (*runs.Run, error) {
	entries := a.runsHere(k, o.all)
	for {
		e, err := a.pick(entries, o.run)
		if err != nil {
			return nil, err
		}
		r, err := k.Load(e)
		switch {
		case err == nil:
			return r, nil
		case o.run != "" || len(entries) == 1:
			return nil, usagef("%w", err)
		}
		fmt.Fprintln(a.Err, "warning:", err)
		entries = entries[1:]
	}
}

// runsHere lists the runs of the definitions in the working directory and
// above it, the newest first; those of all definitions where there is none
// here, or with all.
func (a *app) runsHere(k *runs.Keeper, all bool) []runs.Entry {
	entries := k.Entries()
	var here []runs.Entry
	for dir := a.dir; ; dir = filepath.Dir(dir) {
		here = append(here, runs.Of(entries, dir)...)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if all || len(here) == 0 {
		return entries
	}
	slices.SortFunc(here, func(a, b runs.Entry) int { return strings.Compare(b.ID, a.ID) })
	return here
}

// pick finds the run that a user names: by its ID, the beginning of one, or a
// number from the last, which is 1 and the default.
func (a *app) pick(entries []runs.Entry, name string) (runs.Entry, error) {
	if len(entries) == 0 {
		return runs.Entry{}, usagef("no run is recorded yet; kiln build records each")
	}
	if n, err := strconv.Atoi(cmp.Or(name, "1")); err == nil && n > 0 && n < 1000 {
		if n > len(entries) {
			return runs.Entry{}, usagef("--run %d: there are only %d runs; `kiln report --list` lists them", n, len(entries))
		}
		return entries[n-1], nil
	}
	var found []runs.Entry
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.ID)
		if strings.HasPrefix(e.ID, name) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return runs.Entry{}, usagef("--run %s: no run has this ID%s; `kiln report --list` lists them, with --all those of other definitions", name, didYouMean(name, ids))
	case 1:
		return found[0], nil
	}
	return runs.Entry{}, usagef("--run %s: %d runs begin so, %s and %s among them; give more of the ID", name, len(found), found[0].ID, found[1].ID)
}

// A listedRun is a row of `kiln report --list`.
type listedRun struct {
	Number      int       `json:"number"`
	ID          string    `json:"id"`
	Started     time.Time `json:"started"`
	Seconds     float64   `json:"seconds"`
	Status      string    `json:"status"`
	Targets     int       `json:"targets"`
	Steps       int       `json:"steps"`
	StepsCached int       `json:"stepsCached"`
	Definition  string    `json:"definition"`
	Args        []string  `json:"args"`
}

func (a *app) listRuns(k *runs.Keeper, o reportOptions) error {
	if o.run != "" || o.output != "" {
		return usagef("--list excludes --run and --output")
	}
	if o.format != "" && o.format != "text" && o.format != "json" {
		return usagef("--list --format=%s: a list is text or json", o.format)
	}
	rows := []listedRun{}
	for i, e := range a.runsHere(k, o.all) {
		r, err := k.Load(e)
		if err != nil {
			fmt.Fprintln(a.Err, "warning:", err)
			continue
		}
		s := report.New(r, nil).Summary
		rows = append(rows, listedRun{i + 1, r.ID, r.Started, s.Seconds, s.Status, s.Targets, s.Steps, s.StepsCached, r.Definition, r.Args})
	}
	if o.format == "json" {
		return writeJSON(a.Out, map[string]any{"version": report.Version, "runs": rows})
	}
	return table(a.Out, "RUN\tID\tSTARTED\tTIME\tRESULT\tTARGETS\tCACHED\tCOMMAND", rows, func(r listedRun) string {
		return fmt.Sprintf("%d\t%s\t%s\t%.1fs\t%s\t%d\t%d/%d\t%s", r.Number, r.ID, r.Started.Local().Format("2006-01-02 15:04"), r.Seconds, r.Status, r.Targets, r.StepsCached, r.Steps, "kiln "+strings.Join(r.Args, " "))
	})
}
