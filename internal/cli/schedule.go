package cli

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/durations"
	"github.com/kilnbuild/kiln/internal/engine"
)

// A scheduleFlags says in which order targets are built, for how long, and
// what becomes of those that fail.
type scheduleFlags struct {
	jobs      string
	keepGoing bool
	atomic    bool
	retries   int
	timeouts  []string // D, or PATTERN=D

	setRetries bool // --retries was given
}

const defaultRetries = 2

func (s *scheduleFlags) register(f *pflag.FlagSet) {
	f.StringVarP(&s.jobs, "jobs", "j", "", "most targets built at once, by their weights, or mode=fail-fast|defer-error|defer-output,parallel=`N`")
	f.BoolVarP(&s.keepGoing, "keep-going", "k", false, "after a failure, go on with what does not need the failed target; short for --jobs=mode=defer-error")
	f.BoolVar(&s.atomic, "atomic", false, "export and push nothing unless everything was built; short for --jobs=mode=defer-output")
	f.IntVar(&s.retries, "retries", defaultRetries, "how often to try again, after a growing while, what the network failed: resolving, pulling, pushing, caches; `N` of 0 is never")
	f.StringArrayVar(&s.timeouts, "timeout", nil, "how long the run may take, as 30m, or one target: `[TARGET=]DURATION`; TARGET may be a pattern")
}

// A schedule is what the flags and the environment come to.
type schedule struct {
	jobs
	retries int
	timeout time.Duration // of the run; 0 is none
}

// scheduleOf weighs the flags and the environment.
func (a *app) scheduleOf(s scheduleFlags) (schedule, error) {
	var out schedule
	var err error
	if out.jobs, err = parseJobs(s.jobs); err != nil {
		return out, usagef("%w", err)
	}
	if err := out.shortModes(s); err != nil {
		return out, usagef("%w", err)
	}
	out.retries = s.retries
	from := "--retries"
	if env := a.env["KILN_RETRIES"]; env != "" && !s.setRetries {
		from = "KILN_RETRIES"
		if out.retries, err = strconv.Atoi(env); err != nil {
			return out, usagef("KILN_RETRIES takes a whole number, not %q", env)
		}
	}
	if out.retries < 0 {
		return out, usagef("%s can't be negative: %d", from, out.retries)
	}
	run := 0
	for _, t := range s.timeouts {
		if strings.Contains(t, "=") {
			continue // see overrides
		}
		if out.timeout, err = time.ParseDuration(t); err != nil || out.timeout <= 0 {
			return out, usagef("--timeout %q: this is no duration; write a number and a unit, as 90s, 10m or 1h30m", t)
		}
		if run++; run > 1 {
			return out, usagef("--timeout gives two durations for the run; one for a target is --timeout TARGET=%s", t)
		}
	}
	return out, nil
}

// shortModes takes --keep-going and --atomic into account, which exclude each
// other and what --jobs says besides.
func (out *schedule) shortModes(s scheduleFlags) error {
	for _, short := range []struct {
		flag string
		on   bool
		mode exec.Mode
	}{{"--keep-going", s.keepGoing, exec.KeepGoing}, {"--atomic", s.atomic, exec.DeferOutput}} {
		if !short.on {
			continue
		}
		if s.keepGoing && s.atomic {
			return fmt.Errorf("--atomic and --keep-going exclude each other: with --atomic the rest is built after a failure, too, but nothing is exported")
		}
		if out.named && out.mode != short.mode {
			return fmt.Errorf("%s and --jobs=mode=%s exclude each other", short.flag, modeName(out.mode))
		}
		out.mode = short.mode
	}
	return nil
}

// overrides returns what --timeout says of targets.
func (s *scheduleFlags) overrides() []config.Override {
	var out []config.Override
	for _, t := range s.timeouts {
		if pattern, value, ok := strings.Cut(t, "="); ok {
			out = append(out, config.Override{Pattern: pattern, Key: "timeout", Value: value, Flag: "--timeout " + t})
		}
	}
	return out
}

// schedule runs a plan with a solver, within the limits of its schedule. Note
// tells people that the time of the run is up.
func (a *app) schedule(ctx context.Context, p *plan, s exec.Solver, sink exec.Sink, note func(string)) ([]exec.Outcome, error) {
	s = exec.WithRetries(s, p.schedule.again())
	s = exec.WithTimeouts(s, func(n *graph.Node) time.Duration { return n.Target.Timeout })
	o := exec.Options{Jobs: p.schedule.parallel, Mode: p.schedule.mode, Sink: sink}
	past := a.history(p.definition)
	if past != nil {
		o.Sink, o.Expect = past.Watch(sink), past.Expect
	}
	run, stop := p.schedule.bound(ctx, note)
	defer stop()
	outcomes, err := exec.Run(run, p.graph, s, o)
	if past != nil {
		_ = past.Save(outcomes) // it would only have helped the next run
	}
	return outcomes, err
}

// again says how often what the network fails is tried again.
func (s schedule) again() exec.Retries {
	return exec.Retries{Times: s.retries, Seed: rand.Uint64()}
}

// bound returns a context that ends with the time of the run, and tells so.
func (s schedule) bound(ctx context.Context, tell func(string)) (context.Context, func()) {
	if s.timeout == 0 {
		return ctx, func() {}
	}
	run, cancel := exec.WithRunTimeout(ctx, s.timeout)
	stop := context.AfterFunc(run, func() {
		if ctx.Err() == nil {
			tell(context.Cause(run).Error() + ": stopping")
		}
	})
	return run, func() { stop(); cancel() }
}

// history returns what earlier runs of the definition took; nil if there is
// no place to keep it.
func (a *app) history(d *definition) *durations.History {
	o, err := engine.DefaultOptions(a.getenv)
	if err != nil {
		return nil
	}
	return durations.Open(filepath.Join(o.StateDir, "durations"), a.home(d))
}
