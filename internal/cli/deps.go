package cli

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
	"github.com/kilnbuild/kiln/internal/picture"
)

// A depsOptions is `kiln deps` or `kiln rdeps` after its flags were read.
type depsOptions struct {
	definitionFlags
	drawFlags
	depth   int  // 0 is no limit
	reverse bool // rdeps
}

// depsFormats are list, and then the formats of pictures that stay of use in
// both directions.
func depsFormats() []string { return append([]string{"list"}, pictureFormats()...) }

func depsCommand(a *app) *cobra.Command {
	return a.depsCommand(depsOptions{}, &cobra.Command{
		Use:   "deps TARGET...",
		Short: "List what targets need",
		Long: `List the targets that the named ones need, directly or by way of others: those
that they read, and those that depends-on has built before them. One name a
line, each after what it needs itself, so in an order in which they could be
built; --format=tree says why. The named targets are not listed.`,
		Example: "  kiln deps api\n  kiln deps api --depth=1 --format=tree",
	})
}

func rdepsCommand(a *app) *cobra.Command {
	return a.depsCommand(depsOptions{reverse: true}, &cobra.Command{
		Use:   "rdeps TARGET...",
		Short: "List what needs targets",
		Long: `List the targets that need the named ones, directly or by way of others, of all
that the build files declare: what has to be built again when these change. One
name a line, each after what it needs itself; --format=tree says why. The named
targets are not listed.`,
		Example: "  kiln rdeps base\n  kiln build $(kiln rdeps base)",
	})
}

func (a *app) depsCommand(o depsOptions, c *cobra.Command) *cobra.Command {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("kiln %s: name a target or group; `kiln list` has them", c.Name())
		}
		return nil
	}
	c.ValidArgsFunction = func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.targetNames(c.Context(), o.definitionFlags), cobra.ShellCompDirectiveNoFileComp
	}
	c.RunE = func(c *cobra.Command, args []string) error { return a.deps(c.Context(), o, args) }
	f := c.Flags()
	o.definitionFlags.register(f)
	o.drawFlags.register(f, depsFormats())
	f.IntVar(&o.depth, "depth", 0, "go no further than this `number` of steps; 0 is no limit")
	return c
}

// deps is the flow of both commands.
func (a *app) deps(ctx context.Context, o depsOptions, args []string) error {
	restore := a.relaxGC()
	defer restore()
	if err := o.drawFlags.settle(depsFormats()); err != nil {
		return err
	}
	if o.depth < 0 {
		return usagef("--depth=%d is negative; 0 is no limit", o.depth)
	}
	d, err := a.load(ctx, o.definitionFlags, nil)
	if err != nil {
		return err
	}
	g, from, err := a.named(d, args)
	if err != nil {
		return err
	}
	far := graph.Reach(from, graph.Needs)
	if o.reverse {
		far = graph.Reach(from, g.Needers())
	}
	if o.depth > 0 {
		for n, distance := range far { // each for itself
			if distance > o.depth {
				delete(far, n)
			}
		}
	}
	var out bytes.Buffer
	if o.format == "list" {
		for _, n := range g.Nodes() {
			if distance, ok := far[n]; ok && distance > 0 {
				fmt.Fprintln(&out, n.Name())
			}
		}
		return o.write(a, out.Bytes())
	}
	p := o.picture(pictureOf(g, d.cfg), g, from, far)
	p.Title = titleOf(d)
	if o.format == string(picture.HTML) {
		a.addAttributes(&p, g)
	}
	color := a.colored(a.Out) && o.output == ""
	if err := picture.Draw(&out, p, picture.Options{Format: picture.Format(o.format), Color: color}); err != nil {
		return err
	}
	return o.write(a, out.Bytes())
}

// picture leaves the nodes that were reached in a picture of g, with the edges
// between them. The tree of what needs a target grows from needs to needers;
// the other formats have every edge as it is.
func (o depsOptions) picture(p picture.Picture, g *graph.Graph, from []*graph.Node, far map[*graph.Node]int) picture.Picture {
	p.Groups = nil
	at := make([]int, len(p.Nodes)) // place among those that stay
	var kept []picture.Node
	for i, n := range g.Nodes() {
		if _, ok := far[n]; !ok {
			at[i] = -1
			continue
		}
		at[i] = len(kept)
		node := p.Nodes[i]
		node.Requested = slices.Contains(from, n)
		kept = append(kept, node)
	}
	for i := range kept {
		var edges []picture.Edge
		for _, e := range kept[i].Edges {
			if e.To = at[e.To]; e.To >= 0 {
				edges = append(edges, e)
			}
		}
		kept[i].Edges = edges
	}
	p.Nodes = kept
	for _, n := range from {
		p.Roots = append(p.Roots, n.Name())
	}
	if o.reverse && o.format == string(picture.Tree) {
		p.Nodes = turned(p.Nodes)
	}
	return p
}

// turned returns nodes with their edges the other way round.
func turned(nodes []picture.Node) []picture.Node {
	out := slices.Clone(nodes)
	slices.Reverse(out)
	for i := range out {
		out[i].Edges = nil
	}
	last := len(nodes) - 1
	for i, n := range nodes {
		for _, e := range n.Edges {
			to := &out[last-e.To]
			e.To = last - i
			to.Edges = append(to.Edges, e)
		}
	}
	return out
}

// named links the whole definition and looks names up in it. What is wrong
// with targets that have nothing to do with them is not told.
func (a *app) named(d *definition, args []string) (*graph.Graph, []*graph.Node, error) {
	if i := slices.IndexFunc(args, buildkit.IsURL); i >= 0 {
		return nil, nil, usagef("%s: definitions of other machines are not fetched for this; clone the repository", diag.Redact(args[i]))
	}
	g, diags := graph.New(d.cfg)
	var nodes []*graph.Node
	if !diags.HasErrors() {
		found, more := g.Named(args...)
		nodes, diags = found, append(diags, more...)
	}
	if !diags.HasErrors() { // the links of these, and of what they need
		_, more := g.Select(args...)
		diags = append(diags, more...)
	}
	a.tell(diags, d.files)
	if diags.HasErrors() {
		return nil, nil, &exitError{code: codeUsage, err: diags, told: true}
	}
	if len(nodes) == 0 {
		return nil, nil, usagef("%s holds no target", strings.Join(args, ", "))
	}
	return g, nodes, nil
}
