package buildkit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// A Glance is what a Dockerfile says by itself, before anybody has named its
// context, arguments or stage.
type Glance struct {
	Stages []string // names, in order; "" of a stage without one
	// Images are what it begins and copies from that is no stage of its own,
	// with the defaults of its arguments put in; each once, in order. What
	// depends on arguments without a default is left out, and so is scratch.
	Images []string
	// Sources are the files and patterns that it copies from the context, as
	// written but without a leading slash; what depends on arguments is left out.
	Sources []string
}

// GlanceAt reads the text of a Dockerfile. The error says why it is none.
func GlanceAt(text []byte) (Glance, error) {
	ast, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return Glance{}, err
	}
	stages, meta, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		return Glance{}, err
	}
	if len(stages) == 0 {
		return Glance{}, fmt.Errorf("it has no FROM")
	}
	g := &glancer{lex: shell.NewLex(ast.EscapeToken), env: metaArgs{}}
	for _, cmd := range meta {
		for _, arg := range cmd.Args {
			if arg.Value == nil {
				continue
			}
			if word, ok := g.word(*arg.Value); ok {
				g.env[arg.Key] = word
			}
		}
	}
	for i, st := range stages {
		g.Stages = append(g.Stages, st.Name)
		g.stage(stages[:i], st)
	}
	return g.Glance, nil
}

type glancer struct {
	Glance
	lex *shell.Lex
	env metaArgs
}

// word puts the values of arguments into a word; false if one has none.
func (g *glancer) word(s string) (string, bool) {
	res, err := g.lex.ProcessWordWithMatches(s, g.env)
	return res.Result, err == nil && len(res.Unmatched) == 0
}

func (g *glancer) stage(before []instructions.Stage, st instructions.Stage) {
	g.image(before, st.BaseName)
	for _, cmd := range st.Commands {
		switch c := cmd.(type) {
		case *instructions.CopyCommand:
			if c.From != "" {
				g.image(before, c.From)
				continue
			}
			g.sources(c.SourcePaths)
		case *instructions.AddCommand:
			g.sources(c.SourcePaths)
		case *instructions.RunCommand:
			for _, m := range instructions.GetMounts(c) {
				if m.From != "" {
					g.image(before, m.From)
				}
			}
		}
	}
}

func (g *glancer) image(before []instructions.Stage, name string) {
	ref, ok := g.word(name)
	if _, isStage := targetStage(before, ref); !ok || isStage || ref == "" || ref == "scratch" || slices.Contains(g.Images, ref) {
		return
	}
	g.Images = append(g.Images, ref)
}

func (g *glancer) sources(paths []string) {
	for _, p := range paths {
		if strings.Contains(p, "://") || strings.HasPrefix(p, "git@") || strings.Contains(p, "$") {
			continue
		}
		if p = strings.TrimPrefix(p, "/"); !slices.Contains(g.Sources, p) {
			g.Sources = append(g.Sources, p)
		}
	}
}
