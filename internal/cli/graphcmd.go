package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
	"github.com/kilnbuild/kiln/internal/picture"
)

// A drawFlags says how to draw a graph, and where to.
type drawFlags struct {
	format string // a picture.Format; "" goes by the name of the file, else is the tree
	output string // a file; "" and "-" are standard output
}

func (d *drawFlags) register(f *pflag.FlagSet, formats []string) {
	f.StringVar(&d.format, "format", "", "`"+formats[0]+"`, "+strings.Join(formats[1:], ", ")+"; without it, what the name of the output file ends in")
	f.StringVarP(&d.output, "output", "o", "", "write to a `file` in place of standard output")
}

// pictureFormats are the names of the formats.
func pictureFormats() []string {
	var out []string
	for _, f := range picture.Formats() {
		out = append(out, string(f))
	}
	return out
}

// formatEndings are the endings of file names that name a format.
var formatEndings = map[string]string{
	".txt": "tree", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid",
	".json": "json", ".svg": "svg", ".html": "html", ".htm": "html",
}

// settle checks the flags, and finds the format where none is named.
func (d *drawFlags) settle(formats []string) error {
	if d.format == "" {
		d.format = formats[0]
		if named := formatEndings[strings.ToLower(filepath.Ext(d.output))]; slices.Contains(formats, named) {
			d.format = named
		}
	}
	if !slices.Contains(formats, d.format) {
		return usagef("--format=%s: it is %s or %s%s", d.format,
			strings.Join(formats[:len(formats)-1], ", "), formats[len(formats)-1], didYouMean(d.format, formats))
	}
	return nil
}

// write has text written where the flags say.
func (d drawFlags) write(a *app, text []byte) error {
	if d.output == "" || d.output == "-" {
		_, err := a.Out.Write(text)
		return err
	}
	if err := os.WriteFile(a.path(d.output), text, 0o644); err != nil { //nolint:gosec // a document, for whoever may read the directory
		return usagef("-o %s: %w", d.output, cause(err))
	}
	return nil
}

// A graphOptions is `kiln graph` after its flags were read.
type graphOptions struct {
	definitionFlags
	drawFlags
	variant string
	all     bool
	bases   bool
}

func graphCommand(a *app) *cobra.Command {
	var o graphOptions
	c := &cobra.Command{
		Use:   "graph [TARGET...]",
		Short: "Draw what needs what",
		Long: `Draw the targets that kiln build would build with the same arguments, and what
they need: the contexts that they read, by name, and the targets that depends-on
has built first. Without a name it is the group or target called default; all
targets, where there is none.

  tree      for a terminal: each target once, marked where it comes again
  dot       for Graphviz: kiln graph --format=dot | dot -Tpng >graph.png
  mermaid   for Markdown, in a block that begins with ` + "```mermaid" + `
  json      nodes, edges and groups, see docs/json.md
  svg       a drawing
  html      a page to walk about in: search, attributes, what needs what. It is one
            file and asks for nothing; secrets are left out`,
		Example: "  kiln graph\n  kiln graph api --bases -o graph.html\n  kiln graph --all --format=mermaid",
		ValidArgsFunction: func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.targetNames(c.Context(), o.definitionFlags), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error { return a.graph(c.Context(), o, args) },
	}
	f := c.Flags()
	o.definitionFlags.register(f)
	o.drawFlags.register(f, pictureFormats())
	f.StringVar(&o.variant, "variant", "", "of every requested target that has variants, draw the one of this `name`")
	f.BoolVar(&o.all, "all", false, "draw all targets")
	f.BoolVar(&o.bases, "bases", false, "draw the images that the Dockerfiles begin from, too")
	return c
}

// graph is the flow of `kiln graph`.
func (a *app) graph(ctx context.Context, o graphOptions, args []string) error {
	restore := a.relaxGC()
	defer restore()
	if err := o.check(a, args); err != nil {
		return err
	}
	d, err := a.load(ctx, o.definitionFlags, nil)
	if err != nil {
		return err
	}
	names := o.names(d.cfg, args)
	if len(args) == 0 {
		names = a.whole(d, names)
	}
	g, err := a.selected(d, names, o.variant)
	if err != nil {
		return err
	}
	a.tell(unused(d, g), d.files)
	p := pictureOf(g, d.cfg)
	p.Title = titleOf(d)
	switch {
	case len(args) > 0:
		p.Roots = g.Groups()[0].Members // what the names and patterns mean
	case len(names) > 0:
		p.Roots = rootsOf(g, d.cfg, names)
	default:
		p.Roots = []string{"default"}
	}
	if o.bases {
		if err := a.addBases(ctx, &p, g); err != nil {
			return err
		}
	}
	format := picture.Format(o.format)
	if format == picture.HTML {
		a.addAttributes(&p, g)
	}
	var out bytes.Buffer
	color := a.colored(a.Out) && (o.output == "" || o.output == "-")
	if err := picture.Draw(&out, p, picture.Options{Format: format, Color: color}); err != nil {
		return err
	}
	return o.drawFlags.write(a, out.Bytes())
}

// check finds what the flags and arguments cannot mean.
func (o *graphOptions) check(a *app, args []string) error {
	if err := o.drawFlags.settle(pictureFormats()); err != nil {
		return err
	}
	source, _ := splitURLs(args)
	switch {
	case source.url != "":
		return usagef("kiln graph fetches nothing, and so not the definition %s; clone the repository and draw it there", diag.Redact(source.url))
	case o.all && len(args) > 0:
		return usagef("--all and names of targets exclude each other")
	case o.format == string(picture.HTML) && (o.output == "" || o.output == "-") && isTerminal(a.Out):
		return usagef("a page would fill the terminal: name a file with -o, as in -o graph.html")
	}
	return nil
}

// names returns the names to select; none are what is called default.
func (o *graphOptions) names(cfg *config.Config, args []string) []string {
	hasDefault := cfg.Group("default") != nil || cfg.Target("default") != nil
	if len(args) > 0 || !o.all && hasDefault {
		return args
	}
	var names []string
	for _, g := range cfg.Groups {
		names = append(names, g.Name)
	}
	for _, t := range cfg.Targets {
		if !strings.HasPrefix(t.Name, "_") { // those are there to be inherited from
			names = append(names, t.Name)
		}
	}
	return names
}

// whole returns the names, of all that are declared, that can be drawn, and
// tells of the others as a warning; all names if that is none.
func (a *app) whole(d *definition, names []string) []string {
	g, diags := graph.New(d.cfg)
	if diags.HasErrors() || len(names) == 0 {
		return names
	}
	if _, diags = g.Select(names...); !diags.HasErrors() {
		return names
	}
	var out []string
	for _, name := range names {
		if _, diags := g.Select(name); !diags.HasErrors() {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return names
	}
	for _, p := range diags {
		p.Severity = hcl.DiagWarning
	}
	a.tell(diags, d.files)
	return out
}

// rootsOf returns the groups that are in no other, and the targets that are in
// none and that nothing needs, of those names.
func rootsOf(g *graph.Graph, cfg *config.Config, names []string) []string {
	wanted, inside := map[string]bool{}, map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	var roots []string
	groups := slices.DeleteFunc(slices.Clone(cfg.Groups), func(group *config.Group) bool { return !wanted[group.Name] })
	for _, group := range groups {
		for _, m := range group.Members {
			if m != group.Name {
				inside[m] = true
			}
		}
	}
	for _, group := range groups {
		if !inside[group.Name] {
			roots = append(roots, group.Name)
		}
	}
	needers := g.Needers()
	for _, t := range cfg.Targets {
		n := g.Node(t.Name)
		if n != nil && !inside[t.Name] && cfg.Group(t.Name) == nil && len(needers(n)) == 0 {
			roots = append(roots, t.Name)
		}
	}
	return roots
}

// titleOf names a definition by its first file.
func titleOf(d *definition) string {
	if len(d.files) == 0 {
		return ""
	}
	return d.files[0].Name
}

// pictureOf draws all nodes of g, and the groups as they are declared that lead
// to them.
func pictureOf(g *graph.Graph, cfg *config.Config) picture.Picture {
	var p picture.Picture
	at := map[*graph.Node]int{}
	for i, n := range g.Nodes() {
		at[n] = i
		t := n.Target
		node := picture.Node{
			Name: t.Name, Description: t.Description, Variant: t.Variant, Requested: n.Requested,
			File: t.DeclRange.Filename, Line: t.DeclRange.Start.Line,
		}
		for _, e := range g.Edges(n) {
			node.Edges = append(node.Edges, pictureEdge(e, at[e.To]))
		}
		p.Nodes = append(p.Nodes, node)
	}
	for _, group := range g.Groups() {
		// Not the names of the command line, which come as a group default.
		if declared := cfg.Group(group.Name); declared != nil && group.DeclRange.Filename != "" {
			p.Groups = append(p.Groups, picture.Group{Name: group.Name, Description: group.Description, Members: declared.Members})
		}
	}
	return p
}

func pictureEdge(e graph.Edge, to int) picture.Edge {
	out := picture.Edge{To: to, Kind: picture.Context, Name: e.Context, File: e.Range.Filename, Line: e.Range.Start.Line}
	if e.After {
		out.Kind = picture.DependsOn
	}
	return out
}

// addBases puts the images that are no target's before the targets.
func (a *app) addBases(ctx context.Context, p *picture.Picture, g *graph.Graph) error {
	lower, _ := a.plainLowering()
	lower.Proxies, _ = buildkit.PlainProxies(targetsOf(g), lower.Proxies)
	seen, err := buildkit.Foresee(ctx, g, buildkit.ForeseeOptions{Dir: a.dir, Lower: lower})
	if err != nil {
		return err
	}
	hide := a.discretion()
	var images []picture.Node
	at := map[string]int{}
	edges := make([][]picture.Edge, len(p.Nodes))
	for i, n := range g.Nodes() {
		file, _ := dockerfilePath(n.Target)
		for _, b := range seen.Outlooks[i].Bases {
			if _, linked := contextTarget(n.Target, b.Context); linked || b.Ref == "scratch" {
				continue
			}
			ref := hide(b.Ref)
			if _, ok := at[ref]; !ok {
				at[ref] = len(images)
				images = append(images, picture.Node{Name: ref, Image: true})
			}
			e := picture.Edge{To: at[ref], Kind: picture.Base}
			if b.Line > 0 {
				e.File, e.Line = file, b.Line
			}
			edges[i] = append(edges[i], e)
		}
	}
	for i := range p.Nodes {
		for j := range p.Nodes[i].Edges {
			p.Nodes[i].Edges[j].To += len(images)
		}
		p.Nodes[i].Edges = append(p.Nodes[i].Edges, edges[i]...)
	}
	p.Nodes = append(images, p.Nodes...)
	return nil
}

// contextTarget returns the target that a named context of t reads.
func contextTarget(t *config.Target, name string) (string, bool) {
	for _, c := range t.Contexts {
		if from, ok := c.From.(config.FromTarget); ok && name != "" && c.Name == name {
			return from.Target, true
		}
	}
	return "", false
}

// addAttributes gives the nodes what their targets resolved to, without
// secrets.
func (a *app) addAttributes(p *picture.Picture, g *graph.Graph) {
	h := &hider{a: a, values: map[string]bool{}}
	attrs := map[string]*secretPart{}
	for _, n := range g.Nodes() {
		raw := config.PrintTarget(n.Target)
		part := secretPart{value: &raw}
		h.learn(part)
		attrs[n.Name()] = &part
	}
	h.ready()
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if part := attrs[n.Name]; part != nil && !n.Image {
			h.hide(*part)
			n.Attrs = *part.value
		}
		n.Description = h.text(n.Description)
	}
}

// shownCount is a number that may be too large to count.
func shownCount(n int64, what string) string {
	if n == maxCount {
		return fmt.Sprintf("more than %d %ss", maxCount-1, what)
	}
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
