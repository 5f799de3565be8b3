package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/diag"
)

// A buildersOptions is `kiln builders` after its flags were read.
type buildersOptions struct {
	json    bool
	timeout time.Duration
}

func buildersCommand(a *app) *cobra.Command {
	var o buildersOptions
	c := &cobra.Command{
		Use:   "builders",
		Short: "List what can build on this machine",
		Long: `List what can build here: kiln's own engine, Docker Engines and the contexts of the
Docker client, builders of buildx, BuildKit daemons. The one that a build would
use is marked. Nothing is started, and who does not answer in time is told so.`,
		Example: "  kiln builders\n  kiln builders use docker     choose the Docker Engine for good",
		Args:    unknownCommand,
		RunE:    func(c *cobra.Command, _ []string) error { return a.builders(c.Context(), o) },
	}
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "print a JSON object")
	f.DurationVar(&o.timeout, "timeout", 3*time.Second, "how long each may take to answer, as a `duration`")
	c.AddCommand(buildersUseCommand(a))
	return c
}

// A builderList is what `kiln builders --json` prints. Docs/builders.md has it.
type builderList struct {
	Version  int           `json:"version"`
	Builders []*builderRow `json:"builders"`
	// Chosen names what a build would use, and ChosenBy the flag, variable or
	// file that says so; "" is nobody.
	Chosen   []string `json:"chosen"`
	ChosenBy string   `json:"chosenBy,omitempty"`
	Config   string   `json:"config,omitempty"` // the user's configuration file, whether it is there or not
}

// A builderRow is a builder, or a node of a builder of buildx.
type builderRow struct {
	Name      string   `json:"name"` // as --builder takes it
	Node      string   `json:"node,omitempty"`
	Kind      string   `json:"kind"` // kiln, docker, buildx, buildkit or podman
	Address   string   `json:"address,omitempty"`
	Chosen    bool     `json:"chosen"`
	State     string   `json:"state"`              // ready, idle (a build starts it), unreachable or unusable
	Problem   string   `json:"problem,omitempty"`  // why it is not ready
	Version   string   `json:"version,omitempty"`  // of the Docker Engine
	BuildKit  string   `json:"buildkit,omitempty"` // version, where it tells
	Platforms []string `json:"platforms,omitempty"`
	Images    string   `json:"images,omitempty"` // where an image without an output goes
}

// The states of a builder.
const (
	stateReady       = "ready"
	stateIdle        = "idle"
	stateUnreachable = "unreachable"
	stateUnusable    = "unusable"
)

// builders is the flow of `kiln builders`.
func (a *app) builders(ctx context.Context, o buildersOptions) error {
	if o.timeout <= 0 {
		return usagef("--timeout=%s: it has to be more than nothing, as 3s", o.timeout)
	}
	chosen, chooseErr := a.choose(builderFlags{})
	list := &builderList{Version: 1, Chosen: []string{}}
	list.Config, _ = a.userConfigPath()
	found := a.findBuilders(chosen)
	if err := a.probeAll(ctx, found, o.timeout); err != nil {
		return err
	}
	for _, f := range found {
		list.Builders = append(list.Builders, &f.builderRow)
	}
	for _, c := range chosen {
		list.Chosen, list.ChosenBy = append(list.Chosen, c.label()), c.from
	}
	var err error
	if o.json {
		err = writeJSON(a.Out, list)
	} else {
		err = a.writeBuilders(list)
	}
	if chooseErr != nil { // told last: the list helps to mend it
		return chooseErr
	}
	return err
}

// writeBuilders prints the table, and for people how to choose.
func (a *app) writeBuilders(list *builderList) error {
	t := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, " \tNAME\tKIND\tSTATE\tADDRESS")
	for _, b := range list.Builders {
		mark := " "
		if b.Chosen {
			mark = "*"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", mark, strings.TrimSuffix(b.Name+"/"+b.Node, "/"), b.Kind, b.words(), diag.Redact(b.Address))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, b := range list.Builders {
		if b.Problem != "" {
			fmt.Fprintf(a.Err, "\n%s: %s\n", strings.TrimSuffix(b.Name+"/"+b.Node, "/"), a.discreet(b.Problem))
		}
	}
	fmt.Fprintf(a.Err, "\n%s\n", list.why())
	if list.Config != "" {
		fmt.Fprintf(a.Err, "To choose for good: kiln builders use NAME, which writes %s; for one run: kiln build --builder NAME\n", list.Config)
	}
	return nil
}

// words are a state for people.
func (b *builderRow) words() string {
	out := b.State
	if b.State == stateIdle {
		out = "not running (a build starts it)"
	}
	var more []string
	if b.Version != "" {
		more = append(more, "Docker "+b.Version)
	}
	if b.BuildKit != "" {
		more = append(more, "BuildKit "+b.BuildKit)
	}
	if b.Kind == kindDocker && b.Images != "" {
		more = append(more, b.Images)
	}
	if len(more) > 0 {
		out += ": " + strings.Join(more, ", ")
	}
	return out
}

// why says which builder is used, and who says so.
func (l *builderList) why() string {
	switch {
	case len(l.Chosen) == 0:
		return "Which builder a build would use cannot be told."
	case l.ChosenBy == "":
		return "A build uses kiln's own engine: neither a flag, nor the environment, nor the user's configuration says otherwise."
	case len(l.Chosen) == 1:
		return fmt.Sprintf("A build uses %s: %s says so.", l.Chosen[0], l.ChosenBy)
	}
	return fmt.Sprintf("A build is spread over %s: %s says so.", strings.Join(l.Chosen, ", "), l.ChosenBy)
}
