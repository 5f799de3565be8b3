package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
	"github.com/kilnbuild/kiln/internal/lint"
)

// A checkOptions is `kiln check` after its flags were read.
type checkOptions struct {
	definitionFlags
	format  string
	strict  string // "", "all", or "would-fail"
	disable []string
	rules   string // "", "all", or the name of a rule
}

// The values of --strict.
const (
	strictAll       = "all"
	strictWouldFail = "would-fail"
)

var strictness = []string{strictAll, strictWouldFail}

// checkFormats are the values of --format.
var checkFormats = []string{"text", "json", "sarif", "github"}

// checkCommand is `kiln check`: all that can be known without building, of
// all files and all targets, asked for or not.
func checkCommand(a *app) *cobra.Command {
	var o checkOptions
	c := &cobra.Command{
		Use:   "check",
		Short: "Check build files and Dockerfiles without building",
		Long: `Check everything that can be known without building, of all files and all
targets: syntax, names, values, cycles, that the directories and Dockerfiles
that targets name are there; what is most likely a mistake in the build files;
and BuildKit's own checks of every Dockerfile. No builder is needed.

An error is what kiln build --print refuses, and a Dockerfile that cannot be
read. What else a build would refuse, as a missing Dockerfile or a tag that is
none, is a warning: it may be otherwise where it is built. In CI,
--strict=would-fail fails for such warnings, and --strict for all.

Each rule has a name: --rules lists them, --rules=NAME explains one. A comment
turns it off for the line, or the block or attribute that begins there:

  variable "X" {} # kiln:ignore unused-variable -- the release script reads it

kiln:ignore-file turns it off for a file, kiln:disable in a build file and
--disable for all. In a Dockerfile BuildKit's # check=skip=NAME works too.

Exit codes: 0 done; 1 a Dockerfile that cannot be read, or something that
--strict fails for; 2 what --print refuses.`,
		Example: "  kiln check\n  kiln check --strict=would-fail --format=github\n  kiln check --rules=unused-argument",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("kiln check looks at all targets, and takes no names; `kiln build --check %s` checks the Dockerfiles of some", strings.Join(args, " "))
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return a.check(c.Context(), o) },
	}
	o.register(c.Flags())
	f := c.Flags()
	f.StringVar(&o.format, "format", "text", "how to tell what is found: `text` on standard error, or json, sarif or github on standard output")
	f.StringVar(&o.strict, "strict", "", "exit code 1 for warnings, too, or with =`would-fail` for those of what a build would refuse")
	f.Lookup("strict").NoOptDefVal = strictAll
	f.StringSliceVar(&o.disable, "disable", nil, "turn off these `rules`")
	f.StringVar(&o.rules, "rules", "", "list the rules and check nothing, or with =`NAME` explain one")
	f.Lookup("rules").NoOptDefVal = "all"
	_ = c.RegisterFlagCompletionFunc("strict", cobra.FixedCompletions(strictness, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(checkFormats, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("disable", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return lint.Names(), cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

// check is the flow of `kiln check`.
func (a *app) check(ctx context.Context, o checkOptions) error {
	if o.rules != "" {
		return a.showRules(o.rules)
	}
	if !slices.Contains(checkFormats, o.format) {
		return usagef("--format=%s: there are %s%s", o.format, strings.Join(checkFormats, ", "), didYouMean(o.format, checkFormats))
	}
	if o.strict != "" && !slices.Contains(strictness, o.strict) {
		return usagef("--strict=%s: there are %s%s", o.strict, strings.Join(strictness, ", "), didYouMean(o.strict, strictness))
	}
	for _, name := range o.disable {
		if known := lint.Names(); !slices.Contains(known, name) {
			return usagef("--disable %s: there is no such rule%s; `kiln check --rules` lists them", name, didYouMean(name, known))
		}
	}
	found, err := a.find(ctx, o)
	if err != nil {
		return err
	}
	if err := a.tellFound(o, found); err != nil {
		return err
	}
	return found.verdict(o.strict)
}

// A found is what a check has come to.
type found struct {
	lint.Report
	sources map[string][]byte // of the files that problems are in
	targets int
	files   int
	broken  bool // --print refuses the definition
}

// verdict is the error that the exit code comes of.
func (f *found) verdict(strict string) error {
	bad := slices.ContainsFunc(f.Problems, func(p lint.Problem) bool {
		return p.Severity == hcl.DiagError || strict == strictAll && p.Severity == hcl.DiagWarning || strict == strictWouldFail && p.WouldFail
	})
	switch {
	case f.broken:
		return &exitError{code: codeUsage, told: true}
	case bad:
		return &exitError{code: codeFailed, told: true}
	}
	return nil
}

// find looks for problems in everything.
func (a *app) find(ctx context.Context, o checkOptions) (*found, error) {
	f := &found{Report: lint.Report{Version: Version, Dir: a.dir}}
	if info, err := a.workTree(ctx).Info(); err == nil {
		f.Root = info.Root
	}
	files, in, err := a.sources(ctx, o.definitionFlags)
	var included hcl.Diagnostics
	if errors.As(err, &included) { // by an include block
		f.broken = true
		f.sources, f.files = diag.Files(files), len(files)
		f.Problems = lint.ReadIgnored(files).Without(problems(included), o.disable)
		return f, nil
	}
	if err != nil {
		return nil, a.definitionError(err, files)
	}
	f.sources, f.files = diag.Files(files), len(files)
	cfg, trace, diags := config.LoadTrace(files, in)
	if cfg == nil {
		f.broken = true
		f.Problems = lint.ReadIgnored(files).Without(problems(diags), o.disable)
		return f, nil
	}
	f.targets = len(cfg.Targets)
	diags = append(diags, unusedVars(&definition{cfg: cfg, files: files}, in.Vars)...)
	s := &lint.Subject{Files: files, Config: cfg, Trace: trace, Root: f.Root, Dir: a.dir, Real: linked}
	var refused hcl.Diagnostics
	g, more := graph.New(cfg)
	diags = append(diags, more...)
	if f.broken = diags.HasErrors(); g != nil {
		s.Graph = g
		refused = g.Check()
		if s.Examined, err = buildkit.Examine(ctx, g, buildkit.ForeseeOptions{Dir: a.dir}); err != nil {
			return nil, err
		}
	}
	templates := lint.Templates(s)
	for _, t := range cfg.Targets {
		_, more := buildkit.Lower(t, buildkit.LowerOptions{})
		refused = append(refused, more...)
		if n := nodeOf(g, t.Name); !templates[t.Name] && (n == nil || len(n.After) == 0) { // what it waits for may make the files
			refused = append(refused, a.sourcesOf(t)...)
		}
	}
	for _, x := range s.Examined {
		if x.Text != nil && x.Text.Path != "" {
			f.sources[x.Text.Path] = x.Text.Data
		}
	}
	f.Problems = lint.Run(s, append(problems(diags), wouldFail(refused)...), o.disable)
	return f, nil
}

// wouldFail makes problems of what a build would refuse, and --print takes.
func wouldFail(diags hcl.Diagnostics) []lint.Problem {
	out := problems(diags)
	for i, p := range out {
		if p.Severity == hcl.DiagError {
			p.Severity, out[i].WouldFail = hcl.DiagWarning, true // p.Diagnostic is shared
		}
	}
	return out
}

// nodeOf is the node of a target; nil if there is no graph.
func nodeOf(g *graph.Graph, name string) *graph.Node {
	if g == nil {
		return nil
	}
	return g.Node(name)
}

// sources reads what load evaluates. It tells nothing; an error of an include
// block is hcl.Diagnostics.
func (a *app) sources(ctx context.Context, d definitionFlags) ([]config.File, config.Inputs, error) {
	in, err := a.inputs(ctx, d, nil)
	if err != nil {
		return nil, in, err
	}
	fence, err := a.fence(d.allow, false)
	if err != nil {
		return nil, in, err
	}
	files, err := readDefinitions(fileOptions{names: d.files, dir: a.dir, getenv: a.lookupEnv, stdin: a.In, fence: fence})
	if err != nil {
		return files, in, err
	}
	in.Compose = fence.compose(files)
	return files, in, nil
}

// problems makes problems of diagnostics, named by their heads.
func problems(diags hcl.Diagnostics) []lint.Problem {
	var out []lint.Problem
	for _, d := range diags {
		out = append(out, lint.Problem{Rule: lint.Name(d.Summary), Diagnostic: d})
	}
	return out
}

// tellFound prints what was found, in the format that is wanted.
func (a *app) tellFound(o checkOptions, f *found) error {
	var err error
	switch o.format {
	case "json":
		_, err = a.Out.Write([]byte(a.discreet(string(lint.JSON(&f.Report, f.sources)))))
	case "sarif":
		_, err = a.Out.Write([]byte(a.discreet(string(lint.SARIF(&f.Report)))))
	case "github":
		_, err = a.Out.Write([]byte(a.discreet(string(lint.GitHub(&f.Report)))))
	default:
		a.tellText(f)
	}
	return err
}

func (a *app) tellText(f *found) {
	var diags hcl.Diagnostics
	named := slices.Concat(lint.Names(), []string{lint.DockerfileRule})
	rules := map[string]bool{}
	for _, p := range f.Problems {
		d := *p.Diagnostic
		if slices.Contains(named, p.Rule) {
			d.Summary += " [" + p.Rule + "]"
			rules[p.Rule] = true
		}
		if strings.Contains(p.Doc, "://") {
			d.Detail += "\nSee " + p.Doc
		}
		diags = append(diags, &d)
	}
	if len(diags) == 0 {
		fmt.Fprintf(a.Err, "%s in %s: nothing wrong\n", count(f.targets, "target"), count(f.files, "file"))
		return
	}
	text := diag.Text(diags, diag.Options{Sources: f.sources, Color: a.colored(a.Err), Width: a.width(a.Err)})
	fmt.Fprint(a.Err, a.discreet(text))
	if own := slices.DeleteFunc(slices.Sorted(maps.Keys(rules)), func(name string) bool { return lint.Find(name) == nil }); len(own) > 0 {
		fmt.Fprintf(a.Err, "\n`kiln check --rules=%s` says why, and how to turn it off.\n", own[0])
	}
}

// showRules lists the rules, or explains one.
func (a *app) showRules(name string) error {
	if name == "all" {
		_, err := a.Out.Write([]byte(lint.List()))
		return err
	}
	if r := lint.Find(name); r != nil {
		_, err := a.Out.Write([]byte(lint.PageOf(r)))
		return err
	}
	if slices.Contains(lint.Names(), name) {
		_, err := fmt.Fprintln(a.Out, lint.Elsewhere(name))
		return err
	}
	return usagef("--rules=%s: there is no such rule%s; `kiln check --rules` lists them", name, didYouMean(name, lint.Names()))
}

// count is a number of things, in words.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
