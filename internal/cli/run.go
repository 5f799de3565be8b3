package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/engine"
	"github.com/kilnbuild/kiln/internal/progress"
	"github.com/kilnbuild/kiln/internal/store"
)

// run checks what a build would trip over, and builds the plan.
func (a *app) run(ctx context.Context, o buildOptions, p *plan) error {
	if err := cmp.Or(checkOutputFile("--metadata-file", o.metadataFile), o.reportFlags.check(), p.checkStdout(p)); err != nil {
		return err
	}
	if err := a.permit(ctx, o, p); err != nil {
		return err
	}
	if hasDocker(p.builders) { // what it can do decides what there is to tell
		if err := a.connectOnce(ctx, p); err != nil {
			return err
		}
	}
	if p.bases = a.openBases(ctx); p.bases != nil {
		defer p.bases.Close()
	}
	if err := a.preflight(ctx, p); err != nil {
		return err
	}
	if err := a.connectOnce(ctx, p); err != nil {
		return err
	}
	told, outcomes, err := a.solve(ctx, p)
	if outcomes == nil {
		return err
	}
	err = cmp.Or(err, unwritten(a.output(o, p, outcomes, told)), a.answers(p, outcomes))
	return cmp.Or(err, a.keep(ctx, o.reportFlags, p, told.record.of(outcomes)))
}

// connectOnce reaches the builders, unless that was done for the definition.
// Whoever made the plan closes them.
func (a *app) connectOnce(ctx context.Context, p *plan) (err error) {
	if p.connected == nil {
		p.connected, err = a.connectAll(ctx, p.builders)
	}
	if len(p.connected) == 1 {
		p.lower.Docker = p.connected[0].conn.Docker()
	}
	return err
}

// permit compares what the plan needs with what --allow grants.
func (a *app) permit(ctx context.Context, o buildOptions, p *plan) error {
	lacking, err := a.lacking(o.allow, targetsOf(p.graph), p.definition)
	if err != nil {
		return err
	}
	if len(lacking) > 0 {
		if err := a.ask(ctx, lacking, p.display != progress.RawJSON && p.display != progress.JSON); err != nil {
			return err
		}
	}
	return nil
}

// openError words why a run could not begin: what the user wrote, or the
// builder.
func (a *app) openError(err error, p *plan) error {
	var (
		diags hcl.Diagnostics
		known *exitError
	)
	switch {
	case errors.As(err, &diags):
		return a.definitionError(err, p.files)
	case errors.As(err, &known):
		return err
	}
	if errors.Is(err, buildkit.ErrNoDaemon) || errors.Is(err, buildkit.ErrDaemonLost) {
		return noBuilder(err)
	}
	return usagef("%w", err) // what the run would have needed of this machine
}

// runError is the error of a run. The display has told it, unless it is one
// that tells nothing.
func runError(ctx context.Context, err error, outcomes []exec.Outcome, mode progress.Mode) error {
	if err == nil {
		return nil
	}
	code := codeFailed
	switch {
	case ctx.Err() != nil:
		code = codeInterrupted
	case lostBuilder(outcomes):
		code = codeNoBuilder
	}
	return &exitError{code: code, err: err, told: mode != progress.RawJSON}
}

// lostBuilder reports whether nothing failed but for the builder, which was
// lost.
func lostBuilder(outcomes []exec.Outcome) bool {
	lost := false
	for _, o := range outcomes {
		if o.Status == exec.Failed && !errors.Is(o.Err, buildkit.ErrDaemonLost) {
			return false
		}
		lost = lost || o.Status == exec.Failed
	}
	return lost
}

func (a *app) solverOptions(p *plan, b *builder) (buildkit.Options, error) {
	o := buildkit.Options{
		Dir:          a.dir,
		Getenv:       a.getenv,
		Stdout:       a.Out,
		DockerConfig: a.dockerConfig(),
		AuthFiles:    a.authFiles(),
		Policy:       a.env["EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"],
		Trail:        p.trail,
		Lower:        p.lower,
		CacheTries:   p.schedule.retries,
		Engines:      a.loadEngine,
	}
	if eo, err := engine.DefaultOptions(a.getenv); err == nil {
		o.Memory = filepath.Join(eo.StateDir, "uploads")
	}
	if p.display == progress.RawJSON {
		o.Raw = a.Err
	}
	if p.bases != nil { // an interface of nothing is not nil
		o.Bases = p.bases
	}
	o.Lower.Docker = b.conn.Docker()
	if !b.own {
		if b.conn.Version() != "" { // one of before 0.11 keeps no records
			o.Record = p.record
		}
		return o, nil
	}
	eo, err := a.engineOptions()
	if err != nil {
		return o, err
	}
	if eo.Records > 0 {
		o.Record = p.record
	}
	var s *store.Store
	if p.bases != nil {
		s = p.bases.Store
	} else if s, err = store.Open(filepath.Join(eo.StateDir, "images")); err != nil {
		return o, usagef("%w", err)
	}
	p.stored = &ownStore{Store: s, definition: a.definitionPlace(p.definition)}
	o.Store = p.stored
	return o, nil
}

// dockerConfig is the directory of the Docker client's configuration.
func (a *app) dockerConfig() string {
	if dir := a.env["DOCKER_CONFIG"]; dir != "" {
		return dir
	}
	if home := a.env["HOME"]; home != "" {
		return filepath.Join(home, ".docker")
	}
	return ""
}

// output writes what scripts read: results or answers on stdout, and the
// metadata file. After a failure there is one only if that was to stop
// nothing else, as with bake.
func (a *app) output(o buildOptions, p *plan, outcomes []exec.Outcome, told *audience) error {
	var errs []error
	var warnings []json.RawMessage
	if isTrue(a.env["BUILDX_METADATA_WARNINGS"]) {
		warnings = told.warnings.sorted()
	}
	if o.metadataFile != "" && (p.schedule.mode == exec.KeepGoing || !slices.ContainsFunc(outcomes, notBuilt)) {
		errs = append(errs, writeMetadata(o.metadataFile, outcomes, warnings))
	}
	if p.json != jsonEvents && !slices.ContainsFunc(outcomes, toStdout) && !a.summarised(p) {
		errs = append(errs, a.printResults(outcomes, p.json == jsonResults, told.places))
	}
	return errors.Join(errs...)
}

func notBuilt(o exec.Outcome) bool { return o.Status != exec.Built }

// toStdout reports whether a target's files went to stdout.
func toStdout(o exec.Outcome) bool {
	return slices.ContainsFunc(o.Node.Target.Outputs, isStdout)
}

func isStdout(e config.Export) bool { return e.Dest == "-" }
