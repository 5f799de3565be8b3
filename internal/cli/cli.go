// Package cli is kiln's command line: it turns arguments into options, calls
// the packages that do the work, and turns results into output and an exit
// code. One file a command. Nothing below this package prints, exits, or
// reads flags or the environment.
//
// stdout is data, stderr is for people.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kilnbuild/kiln/internal/engine"
	"github.com/kilnbuild/kiln/internal/gitfacts"
)

// Streams are the three standard streams of a command.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Main runs the command that args name, without the program's own name, in
// the environment given as "NAME=value" entries, and returns the exit code.
func Main(ctx context.Context, args, environ []string, s Streams) int {
	return mainAt(ctx, time.Now, args, environ, s)
}

// mainAt is Main by a clock of definitions.
func mainAt(ctx context.Context, now func() time.Time, args, environ []string, s Streams) int {
	engine.Quiet()
	a, err := newApp(environ, s)
	if err != nil {
		fmt.Fprintln(s.Err, "ERROR:", err)
		return codeUsage
	}
	a.now = now
	a.args = args
	root := rootCommand(a)
	root.SetArgs(args)
	return a.report(ctx, root.ExecuteContext(ctx))
}

// An app is what every command has at hand.
type app struct {
	Streams
	env map[string]string
	dir string           // working directory, absolute
	now func() time.Time // of timestamp(); nil is time.Now

	args []string // of the command line, as they were given

	repo    *gitfacts.Repo // see workTree
	relaxed bool           // garbage is not collected, see relaxGC
	early   early          // an engine that was found while planning

	debug bool   // --debug
	color string // --color: auto, always, never
}

func newApp(environ []string, s Streams) (*app, error) {
	env := make(map[string]string, len(environ))
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok {
			env[k] = v
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	return &app{Streams: s, env: env, dir: dir}, nil
}

func (a *app) getenv(name string) string { return a.env[name] }

func (a *app) lookupEnv(name string) (string, bool) {
	v, ok := a.env[name]
	return v, ok
}

// isTerminal reports whether a stream is connected to a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// checkColor checks the value of --color.
func (a *app) checkColor() error {
	values := []string{"auto", "always", "never"}
	if !slices.Contains(values, a.color) {
		return usagef("--color=%s: colour is auto, always or never%s", a.color, didYouMean(a.color, values))
	}
	return nil
}

// colored reports whether text for w may carry colour.
func (a *app) colored(w io.Writer) bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return a.env["NO_COLOR"] == "" && a.env["TERM"] != "dumb" && isTerminal(w)
}

func rootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "kiln",
		Short: "Build every container image of a repository from one file",
		Long: `kiln builds every container image of a repository from one HCL file, what is
independent in parallel, with one shared layer cache.

Exit codes: 0 done; 1 a target failed; 2 bad usage or a bad file, nothing was
started; 3 no builder could be reached, or it was lost; 130 interrupted.`,
		Example: `  kiln build                 build the default group of the nearest build.hcl
  kiln build api --print     show what building api would do`,
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		Args:                       unknownCommand,
		PersistentPreRunE:          func(*cobra.Command, []string) error { return a.checkColor() },
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.BoolVarP(&a.debug, "debug", "D", false, "log more, to the engine's log and stderr")
	f.StringVar(&a.color, "color", "auto", "colour on `when`: auto, always or never")
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		buildCommand(a), planCommand(a), listCommand(a), checkCommand(a), engineCommand(a),
		versionCommand(a), completionCommand(a), reportCommand(a), whyRebuiltCommand(a), fmtCommand(a), explainCommand(a),
		imagesCommand(a), inspectCommand(a), historyCommand(a), rmCommand(a), storeCommand(a), tagCommand(a),
	)
	root.AddCommand(pushCommand(a), loadCommand(a), saveCommand(a), importCommand(a))
	root.AddCommand(graphCommand(a), depsCommand(a), rdepsCommand(a), whyCommand(a), initCommand(a))
	root.AddCommand(buildersCommand(a))
	root.AddCommand(helpTopics(a)...)
	return root
}

// unknownCommand is the argument check of the root command: whatever is left
// there is a command that does not exist.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() {
			names = append(names, append(s.Aliases, s.Name())...)
		}
	}
	return usagef("unknown command %q%s; `kiln help` lists the commands", args[0], didYouMean(args[0], names))
}

// report tells the user of an error, if there is one, and returns the code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return codeDone
	}
	var e *exitError
	if !errors.As(err, &e) {
		e = &exitError{code: codeUsage, err: err} // cobra's own: bad flags and arguments
	}
	if ctx.Err() != nil && e.code != codeDone {
		e = &exitError{code: codeInterrupted, err: e.err, told: e.told}
	}
	if !e.told && e.err != nil {
		fmt.Fprintf(a.Err, "ERROR: %s\n", a.discreet(e.err.Error()))
	}
	return e.code
}
