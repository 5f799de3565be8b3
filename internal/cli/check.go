package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
)

// checkCommand is `kiln check`: all that can be known without building, of
// all files and all targets, asked for or not.
func checkCommand(a *app) *cobra.Command {
	var d definitionFlags
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the build files without building",
		Long: `Check everything that can be known without building: syntax, names, values,
cycles, and that the directories and Dockerfiles that targets name are there.
All files, all targets. Exit code 2 if something is wrong.`,
		Example: "  kiln check\n  kiln check -f docker-bake.hcl",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			def, err := a.load(c.Context(), d, nil)
			if err != nil {
				return err
			}
			return a.check(def)
		},
	}
	d.register(c.Flags())
	return c
}

func (a *app) check(def *definition) error {
	g, diags := graph.New(def.cfg)
	if g != nil {
		diags = append(diags, g.Check()...)
	}
	for _, t := range def.cfg.Targets {
		_, more := buildkit.Lower(t, buildkit.LowerOptions{})
		diags = append(diags, more...)
		if !strings.HasPrefix(t.Name, "_") { // those are there to be inherited from
			diags = append(diags, a.sourcesOf(t)...)
		}
	}
	a.tell(diags, def.files)
	if diags.HasErrors() {
		return &exitError{code: codeUsage, err: diags, told: true}
	}
	fmt.Fprintf(a.Err, "%s in %s: nothing wrong\n", count(len(def.cfg.Targets), "target"), count(len(def.files), "file"))
	return nil
}

// count is a number of things, in words.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
