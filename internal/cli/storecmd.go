package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/store"
)

func storeCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "store",
		Short: "Look after kiln's image store",
		Long: `kiln's image store is an OCI image layout in kiln's state directory, which other
tools can read as it stands. Images never vanish from it by themselves; blobs
that no image leads to any more stay until kiln rm or kiln store gc.`,
		Example: "  kiln store du\n  kiln store gc",
		Args:    unknownCommand,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(storeDuCommand(a), storeGCCommand(a), storeVerifyCommand(a), storePathCommand(a))
	return c
}

func storePathCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "path",
		Short:   "Print the directory of the store",
		Example: "  skopeo inspect oci:$(kiln store path):docker.io/library/app:latest",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.storeDir()
			if err == nil {
				_, err = fmt.Fprintln(a.Out, dir)
			}
			return err
		},
	}
}

// A storeUsage is what `kiln store du --json` prints.
type storeUsage struct {
	Version   int    `json:"version"`
	Directory string `json:"directory"`
	store.Usage
}

func storeDuCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "du",
		Short:   "Tell what takes up space in the store",
		Example: "  kiln store du\n  kiln store du --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.storeDir()
			if err != nil {
				return err
			}
			out := storeUsage{Version: 1, Directory: dir}
			s, err := a.openStore()
			if err != nil {
				return err
			}
			if s != nil {
				if out.Usage, err = s.Usage(c.Context()); err != nil {
					return &exitError{code: codeFailed, err: err}
				}
			}
			if asJSON {
				return writeJSON(a.Out, out)
			}
			return a.printUsage(out)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

// printUsage prints a line a fact.
func (a *app) printUsage(u storeUsage) error {
	t := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "store:\t%s\n", u.Directory)
	fmt.Fprintf(t, "images:\t%d name%s, %s in %d blob%s\n", u.Images, plural(u.Images), humanSize(u.Size), u.Blobs, plural(u.Blobs))
	free := fmt.Sprintf("%s in %d blob%s", humanSize(u.Free), u.Garbage, plural(u.Garbage))
	if u.Free > 0 && u.Damaged == 0 {
		free += "; `kiln store gc` frees it"
	}
	if u.Spared > 0 && u.Damaged == 0 {
		free += fmt.Sprintf(", but for %s that something that runs may need", humanSize(u.Spared))
	}
	fmt.Fprintf(t, "garbage:\t%s\n", free)
	if u.Partial > 0 {
		fmt.Fprintf(t, "being written:\t%s in %d blob%s\n", humanSize(u.Pending), u.Partial, plural(u.Partial))
	}
	if u.Absent > 0 {
		fmt.Fprintf(t, "missing:\t%d blob%s; `kiln store verify` tells of which images\n", u.Absent, plural(u.Absent))
	}
	if u.Damaged > 0 {
		fmt.Fprintf(t, "damaged:\t%d image%s; `kiln images` tells which, and nothing is collected before they are built again or removed\n", u.Damaged, plural(u.Damaged))
	}
	fmt.Fprintf(t, "lists and records:\t%s\n", humanSize(u.Overhead))
	return t.Flush()
}

// A storeGarbage is what `kiln store gc --json` prints.
type storeGarbage struct {
	Version int          `json:"version"`
	DryRun  bool         `json:"dryRun,omitempty"`
	Freed   int64        `json:"freed"`
	Removed []store.Blob `json:"removed"`
	Spared  []store.Blob `json:"spared"`
}

func storeGCCommand(a *app) *cobra.Command {
	var o store.GCOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "gc",
		Short: "Remove the blobs that no image leads to",
		Long: `Remove the blobs that no image in the store leads to: of images that were removed,
or whose name a newer image has taken, and of builds that did not end. What a
running build, push or save may need stays. Names are never removed.`,
		Example: "  kiln store gc\n  kiln store gc --dry-run",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.MinAge < 0 {
				return usagef("--min-age can't be negative: %s", o.MinAge)
			}
			return a.storeGC(c.Context(), o, asJSON)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.DryRun, "dry-run", false, "remove nothing, only tell")
	f.DurationVar(&o.MinAge, "min-age", 0, "leave blobs that were written less than this `duration` ago; for when tools other than kiln are writing into the store")
	f.BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

func (a *app) storeGC(ctx context.Context, o store.GCOptions, asJSON bool) error {
	s, err := a.openStore()
	if err != nil {
		return err
	}
	var g store.Garbage
	if s != nil {
		g, err = s.GC(ctx, o)
	}
	if asJSON {
		err = firstError(err, writeJSON(a.Out, storeGarbage{1, o.DryRun, g.Size(), append([]store.Blob{}, g.Removed...), append([]store.Blob{}, g.Spared...)}))
	} else {
		for _, b := range g.Removed {
			fmt.Fprintf(a.Out, "%s\t%d\n", b.Digest, b.Size)
		}
		switch {
		case o.DryRun && len(g.Removed) > 0:
			fmt.Fprintf(a.Err, "would free %s, %d blob%s\n", humanSize(g.Size()), len(g.Removed), plural(len(g.Removed)))
		case len(g.Removed)+len(g.Spared) == 0 && err == nil:
			fmt.Fprintln(a.Err, "there is no garbage")
		default:
			a.tellFreed(g)
		}
	}
	if err != nil {
		return &exitError{code: codeFailed, err: err}
	}
	return nil
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// A storeCheckup is what `kiln store verify --json` prints.
type storeCheckup struct {
	Version int `json:"version"`
	store.Checkup
}

func storeVerifyCommand(a *app) *cobra.Command {
	var repair, asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Compare every blob of the store with its digest",
		Long: `Compare every blob of the store with its digest, and look whether all that the
images lead to is there. The exit code is 1 if something is wrong.

With --repair damaged blobs are removed, so that the next build or import of
their images writes them anew.`,
		Example: "  kiln store verify\n  kiln store verify --repair",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.storeVerify(c.Context(), repair, asJSON)
		},
	}
	c.Flags().BoolVar(&repair, "repair", false, "remove damaged blobs")
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

func (a *app) storeVerify(ctx context.Context, repair, asJSON bool) error {
	s, err := a.openStore()
	if err != nil {
		return err
	}
	out := storeCheckup{Version: 1, Checkup: store.Checkup{Faults: []store.Fault{}}}
	began := time.Now()
	if s != nil {
		if out.Checkup, err = s.Check(ctx); err == nil && repair {
			err = s.Repair(ctx, out.Faults)
		}
	}
	if err != nil {
		return &exitError{code: codeFailed, err: err}
	}
	if asJSON {
		if err := writeJSON(a.Out, out); err != nil {
			return err
		}
	} else {
		a.printCheckup(out.Checkup, repair, time.Since(began))
	}
	if len(out.Faults) > 0 {
		return &exitError{code: codeFailed, told: true}
	}
	return nil
}

func (a *app) printCheckup(c store.Checkup, repair bool, took time.Duration) {
	removed := 0
	for _, f := range c.Faults {
		whose := "no image"
		if len(f.Images) > 0 {
			var names []string
			for _, name := range f.Images {
				names = append(names, cmp.Or(familiar(name), "-"))
			}
			whose = strings.Join(names, ", ")
		}
		fmt.Fprintf(a.Out, "%s\t%s\t%s\n", cmp.Or(f.Digest, "-"), f.Reason, whose)
		if f.Removed {
			removed++
		}
	}
	read := fmt.Sprintf("%d name%s, %d blob%s, %s read in %s", c.Images, plural(c.Images), c.Blobs, plural(c.Blobs), humanSize(c.Size), took.Round(time.Millisecond))
	switch {
	case len(c.Faults) == 0:
		fmt.Fprintf(a.Err, "%s: all is well\n", read)
	case removed > 0:
		fmt.Fprintf(a.Err, "%s: %d fault%s, %d blob%s removed; build the images again to have them whole\n", read, len(c.Faults), plural(len(c.Faults)), removed, plural(removed))
	case repair: // what is missing, or not what a list says of it
		fmt.Fprintf(a.Err, "%s: %d fault%s; build or import the images again, or remove them\n", read, len(c.Faults), plural(len(c.Faults)))
	default:
		fmt.Fprintf(a.Err, "%s: %d fault%s; `kiln store verify --repair` removes damaged blobs, and the next build of the images writes them anew\n", read, len(c.Faults), plural(len(c.Faults)))
	}
}
