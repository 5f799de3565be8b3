package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// ordinary is the work of most tables.
var ordinary = work{targets: 200, shared: 1000, own: 5, groups: []int{1, 50, 200}}

// newWork writes a work into a directory of its own.
func (b *bench) newWork(name string, w work) (string, error) {
	dir := filepath.Join(b.work, name)
	return dir, w.write(dir, filepath.Join(filepath.Dir(b.kiln), "busybox"))
}

// A table compares the tools on one daemon.
type table struct {
	b   *bench
	d   daemon
	dir string
	t   *tabwriter.Writer
}

// compare prints a table about a work.
func (b *bench) compare(title string, d daemon, dir string, rows func(*table) error) error {
	fmt.Fprintf(b.out, "\n%s: median of %d; CPU of client and daemon together\n\n", title, b.runs)
	t := &table{b, d, dir, tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)}
	fmt.Fprintln(t.t, "\tkiln\tCPU\tmemory\tbake\tCPU\tmemory\tbake/kiln\tCPU\t\t")
	if err := rows(t); err != nil {
		return err
	}
	return t.t.Flush()
}

// row measures both tools.
func (t *table) row(ctx context.Context, name string, kiln, bake task) error {
	k, err := t.measure(ctx, kiln)
	if err != nil {
		return err
	}
	x, err := t.measure(ctx, bake)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, ms(k.wall), ms(k.cpu), mib(k.rss),
		ms(x.wall), ms(x.cpu), mib(x.rss), ratio(k.wall, x.wall), ratio(k.cpu, x.cpu), t.b.noteRuns(x))
	return nil
}

// A task is a command that is measured.
type task struct {
	args   []string
	before func(run int) error // what is done before each run, the filling one is 0; nil is nothing
}

// measure fills the cache with a first run, and measures the following ones.
// What the daemon has to do after a build belongs to it: the next one waits
// for that, and the daemon's CPU time, shared among the runs, is added to the
// client's.
func (t *table) measure(ctx context.Context, what task) (sample, error) {
	run := 0
	before := func() error {
		if err := t.d.settle(ctx); err != nil || what.before == nil {
			return err
		}
		run++
		return what.before(run)
	}
	if what.before != nil {
		if err := what.before(0); err != nil {
			return sample{}, err
		}
	}
	if _, err := t.b.once(ctx, t.dir, what.args); err != nil {
		return sample{}, err
	}
	if err := t.d.settle(ctx); err != nil {
		return sample{}, err
	}
	start, err := t.d.cpu()
	if err != nil {
		return sample{}, err
	}
	s, err := t.b.measure(ctx, t.dir, what.args, before)
	if err != nil {
		return sample{}, err
	}
	if err := t.d.settle(ctx); err != nil {
		return sample{}, err
	}
	after, err := t.d.cpu()
	s.cpu += (after - start) / time.Duration(s.runs)
	return s, err
}

// both measures the same arguments with both tools.
func (t *table) both(ctx context.Context, name string, args ...string) error {
	return t.row(ctx, name, task{args: t.d.kiln(t.b, args...)}, task{args: t.d.bake(t.b, args...)})
}

// build measures builds that find everything cached, on kiln's own engine,
// whose history is off.
func (b *bench) build(ctx context.Context) error {
	dir, err := b.newWork("build", ordinary)
	if err != nil {
		return err
	}
	return b.onEngine(ctx, func(d daemon) error {
		return b.compare("everything cached, on kiln's engine", d, dir, func(t *table) error {
			for _, n := range ordinary.groups {
				if err := t.both(ctx, fmt.Sprintf("%d targets", n), fmt.Sprintf("g%d", n)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// stock measures the same on a stock daemon as it comes.
func (b *bench) stock(ctx context.Context) error {
	dir, err := b.newWork("stock-work", ordinary)
	if err != nil {
		return err
	}
	return b.onStock(ctx, func(d daemon) error {
		return b.compare("everything cached, on a stock buildkitd", d, dir, func(t *table) error {
			return t.both(ctx, "200 targets", "g200")
		})
	})
}

// export measures the export of images that have not changed.
func (b *bench) export(ctx context.Context) error {
	dir, err := b.newWork("export", ordinary)
	if err != nil {
		return err
	}
	reg, err := serveRegistry()
	if err != nil {
		return err
	}
	defer reg.close()
	return b.onEngine(ctx, func(d daemon) error {
		return b.compare("200 unchanged images exported, on kiln's engine", d, dir, func(t *table) error {
			// Each tool has names of its own: they keep different provenance.
			pushes := func(tool string) []string {
				return b.setting("OUT=registry", "REGISTRY="+reg.host+"/"+tool)
			}
			kiln, bake := task{args: t.d.kiln(b, "g200")}, task{args: t.d.bake(b, "g200")}
			kiln.args = append(pushes("kiln"), kiln.args...)
			bake.args = append(pushes("bake"), bake.args...)
			if err := t.row(ctx, "to a registry", kiln, bake); err != nil {
				return err
			}
			kiln.args = append(b.setting("OUT=store"), t.d.kiln(b, "g200")...)
			bake.args = append(b.setting("OUT=layout", "DIR="+filepath.Join(b.work, "layouts")), t.d.bake(b, "g200")...)
			return t.row(ctx, "to kiln's store, to OCI layouts", kiln, bake)
		})
	})
}

// setting runs a command with variables set.
func (b *bench) setting(vars ...string) []string { return append([]string{"/usr/bin/env"}, vars...) }

// change measures what follows when one file of one target was written.
func (b *bench) change(ctx context.Context) error {
	dir, err := b.newWork("change", ordinary)
	if err != nil {
		return err
	}
	return b.onEngine(ctx, func(d daemon) error {
		return b.compare("one file of one target changed, on kiln's engine", d, dir, func(t *table) error {
			write := func(tool string) func(int) error {
				return func(run int) error {
					return os.WriteFile(filepath.Join(dir, "svc/t7/0/0.txt"), fmt.Appendf(nil, "%s %d\n", tool, run), 0o644)
				}
			}
			return t.row(ctx, "200 targets", task{d.kiln(b, "g200"), write("kiln")}, task{d.bake(b, "g200"), write("bake")})
		})
	})
}

// many measures how the time grows with the number of targets.
func (b *bench) many(ctx context.Context) error {
	w := work{targets: 1000, shared: 1000, own: 5, groups: []int{250, 500, 1000}}
	dir, err := b.newWork("many", w)
	if err != nil {
		return err
	}
	return b.onEngine(ctx, func(d daemon) error {
		fmt.Fprintf(b.out, "\nmany targets, everything cached, on kiln's engine: median of %d; CPU of client and daemon together\n\n", b.runs)
		t := &table{b, d, dir, tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)}
		fmt.Fprintln(t.t, "targets\tkiln\tCPU\tmemory\tper target\t")
		for _, n := range w.groups {
			k, err := t.measure(ctx, task{args: d.kiln(b, fmt.Sprintf("g%d", n))})
			if err != nil {
				return err
			}
			fmt.Fprintf(t.t, "%d\t%s\t%s\t%s\t%s\t\n", n, ms(k.wall), ms(k.cpu), mib(k.rss), ms(k.wall/time.Duration(n)))
		}
		return t.t.Flush()
	})
}

// tree measures targets whose files are parts of a tree of 100,000 files.
func (b *bench) tree(ctx context.Context) error {
	w := work{targets: 200, shared: 2000, own: 490, size: 4000, groups: []int{1, 200}}
	dir, err := b.newWork("tree", w)
	if err != nil {
		return err
	}
	return b.onEngine(ctx, func(d daemon) error {
		return b.compare("everything cached, in a tree of 100,000 files, on kiln's engine", d, dir, func(t *table) error {
			if err := t.both(ctx, "one of the targets", "g1"); err != nil {
				return err
			}
			return t.both(ctx, "200 targets", "g200")
		})
	})
}

// text of a list of names, for definitions.
func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }
