// Command bench measures kiln, with buildx bake beside it on the same
// machine and the same daemon, and prints tables: how long it takes to start,
// to plan up to thirty thousand targets, to find that everything is cached, to
// export what has not changed, to build what has, in small and large trees.
//
//	go run ./internal/bench -kiln bin/kiln [-only PART,...]
//
// Times are wall-clock, medians of -runs runs, of up to five times as many
// where they are short. Where a single measurement takes longer than -limit, it
// is made with fewer runs, and the table says with how many.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parts are what can be measured, in the order in which it is.
var parts = []struct {
	name    string
	measure func(*bench, context.Context) error
}{
	{"start", (*bench).start},
	{"plan", (*bench).plan},
	{"build", (*bench).build},
	{"stock", (*bench).stock},
	{"export", (*bench).export},
	{"change", (*bench).change},
	{"many", (*bench).many},
	{"cold", (*bench).cold},
	{"tree", (*bench).tree},
	{"images", (*bench).images},
}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// A bench is one run of this program.
type bench struct {
	out    io.Writer
	work   string   // temporary directory
	kiln   string   // absolute path
	buildx string   // absolute path
	env    []string // of what is measured
	runs   int
	limit  time.Duration // for one measurement
	steady time.Duration // what is over sooner is measured more often
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	kiln := flags.String("kiln", "bin/kiln", "`path` of kiln")
	buildx := flags.String("buildx", "", "`path` of buildx; unless given, it is built into .cache/bin")
	runs := flags.Int("runs", 5, "runs of each measurement")
	limit := flags.Duration("limit", 3*time.Minute, "longest time for one measurement before it makes do with fewer runs")
	only := flags.String("only", strings.Join(partNames(), ","), "what to measure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := &bench{out: out, runs: *runs, limit: *limit, steady: 2 * time.Second}
	if b.kiln, err = filepath.Abs(*kiln); err != nil {
		return err
	}
	if b.buildx, err = findBuildx(ctx, *buildx); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("", "kiln-bench-"); err != nil {
		return err
	}
	defer func() {
		if rmErr := os.RemoveAll(b.work); err == nil {
			err = rmErr
		}
	}()
	b.env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + b.work,
		"KILN_STATE_DIR=" + filepath.Join(b.work, "state"),
		"KILN_RUNTIME_DIR=" + filepath.Join(b.work, "run"),
	}
	b.env = append(b.env, "BUILDX_CONFIG="+filepath.Join(b.work, "buildx"), "BUILDX_BAKE_ENTITLEMENTS_FS=0")
	b.header(ctx)
	for _, part := range strings.Split(*only, ",") {
		i := slices.Index(partNames(), part)
		if i < 0 {
			return fmt.Errorf("-only %s: want some of %s", part, strings.Join(partNames(), ", "))
		}
		if err := parts[i].measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

// header says what was measured, and where.
func (b *bench) header(ctx context.Context) {
	for _, args := range [][]string{{b.kiln, "version"}, {b.buildx, "version"}} {
		cmd := osexec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = b.env
		text, err := cmd.Output()
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintln(b.out, strings.TrimSpace(string(text)))
	}
	load, _ := os.ReadFile("/proc/loadavg") // empty elsewhere than on Linux
	fmt.Fprintf(b.out, "%d CPUs, load %s\n", runtime.NumCPU(), strings.TrimSpace(string(load)))
}
