// Command bench measures kiln, with buildx bake beside it on the same
// machine, and prints tables: how long it takes to plan from a hundred to
// thirty thousand targets, to start, and to find that everything is cached.
//
//	go run ./internal/bench -kiln bin/kiln
//
// Times are wall-clock, medians of -runs runs. Where a single measurement
// takes longer than -limit, it is made with fewer runs, and the table says
// with how many.
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
	"strings"
	"syscall"
	"time"
)

// buildxVersion is the one whose behaviour kiln follows.
const buildxVersion = "v0.38.2"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A bench is one run of this program.
type bench struct {
	out    io.Writer
	work   string   // temporary directory
	kiln   string   // absolute path
	buildx string   // absolute path
	env    []string // of what is measured
	runs   int
	limit  time.Duration
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	kiln := flags.String("kiln", "bin/kiln", "`path` of kiln")
	buildx := flags.String("buildx", "", "`path` of buildx; unless given, it is built into .cache/bin")
	runs := flags.Int("runs", 5, "runs of each measurement")
	limit := flags.Duration("limit", 3*time.Minute, "longest time for one measurement before it makes do with fewer runs")
	only := flags.String("only", "start,plan,build", "what to measure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := &bench{out: out, runs: *runs, limit: *limit}
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
	b.header(ctx)
	for _, part := range strings.Split(*only, ",") {
		measure := map[string]func(context.Context) error{"start": b.start, "plan": b.plan, "build": b.build}[part]
		if measure == nil {
			return fmt.Errorf("-only %s: want some of start, plan, build", part)
		}
		if err := measure(ctx); err != nil {
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

// findBuildx builds the buildx to compare with, once.
func findBuildx(ctx context.Context, path string) (string, error) {
	if path != "" {
		return filepath.Abs(path)
	}
	bin, err := filepath.Abs(".cache/bin")
	if err != nil {
		return "", err
	}
	path = filepath.Join(bin, "buildx-"+buildxVersion)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "building buildx %s, this once\n", buildxVersion)
	cmd := osexec.CommandContext(ctx, "go", "install", "-trimpath", "github.com/docker/buildx/cmd/buildx@"+buildxVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build buildx: %w", err)
	}
	return path, os.Rename(filepath.Join(bin, "buildx"), path)
}
