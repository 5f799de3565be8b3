package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/engine"
	"github.com/kilnbuild/kiln/internal/startup"
)

func engineCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "engine",
		Short: "Look after kiln's own BuildKit",
		Long: `kiln's own BuildKit is a process that kiln starts when a build needs it and that
ends by itself when nobody has used it for a while. All builds of a user share
it, and its cache.`,
		Example: "  kiln engine status\n  kiln engine stop",
		Args:    unknownCommand,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(engineStatusCommand(a), engineStartCommand(a), engineStopCommand(a), engineLogsCommand(a),
		engineDuCommand(a), enginePruneCommand(a), engineServeCommand(a))
	return c
}

// engineOptions are those that the environment and the root's flags ask for.
func (a *app) engineOptions() (engine.Options, error) {
	o, err := engine.DefaultOptions(a.getenv)
	if err != nil {
		return o, noBuilder(err)
	}
	if v := currentVersion().Version; v != "" {
		o.Version = v
	}
	if a.debug {
		o.LogLevel = "debug"
	}
	return o, nil
}

func engineStatusCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "status",
		Short:   "Tell whether the engine runs, and how it is",
		Long:    "Tell whether the engine runs, and how it is. That it does not run is no failure:\na build starts it. The exit code is 3 if there is one that can't be used.",
		Example: "  kiln engine status\n  kiln engine status --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := a.engineOptions()
			if err != nil {
				return err
			}
			s, err := engine.Query(c.Context(), o)
			if err != nil {
				return noBuilder(err)
			}
			if asJSON {
				err = writeJSON(a.Out, s)
			} else {
				err = writeStatus(a.Out, o, s, time.Now())
			}
			if err == nil && s.Running && !s.Healthy {
				err = &exitError{code: codeNoBuilder, told: true}
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

// writeStatus prints a line a fact.
func writeStatus(w io.Writer, o engine.Options, s engine.Status, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s:\t%s\n", name, value)
		}
	}
	line("engine", state(s))
	if s.PID > 0 {
		line("process", fmt.Sprint(s.PID))
	}
	line("problem", s.Problem)
	line("version", s.Version)
	line("buildkit", s.BuildKit)
	if s.Healthy {
		line("started", fmt.Sprintf("%s (%s ago)", s.Started.Local().Format(time.DateTime), units.HumanDuration(now.Sub(s.Started))))
		line("in use by", fmt.Sprintf("%d", s.Uses))
		line("ends when idle", idleText(s.Idle))
		line("cache limit", units.HumanSize(float64(s.CacheMax)))
	}
	line("runtime", s.Runtime)
	line("snapshots", s.Snapshots)
	line("socket", s.Socket)
	line("state", o.StateDir)
	line("log", engine.Log(o))
	return t.Flush()
}

func state(s engine.Status) string {
	switch {
	case !s.Running:
		return "not running (a build starts it)"
	case !s.Healthy:
		return "not usable"
	case s.Rootless:
		return "running, rootless"
	}
	return "running"
}

func idleText(d time.Duration) string {
	if d == 0 {
		return "never"
	}
	return "after " + d.String()
}

func engineStartCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "start",
		Short:   "Start the engine, unless it runs",
		Example: "  kiln engine start\n  KILN_ENGINE_IDLE=0 kiln engine start   # and keep it",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := a.engineOptions()
			if err != nil {
				return err
			}
			e, err := engine.Connect(c.Context(), o)
			if err != nil {
				return noBuilder(err)
			}
			defer e.Close()
			what := "runs already"
			if e.Started {
				what = "started"
			}
			if e.Note != "" {
				fmt.Fprintln(a.Err, "note:", e.Note)
			}
			fmt.Fprintf(a.Err, "kiln's engine %s (process %d, BuildKit %s)\n", what, e.Status.PID, e.Status.BuildKit)
			return nil
		},
	}
}

func engineStopCommand(a *app) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:     "stop",
		Short:   "Stop the engine",
		Long:    "Stop the engine. It waits half a minute for builds that run, and then gives up with\nexit code 1; with --force it ends them, and an engine that doesn't answer.",
		Example: "  kiln engine stop\n  kiln engine stop --force",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := a.engineOptions()
			if err != nil {
				return err
			}
			before, err := engine.Query(c.Context(), o)
			if err != nil {
				return noBuilder(err)
			}
			if !force && isAtWork(c.Context(), o, before) {
				fmt.Fprintln(a.Err, "the engine is at work; waiting for its builds")
			}
			if err := engine.Stop(c.Context(), o, force); err != nil {
				if errors.Is(err, engine.ErrBusy) {
					return &exitError{code: codeFailed, err: err}
				}
				return noBuilder(err)
			}
			what := "kiln's engine has stopped"
			if !before.Running {
				what = "kiln's engine was not running"
			}
			fmt.Fprintln(a.Err, what)
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "end running builds, and an engine that doesn't answer")
	return c
}

// isAtWork reports whether the engine is in use, and still is a moment later:
// it may not have noticed yet that a kiln has ended. The moment is counted in
// its answers, and not by a clock: one that is held up notices nothing.
func isAtWork(ctx context.Context, o engine.Options, s engine.Status) bool {
	for range 30 {
		if s.Uses == 0 {
			return false
		}
		time.Sleep(10 * time.Millisecond)
		var err error
		if s, err = engine.Query(ctx, o); err != nil {
			return false // as Stop will tell
		}
	}
	return s.Uses > 0
}

func engineLogsCommand(a *app) *cobra.Command {
	var lines int
	var follow bool
	c := &cobra.Command{
		Use:     "logs",
		Short:   "Print the engine's log",
		Example: "  kiln engine logs -n 20\n  kiln engine logs --follow",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := a.engineOptions()
			if err != nil {
				return err
			}
			err = printLog(c.Context(), a.Out, engine.Log(o), lines, follow)
			if errors.Is(err, fs.ErrNotExist) {
				fmt.Fprintln(a.Err, "kiln's engine has no log yet:", engine.Log(o))
				return nil
			}
			if err != nil {
				return &exitError{code: codeFailed, err: err}
			}
			return nil
		},
	}
	f := c.Flags()
	f.IntVarP(&lines, "tail", "n", 0, "print the last `n` lines only; 0 is all")
	f.BoolVar(&follow, "follow", false, "go on printing what comes, until Ctrl-C")
	return c
}

// printLog prints the last lines of a file, and with follow what is appended
// later, until ctx ends. The engine puts a long log aside when it starts: the
// new one is then followed.
func printLog(ctx context.Context, w io.Writer, path string, lines int, follow bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if _, err := w.Write(lastLines(text, lines)); err != nil || !follow {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
		next, err := os.Open(path)
		if err != nil {
			continue // between two logs
		}
		if isSameFile(f, next) {
			next.Close()
			continue
		}
		f.Close()
		f = next
	}
}

func isSameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

// lastLines are the last n lines of text; all if n is 0.
func lastLines(text []byte, n int) []byte {
	if n <= 0 {
		return text
	}
	at := len(bytes.TrimSuffix(text, []byte("\n")))
	for ; n > 0 && at >= 0; n-- {
		at = bytes.LastIndexByte(text[:at], '\n')
	}
	return text[at+1:]
}

// engineServeCommand is the engine's own process. Connect starts it; a person
// may, to watch it.
func engineServeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "serve",
		Short:  "Be the engine, in the foreground",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := a.engineOptions()
			if err != nil {
				return err
			}
			if startup.Allowed(a.getenv) {
				startup.Now()
			}
			stop := keepStore(c.Context(), filepath.Join(o.StateDir, "images"), a.Err)
			defer stop()
			if err := engine.Serve(c.Context(), o); err != nil {
				return noBuilder(err)
			}
			return nil
		},
	}
}
