package cli

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec/buildkit"
)

// engineCache runs f with a connection to kiln's own engine, which is started
// if it doesn't run: only it knows its cache.
func (a *app) engineCache(ctx context.Context, f func(*buildkit.Conn) error) error {
	b, err := a.reach(ctx, builderChoice{})
	if err != nil {
		return err
	}
	defer b.close()
	if err := f(b.conn); err != nil {
		return &exitError{code: codeFailed, err: err}
	}
	return nil
}

// A cacheUsage is what `kiln engine du --json` prints.
type cacheUsage struct {
	Version     int                    `json:"version"`
	Size        int64                  `json:"size"`        // bytes of all records listed
	Reclaimable int64                  `json:"reclaimable"` // bytes of those that no build holds
	Records     []buildkit.CacheRecord `json:"records"`
}

func engineDuCommand(a *app) *cobra.Command {
	var filters []string
	var asJSON, noTrunc bool
	c := &cobra.Command{
		Use:   "du",
		Short: "Tell what takes up space in the build cache",
		Long: `Tell what takes up space in the engine's build cache, the largest first. Images
are not in it: kiln store du tells of those.`,
		Example: "  kiln engine du\n  kiln engine du --filter type=source.local --filter until=24h",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			filter, err := parseCacheFilters(filters)
			if err != nil {
				return err
			}
			return a.engineCache(c.Context(), func(conn *buildkit.Conn) error {
				records, err := conn.CacheRecords(c.Context(), filter)
				if err != nil {
					return err
				}
				u := cacheUsage{Version: 1, Records: records}
				for _, r := range records {
					u.Size += r.Size
					if !r.InUse {
						u.Reclaimable += r.Size
					}
				}
				if asJSON {
					return writeJSON(a.Out, u)
				}
				return a.printCache(u, noTrunc, time.Now())
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "print a JSON object")
	f.BoolVar(&noTrunc, "no-trunc", false, "print IDs and descriptions in full")
	cacheFilterFlag(c, &filters)
	return c
}

// printCache prints a line a record, and on stderr the sum.
func (a *app) printCache(u cacheUsage, noTrunc bool, now time.Time) error {
	t := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tTYPE\tSIZE\tIN USE\tUSES\tLAST USED\tDESCRIPTION")
	for _, r := range u.Records {
		used := r.LastUsed
		if used.IsZero() {
			used = r.Created
		}
		id := r.ID
		if !noTrunc {
			id = id[:min(len(id), 12)]
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%t\t%d\t%s\t%s\n", id, r.Type, humanSize(r.Size), r.InUse, r.Uses, humanAge(used, now), oneLine(r.Description, noTrunc))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.Err, "%s, %s; `kiln engine prune` frees up to %s\n", count(len(u.Records), "record"), humanSize(u.Size), humanSize(u.Reclaimable))
	return nil
}

// A cachePrune is what `kiln engine prune --json` prints.
type cachePrune struct {
	Version int                    `json:"version"`
	Freed   int64                  `json:"freed"` // bytes
	Removed []buildkit.CacheRecord `json:"removed"`
}

func enginePruneCommand(a *app) *cobra.Command {
	var o buildkit.PruneOptions
	var filters []string
	var force, asJSON bool
	sizes := []struct {
		flag, value, doc string
		to               *int64
	}{
		{flag: "reserved-space", doc: "keep this `size` of the cache in any case, as 5GB", to: &o.Reserved},
		{flag: "max-used-space", doc: "remove no more than until the cache takes this `size`", to: &o.MaxUsed},
		{flag: "min-free-space", doc: "remove no more than until this `size` of the disk is free", to: &o.MinFree},
	}
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove what is in the build cache",
		Long: `Remove what is in the engine's build cache and no build holds: steps are run and
contexts sent anew after that. With sizes the longest unused goes first. Images
are not touched: kiln rm and kiln store gc remove those. A cache that is left
alone stays within its limit by itself (KILN_ENGINE_CACHE).`,
		Example: "  kiln engine prune --filter until=168h\n  kiln engine prune --force --max-used-space 10GB",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, s := range sizes {
				if s.value == "" {
					continue
				}
				n, err := units.FromHumanSize(s.value)
				if err != nil || n < 0 {
					return usagef("--%s=%q: want a size such as 20GB", s.flag, s.value)
				}
				*s.to = n
			}
			var err error
			if o.CacheFilter, err = parseCacheFilters(filters); err != nil {
				return err
			}
			if !force {
				if err := a.confirm(c.Context(), "Remove what is in the build cache?", "nothing was removed", "--force removes without a question"); err != nil {
					return err
				}
			}
			return a.enginePrune(c.Context(), o, asJSON)
		},
	}
	f := c.Flags()
	f.BoolVarP(&o.All, "all", "a", false, "remove what belongs to frontends and BuildKit itself, too")
	f.BoolVarP(&force, "force", "f", false, "don't ask")
	f.BoolVar(&asJSON, "json", false, "print a JSON object")
	for i := range sizes {
		f.StringVar(&sizes[i].value, sizes[i].flag, "", sizes[i].doc)
	}
	cacheFilterFlag(c, &filters)
	return c
}

func (a *app) enginePrune(ctx context.Context, o buildkit.PruneOptions, asJSON bool) error {
	out := cachePrune{Version: 1, Removed: []buildkit.CacheRecord{}}
	return a.engineCache(ctx, func(conn *buildkit.Conn) error {
		err := conn.Prune(ctx, o, func(r buildkit.CacheRecord) {
			out.Freed += r.Size
			out.Removed = append(out.Removed, r)
			if !asJSON {
				fmt.Fprintf(a.Out, "%s\t%d\n", r.ID, r.Size)
			}
		})
		if asJSON {
			return firstError(err, writeJSON(a.Out, out))
		}
		fmt.Fprintf(a.Err, "freed %s, %s\n", humanSize(out.Freed), count(len(out.Removed), "record"))
		return err
	})
}

func cacheFilterFlag(c *cobra.Command, to *[]string) {
	c.Flags().StringArrayVar(to, "filter", nil, "only records with `KEY=VALUE`: "+strings.Join(cacheFilters, ", ")+"; KEY~=PATTERN and KEY!=VALUE, too; several must all hold")
}

// cacheFilters are the keys of --filter: until takes a duration, id, type and
// description a value, the others none.
var cacheFilters = []string{"description", "id", "immutable", "inuse", "mutable", "private", "shared", "type", "until"}

// parseCacheFilters reads what --filter says, as buildx prune does.
func parseCacheFilters(specs []string) (buildkit.CacheFilter, error) {
	var f buildkit.CacheFilter
	for _, spec := range specs {
		key, value, valued := strings.Cut(spec, "=")
		op := "=="
		if k, ok := strings.CutSuffix(key, "!"); ok {
			key, op = k, "!="
		} else if k, ok := strings.CutSuffix(key, "~"); ok || key == "id" {
			key, op = k, "~="
		}
		switch {
		case !slices.Contains(cacheFilters, key):
			return f, usagef("--filter %q: there is no filter %q%s; there are %s", spec, key, didYouMean(key, cacheFilters), strings.Join(cacheFilters, ", "))
		case key == "until":
			d, err := time.ParseDuration(value)
			if err != nil || d <= 0 {
				return f, usagef("--filter %q: write for how long it was not used, as until=24h", spec)
			}
			f.Unused = max(f.Unused, d)
		case !slices.Contains([]string{"description", "id", "type"}, key):
			if valued {
				return f, usagef("--filter %q: %s takes no value", spec, key)
			}
			f.Terms = append(f.Terms, key)
		case value == "":
			return f, usagef("--filter %q: write %s=VALUE", spec, key)
		default:
			if _, err := regexp.Compile(value); err != nil && op == "~=" { // BuildKit would find nothing
				return f, usagef("--filter %q: %w", spec, err)
			}
			f.Terms = append(f.Terms, key+op+strconv.Quote(value))
		}
	}
	return f, nil
}
