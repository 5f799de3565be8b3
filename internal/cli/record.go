package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/diag"
	"github.com/kilnbuild/kiln/internal/engine"
	"github.com/kilnbuild/kiln/internal/runs"
)

// A recording is what a run leaves behind for reports: it is taken while
// targets are built, and made into a record when all has been told.
type recording struct {
	events   *runs.Collector
	trail    *buildkit.Trail
	outcomes []exec.Outcome // at the end
}

func newRecording() *recording {
	return &recording{events: runs.NewCollector(), trail: &buildkit.Trail{}}
}

// keeper is where records are kept.
func (a *app) keeper() (*runs.Keeper, error) {
	o, err := engine.DefaultOptions(a.getenv)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return runs.Open(filepath.Join(o.StateDir, "runs")), nil
}

// of adds how the run came out.
func (r *recording) of(outcomes []exec.Outcome) *recording {
	r.outcomes = outcomes
	return r
}

// keep records a run, and makes the reports that were asked for. That the
// record cannot be kept is told and no more.
func (a *app) keep(ctx context.Context, o reportFlags, p *plan, rec *recording) error {
	r := rec.events.Run(a.about(p), rec.outcomes, rec.trail.Recipes())
	keeper, err := a.keeper()
	if err == nil {
		err = keeper.Save(r, rec.trail.Listings())
	}
	if p.stored != nil {
		err = errors.Join(err, p.stored.keep(r))
	}
	if err != nil {
		fmt.Fprintln(a.Err, "warning:", err)
	}
	return a.after(ctx, o, keeper, r)
}

// about says what a record tells of a run beside its events.
func (a *app) about(p *plan) runs.About {
	out := runs.About{Kiln: currentVersion().Version, Definition: a.definitionPlace(p.definition), Dir: a.dir, Jobs: p.schedule.parallel}
	for _, f := range p.files {
		out.Files = append(out.Files, diag.Redact(f.Name))
	}
	if g := p.lower.Git; g != nil {
		out.Commit = g.Revision
	}
	if len(a.args) > 0 { // a line each, so that nothing is taken for a part of its neighbour
		lines := make([]string, len(a.args))
		for i, arg := range a.args {
			lines[i] = strings.ReplaceAll(arg, "\n", " ")
		}
		out.Args = strings.Split(a.discreet(strings.Join(lines, "\n")), "\n")
	}
	for _, b := range p.connected {
		out.Builders = append(out.Builders, b.label)
	}
	return out
}

// definitionPlace is where a definition is: an absolute directory, or the URL
// it was fetched from.
func (a *app) definitionPlace(d *definition) string {
	switch {
	case d.url != "":
		return diag.Redact(d.url)
	case len(d.files) == 0 || d.files[0].Name == "-":
		return a.dir
	}
	return filepath.Dir(a.path(d.files[0].Name))
}
