package cli

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
	planning "github.com/kilnbuild/kiln/internal/plan"
)

// A planOptions is `kiln plan` after its flags were read.
type planOptions struct {
	definitionFlags
	builderFlags
	short   shortFlags
	variant string

	sizes    string // a key of sizeModes
	listed   bool   // --files
	json     bool
	diff     string // a revision
	exitCode bool
	save     string // a file
}

// sizeModes are the values of --sizes.
var sizeModes = []string{"auto", "all", "none"}

func (o *planOptions) register(f *pflag.FlagSet) {
	o.definitionFlags.register(f)
	o.builderFlags.register(f)
	o.short.register(f)
	f.StringVar(&o.variant, "variant", "", "of every requested target that has variants, plan the one of this `name`")
	f.StringVar(&o.sizes, "sizes", "auto", fmt.Sprintf("count the files that would be sent: `auto` (up to %d of a directory), all or none", planning.MostFiles))
	f.BoolVar(&o.listed, "files", false, "list every file that would be sent")
	f.BoolVar(&o.json, "json", false, "print a JSON object")
	f.StringVar(&o.diff, "diff", "", "compare with the plan of another git `revision`")
	f.BoolVar(&o.exitCode, "exit-code", false, "with --diff: exit with 1 if the plans differ")
	f.StringVar(&o.save, "save", "", "write the plan to a `file` that kiln build --plan builds from")
}

func planCommand(a *app) *cobra.Command {
	var o planOptions
	c := &cobra.Command{
		Use:   "plan [TARGET...]",
		Short: "Show what would be built, in which order, from what, to where",
		Long: `Show what kiln build would do with the same arguments: the targets in waves,
and of each its Dockerfile and stage, what it reads and how much of that would
be sent, its base images, outputs and tags; and what is doubtful about it.

Nothing is started, fetched or built. What would be sent is what a builder asks
for that has none of it yet. Exit codes: 0 done; 1 with --exit-code, if the
plans differ; 2 bad usage or a bad file.`,
		Example: "  kiln plan\n  kiln plan api --diff main\n  kiln plan --save release.plan && kiln build --plan release.plan",
		ValidArgsFunction: func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.targetNames(c.Context(), o.definitionFlags), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.short.changed(c.Flags())
			for _, name := range []string{"diff", "save"} { // of a script's variable that is not set
				if f := c.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
					return usagef("--%s is empty", name)
				}
			}
			if err := o.check(args); err != nil {
				return err
			}
			return a.showPlan(c.Context(), o, args)
		},
	}
	o.register(c.Flags())
	return c
}

// check finds what the flags cannot mean.
func (o *planOptions) check(args []string) error {
	source, _ := splitURLs(args)
	switch {
	case !slices.Contains(sizeModes, o.sizes):
		return usagef("--sizes=%s: there is auto, all and none%s", o.sizes, didYouMean(o.sizes, sizeModes))
	case source.url != "":
		return usagef("kiln plan fetches nothing, and so not the definition %s; clone the repository and plan there, or see `kiln build --print`", diag.Redact(source.url))
	case o.diff != "" && o.save != "":
		return usagef("--diff and --save exclude each other: the one compares plans, the other keeps one")
	case o.diff != "" && o.listed:
		return usagef("--diff and --files exclude each other: plans are compared without the files that are sent")
	case o.exitCode && o.diff == "":
		return usagef("--exit-code needs --diff")
	case o.listed && o.sizes == "none":
		return usagef("--files and --sizes=none exclude each other")
	}
	return nil
}

// showPlan is the flow of `kiln plan`.
func (a *app) showPlan(ctx context.Context, o planOptions, args []string) error {
	restore := a.relaxGC()
	defer restore()
	if o.diff != "" {
		return a.diffPlans(ctx, o, args)
	}
	g, p, err := a.makePlan(ctx, o, args)
	if err != nil {
		return err
	}
	if o.save != "" {
		if err := a.savePlan(ctx, o.save, g, p); err != nil {
			return err
		}
	}
	if o.json {
		return writeJSON(a.Out, p)
	}
	fmt.Fprint(a.Out, p.Text(a.planText()))
	return nil
}

func (a *app) planText() planning.TextOptions {
	return planning.TextOptions{Color: a.colored(a.Out), Width: a.width(a.Out)}
}

// makePlan reads the definition and plans what the arguments name.
func (a *app) makePlan(ctx context.Context, o planOptions, args []string) (*graph.Graph, *planning.Plan, error) {
	d, err := a.planDefinition(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	g, err := a.selected(d, args, o.variant)
	if err != nil {
		return nil, nil, err
	}
	a.tell(unused(d, g), d.files)
	p, err := a.planOf(ctx, o, d, g)
	return g, p, err
}

// planDefinition reads the definition with what the short flags stand for.
func (a *app) planDefinition(ctx context.Context, o planOptions) (*definition, error) {
	short, err := o.short.overrides()
	if err != nil {
		return nil, usagef("%w", err)
	}
	return a.load(ctx, o.definitionFlags, short)
}

// planOf plans a graph of a definition.
func (a *app) planOf(ctx context.Context, o planOptions, d *definition, g *graph.Graph) (*planning.Plan, error) {
	lower, settings := a.plainLowering()
	lower.Proxies, _ = buildkit.PlainProxies(targetsOf(g), lower.Proxies)
	own, err := a.ownBuilder(o.builderFlags)
	if err != nil {
		return nil, err
	}
	options := buildkit.ForeseeOptions{Dir: a.dir, Policy: a.env["EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"], Lower: lower, Own: own}
	if !a.buildsInDocker(o.builderFlags) {
		if b := a.openBases(ctx); b != nil {
			defer b.Close()
			options.Bases = b
		}
	}
	seen, err := buildkit.Foresee(ctx, g, options)
	if err != nil {
		return nil, err
	}
	in := planning.Input{Dir: a.dir, Graph: g, Foresight: seen, Own: own, Hide: a.discretion(), Problems: a.planProblems(g, seen)}
	if settings != nil {
		in.Problems = append(in.Problems, &hcl.Diagnostic{Severity: hcl.DiagError, Detail: settings.Error() + "."})
	}
	for _, f := range d.files {
		in.Files = append(in.Files, f.Name)
	}
	if in.Lacking, err = a.planLacks(o, d, g); err != nil {
		return nil, err
	}
	if o.sizes != "none" && o.diff == "" {
		count, stop := a.counting(o)
		in.Count = count
		defer stop()
	}
	return planning.New(ctx, in)
}

// planLacks says what has to be granted before the targets can be built.
func (a *app) planLacks(o planOptions, d *definition, g *graph.Graph) ([]planning.Lack, error) {
	lacking, err := a.lacking(o.allow, targetsOf(g), d)
	var out []planning.Lack
	for _, n := range lacking {
		out = append(out, planning.Lack{Privilege: n.String(), Target: n.target, Why: n.why})
	}
	return out, err
}

// ownBuilder reports whether the builder would be kiln's own.
func (a *app) ownBuilder(b builderFlags) (bool, error) {
	choices, err := a.choose(b)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(choices, func(c builderChoice) bool { return c.addr != "" || c.docker != nil }), nil
}

// planProblems is what a build would tell before it begins.
func (a *app) planProblems(g *graph.Graph, seen *buildkit.Foresight) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for i, n := range g.Nodes() {
		if req := seen.Outlooks[i].Request; req != nil {
			diags = append(diags, a.policiesOf(n.Target, req)...)
		}
		if len(n.After) == 0 && n.Target.Call == "" {
			diags = append(diags, a.sourcesOf(n.Target)...)
		}
		diags = append(diags, a.secretsOf(n.Target)...)
	}
	return diags
}

// patience is how long files are counted before it is told how many there are.
const patience = time.Second

// counting says how to count, and tells on a terminal how it goes until stop.
func (a *app) counting(o planOptions) (c *planning.Counting, stop func()) {
	c = &planning.Counting{List: o.listed, Most: planning.MostFiles}
	if o.sizes == "all" || o.listed {
		c.Most = 0
	}
	if !isTerminal(a.Err) || a.env["TERM"] == "dumb" {
		return c, func() {}
	}
	began, told := time.Now(), time.Time{}
	c.Tick = func(files int64) {
		if now := time.Now(); now.Sub(began) > patience && now.Sub(told) > patience/5 {
			told = now
			fmt.Fprintf(a.Err, "\r%d files counted; --sizes=none does without", files)
		}
	}
	return c, func() {
		if !told.IsZero() {
			fmt.Fprint(a.Err, "\r\x1b[K")
		}
	}
}

// knownNames leaves out the names and patterns that a definition has nothing
// for.
func knownNames(d *definition, names []string) []string {
	var all, out []string
	for _, t := range d.cfg.Targets {
		all = append(all, t.Name)
	}
	for _, g := range d.cfg.Groups {
		all = append(all, g.Name)
	}
	for _, name := range names {
		pattern := strings.ReplaceAll(name, ".", "_")
		for _, have := range all {
			if ok, _ := path.Match(pattern, have); ok || pattern == have {
				out = append(out, name)
				break
			}
		}
	}
	return out
}
