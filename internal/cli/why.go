package cli

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/graph"
)

// maxCount is the number that stands for more than can be counted.
const maxCount = math.MaxInt64

// A whyOptions is `kiln why` after its flags were read.
type whyOptions struct {
	definitionFlags
	limit int
	json  bool
}

func whyCommand(a *app) *cobra.Command {
	var o whyOptions
	c := &cobra.Command{
		Use:   "why A B",
		Short: "Show every path by which one target needs another",
		Long: `Show each path from target A to target B: step by step what needs what, by which
context or depends-on, and where that is written. The shortest come first. Where
there are more than --limit, it is told how many. Either may be a group, which
stands for its members.

Exit codes: 0 there is a path; 1 there is none; 2 bad usage or a bad file.`,
		Example: "  kiln why api base\n  kiln why default base --limit=1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("kiln why takes two names: what needs, and what is needed, as in kiln why api base")
			}
			return nil
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.targetNames(c.Context(), o.definitionFlags), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error { return a.why(c.Context(), o, args[0], args[1]) },
	}
	f := c.Flags()
	o.definitionFlags.register(f)
	f.IntVar(&o.limit, "limit", 20, "show at most this `number` of paths")
	f.BoolVar(&o.json, "json", false, "print a JSON object")
	return c
}

// why is the flow of `kiln why`.
func (a *app) why(ctx context.Context, o whyOptions, needer, need string) error {
	restore := a.relaxGC()
	defer restore()
	if o.limit < 1 {
		return usagef("--limit=%d: at least one path has to be shown", o.limit)
	}
	d, err := a.load(ctx, o.definitionFlags, nil)
	if err != nil {
		return err
	}
	g, _, err := a.named(d, []string{needer, need})
	if err != nil {
		return err
	}
	from, _ := g.Named(needer)
	to, _ := g.Named(need)
	ways := g.Ways(from, to, o.limit)
	if o.json {
		err = writeJSON(a.Out, waysJSON(needer, need, ways))
	} else {
		_, err = a.Out.Write([]byte(waysText(ways)))
	}
	switch {
	case err != nil:
		return err
	case ways.Total == 0:
		return &exitError{code: codeFailed, err: fmt.Errorf("%s", noWay(g, from, to, [2]string{needer, need}))}
	case ways.Total > int64(len(ways.Paths)):
		fmt.Fprintf(a.Err, "the %s of %s; --limit shows more\n", shownCount(int64(len(ways.Paths)), "shortest path"), shownCount(ways.Total, "path"))
	}
	return nil
}

// noWay says that there is no path, and whether there is one the other way.
func noWay(g *graph.Graph, from, to []*graph.Node, names [2]string) string {
	if names[0] == names[1] {
		return fmt.Sprintf("%s and %s are the same", names[0], names[1])
	}
	text := fmt.Sprintf("%s does not need %s", names[0], names[1])
	if g.Ways(to, from, 1).Total > 0 {
		text += fmt.Sprintf("; it is the other way round, see kiln why %s %s", names[1], names[0])
	}
	return text
}

// waysText writes each path as lines, an empty line between paths.
func waysText(ways graph.Ways) string {
	var b strings.Builder
	for i, path := range ways.Paths {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintln(&b, path[0].From.Name())
		for j, e := range path {
			how := "reads it as " + e.Context
			if e.Context == e.To.Name() {
				how = "reads it"
			}
			if e.After {
				how = "depends-on"
			}
			fmt.Fprintf(&b, "%s└── %s  (%s, %s:%d)\n", strings.Repeat("    ", j), e.To.Name(), how, e.Range.Filename, e.Range.Start.Line)
		}
	}
	return b.String()
}

// The JSON form, described in docs/json.md.
type (
	whyAnswer struct {
		Version int         `json:"version"`
		From    string      `json:"from"`
		To      string      `json:"to"`
		Total   int64       `json:"total"` // math.MaxInt64 is that or more
		Paths   [][]whyStep `json:"paths"`
	}
	whyStep struct {
		From string `json:"from"`
		To   string `json:"to"`
		Kind string `json:"kind"`
		Name string `json:"name,omitempty"`
		File string `json:"file"`
		Line int    `json:"line"`
	}
)

func waysJSON(from, to string, ways graph.Ways) whyAnswer {
	out := whyAnswer{Version: 1, From: from, To: to, Total: ways.Total, Paths: [][]whyStep{}}
	for _, path := range ways.Paths {
		steps := []whyStep{}
		for _, e := range path {
			p := pictureEdge(e, 0)
			steps = append(steps, whyStep{e.From.Name(), e.To.Name(), string(p.Kind), p.Name, p.File, p.Line})
		}
		out.Paths = append(out.Paths, steps)
	}
	return out
}
