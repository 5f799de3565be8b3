package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
	"github.com/kilnbuild/kiln/internal/progress"
)

// A buildOptions is `kiln build` after its flags were read.
type buildOptions struct {
	definitionFlags
	builderFlags
	scheduleFlags
	tellFlags
	reportFlags
	short shortFlags // --push, --load and the other flags that stand for overrides

	print    bool
	list     string
	variant  string
	planFile string // --plan
}

func (o *buildOptions) register(f *pflag.FlagSet) {
	o.definitionFlags.register(f)
	o.builderFlags.register(f)
	o.scheduleFlags.register(f)
	o.tellFlags.register(f)
	o.reportFlags.register(f)
	o.short.register(f)
	f.BoolVar(&o.print, "print", false, "print the resolved definition as JSON and build nothing")
	f.StringVar(&o.list, "list", "", "list `targets` or variables and build nothing; type=targets,format=json for JSON")
	f.StringVar(&o.variant, "variant", "", "of every requested target that has variants, build the one of this `name`")
	f.StringVar(&o.planFile, "plan", "", "build just what is in this `file`, which kiln plan --save has written")
	f.Bool("list-targets", false, "list targets")
	f.Bool("list-variables", false, "list variables")
	_ = f.MarkHidden("list-targets")
	_ = f.MarkHidden("list-variables")
}

func buildCommand(a *app) *cobra.Command {
	var o buildOptions
	c := &cobra.Command{
		Use:     "build [URL [URL]] [TARGET...]",
		Aliases: []string{"bake", "f"},
		Short:   "Build targets",
		Long: `Build the named targets, groups or patterns, and all that they need; without a
name, the one called default. A target that several need is built once.`,
		Example: "  kiln build\n  kiln build 'api-*' --set '*.args.GO=1.27' --push",
		ValidArgsFunction: func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.targetNames(c.Context(), o.definitionFlags), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.short.changed(c.Flags())
			o.setRetries = c.Flags().Changed("retries")
			if err := checkPlanFlags(c, o, args); err != nil {
				return err
			}
			for _, kind := range []string{"targets", "variables"} {
				if c.Flags().Changed("list-" + kind) {
					fmt.Fprintf(a.Err, "--list-%s is deprecated: use --list=%s\n", kind, kind)
					o.list = kind
				}
			}
			return a.build(c.Context(), o, args)
		},
	}
	o.register(c.Flags())
	return c
}

// build is the flow of `kiln build`.
func (a *app) build(ctx context.Context, o buildOptions, args []string) error {
	restore := a.relaxGC()
	defer restore()
	defer a.early.drop()
	plan, err := a.plan(ctx, o, args)
	defer func() {
		if plan != nil { // connected for the definition, or to build
			plan.connected.close()
		}
	}()
	if err != nil || plan.graph == nil {
		return err
	}
	if o.print {
		if err := a.destinations(plan); err != nil {
			return err
		}
		return config.Print(a.Out, plan.graph.Groups(), targetsOf(plan.graph))
	}
	restore()
	return a.run(ctx, o, plan)
}

// A plan is what to build and how, before anything runs.
type plan struct {
	*definition
	telling
	graph     *graph.Graph
	schedule  schedule
	builders  []builderChoice
	bases     *bases   // images of earlier builds; nil if there are none
	connected builders // already, where the definition came through the first
	lower     buildkit.LowerOptions
	trail     *buildkit.Trail // of the run, once it begins
	stored    *ownStore       // of kiln's own engine; nil if that does not build
	call      callSpec
}

// plan checks the options, reads the definition, and selects what was asked
// for. A plan without a graph says that all is done (--list).
func (a *app) plan(ctx context.Context, o buildOptions, args []string) (*plan, error) {
	p := &plan{}
	var err error
	if p.schedule, err = a.scheduleOf(o.scheduleFlags); err != nil {
		return nil, err
	}
	if p.telling, err = a.tellingOf(o.tellFlags); err != nil {
		return nil, err
	}
	if o.print && o.list != "" {
		return nil, usagef("--print and --list exclude each other")
	}
	short, err := o.short.overrides()
	if err != nil {
		return nil, usagef("%w", err)
	}
	short = append(short, o.scheduleFlags.overrides()...)
	if p.call, err = parseCall(o.short.call); err != nil {
		return nil, usagef("%w", err)
	}
	source, args := splitURLs(args)
	building := !o.print && o.list == ""
	if building || source.url != "" { // else none is needed, and any may be named: bake.md §0.1
		if p.builders, err = a.choose(o.builderFlags); err != nil {
			return nil, err
		}
	}
	if building {
		a.lookForEngine(ctx, p.builders)
	}
	if o.list != "" { // of what is declared, before any override
		o.sets, short = nil, nil
	}
	if o.planFile != "" {
		args, err = a.reopen(ctx, o.planFile, p)
	} else {
		err = a.define(ctx, o, source, short, p)
	}
	if err != nil {
		return p, err
	}
	if o.list != "" {
		l, err := parseList(o.list)
		if err != nil {
			return p, err
		}
		return p, l.list(a.Out, p.cfg)
	}
	p.graph, err = a.selected(p.definition, args, o.variant)
	if err == nil {
		a.tell(unused(p.definition, p.graph), p.files)
	}
	if err == nil && o.short.push {
		a.tell(unpushed(p.graph), p.files)
	}
	if err != nil || o.print {
		return p, err
	}
	p.lower, err = a.lowerOptions(ctx)
	var diags hcl.Diagnostics
	p.lower.Proxies, diags = buildkit.PlainProxies(targetsOf(p.graph), p.lower.Proxies)
	a.tell(diags, p.files)
	p.lower.GitAuth = a.gitAuth(p.url)
	return p, err
}

// define reads the definition of a plan: here, or through the builder.
func (a *app) define(ctx context.Context, o buildOptions, source remoteSource, short []config.Override, p *plan) (err error) {
	if source.url == "" {
		p.definition, err = a.load(ctx, o.definitionFlags, short)
		return err
	}
	if p.connected, err = a.connectAll(ctx, p.builders); err != nil {
		return err
	}
	tell := func(format string, args ...any) {
		if p.display == progress.TTY || p.display == progress.Plain || p.display == progress.CI {
			fmt.Fprintf(a.Err, format+"\n", args...)
		}
	}
	tell("fetching the definition %s", diag.Redact(source.url))
	f := remoteFetcher{source: source, builder: p.connected[0], retries: p.schedule.again(), tell: func(r exec.Retry) {
		tell("fetching again in %.1fs (%d of %d): %s", r.After.Seconds(), r.Number, r.Of, r.Cause)
	}}
	p.definition, err = a.loadRemote(ctx, f, o.definitionFlags, short)
	return err
}

// selected narrows the definition to what the arguments name.
func (a *app) selected(d *definition, names []string, variant string) (*graph.Graph, error) {
	g, diags := graph.New(d.cfg)
	if !diags.HasErrors() {
		narrow, more := g.SelectVariant(variant, names...)
		g, diags = narrow, append(diags, more...)
	}
	a.tell(diags, d.files)
	if diags.HasErrors() {
		return nil, &exitError{code: codeUsage, err: diags, told: true}
	}
	return g, nil
}

// targetsOf lists the targets of a graph, in its order.
func targetsOf(g *graph.Graph) []*config.Target {
	var out []*config.Target
	for _, n := range g.Nodes() {
		out = append(out, n.Target)
	}
	return out
}

// targetNames completes targets and groups.
func (a *app) targetNames(ctx context.Context, d definitionFlags) []string {
	quiet := *a
	quiet.Err = discard{}
	def, err := quiet.load(ctx, d, nil)
	if err != nil {
		return nil
	}
	var names []string
	for _, g := range def.cfg.Groups {
		names = append(names, g.Name+"\t"+g.Description)
	}
	for _, t := range def.cfg.Targets {
		names = append(names, t.Name+"\t"+t.Description)
	}
	slices.Sort(names)
	return names
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// printResults writes a line for each requested target that was built: its
// name, a reference or path, and the digest, with tabs between them.
func (a *app) printResults(outcomes []exec.Outcome, asJSON bool, places *progress.Places) error {
	var errs []error
	for _, o := range outcomes {
		if o.Status != exec.Built || !o.Node.Requested || isCall(o.Node.Target) {
			continue
		}
		ref := ""
		if len(o.Output.Refs) > 0 {
			ref = o.Output.Refs[0]
		}
		if asJSON {
			errs = append(errs, json.NewEncoder(a.Out).Encode(result{progress.Version, o.Node.Name(), o.Output.Refs, o.Output.Digest, places.Builders(o.Node.Name())}))
			continue
		}
		_, err := fmt.Fprintln(a.Out, strings.Join([]string{o.Node.Name(), ref, o.Output.Digest}, "\t"))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// A result is a line of `kiln build --json`, described in docs/json.md.
type result struct {
	Version    int      `json:"version"`
	Target     string   `json:"target"`
	References []string `json:"references"`
	Digest     string   `json:"digest,omitempty"`
	Builders   []string `json:"builders,omitempty"`
}
