package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// The build that is measured: targets of one Dockerfile with another argument
// each, in one context, with files that all share and files of their own.
// Everything is cached; what is left is what asking costs.

const (
	buildMost   = 200  // targets
	sharedFiles = 1000 // files that every target copies
	ownFiles    = 5    // files of each target
	ticksPerSec = 100  // of /proc/PID/stat; the same on every Linux that Go runs on
)

const buildDockerfile = `FROM scratch
COPY --chmod=755 busybox /bin/busybox
ARG NAME
COPY shared /shared
COPY svc/$NAME /svc
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox echo $NAME > /name"]
`

// build measures builds that find everything cached, on kiln's own engine.
func (b *bench) build(ctx context.Context) (err error) {
	dir := filepath.Join(b.work, "build")
	if err := writeBuild(dir, filepath.Join(filepath.Dir(b.kiln), "busybox")); err != nil {
		return err
	}
	e, err := b.startEngine(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if _, stopErr := b.once(ctx, dir, []string{b.kiln, "engine", "stop"}); err == nil {
			err = stopErr
		}
	}()
	if _, err := b.once(ctx, dir, []string{b.buildx, "create", "--name", "bench", "--driver", "remote", "unix://" + e.socket}); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\nbuilding what is cached, on one engine: median of %d; CPU of client and engine together\n\n", b.runs)
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "targets\tkiln\tCPU\tbake\tCPU\tbake/kiln\tCPU\t\t")
	for _, n := range []int{1, 50, buildMost} {
		if err := b.buildRow(ctx, t, e, dir, n); err != nil {
			return err
		}
	}
	return t.Flush()
}

func (b *bench) buildRow(ctx context.Context, t *tabwriter.Writer, e engine, dir string, n int) error {
	group := fmt.Sprintf("g%d", n)
	kiln := []string{b.kiln, "build", "--progress=quiet", group}
	bake := []string{b.buildx, "bake", "--builder", "bench", "--progress=quiet", group}
	k, err := b.cached(ctx, e, dir, kiln)
	if err != nil {
		return err
	}
	x, err := b.cached(ctx, e, dir, bake)
	if err != nil {
		return err
	}
	fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", n,
		ms(k.wall), ms(k.cpu), ms(x.wall), ms(x.cpu), ratio(k.wall, x.wall), ratio(k.cpu, x.cpu), b.noteRuns(x))
	return nil
}

// cached fills the cache with a first build, and measures the following ones.
// The engine's CPU time, shared among the runs, is added to the client's.
func (b *bench) cached(ctx context.Context, e engine, dir string, args []string) (sample, error) {
	if _, err := b.once(ctx, dir, args); err != nil {
		return sample{}, err
	}
	if err := e.settle(ctx); err != nil {
		return sample{}, err
	}
	before, err := e.cpu()
	if err != nil {
		return sample{}, err
	}
	s, err := b.measure(ctx, dir, args)
	if err != nil {
		return sample{}, err
	}
	if err := e.settle(ctx); err != nil { // what a build left it to do belongs to the build
		return sample{}, err
	}
	after, err := e.cpu()
	s.cpu += (after - before) / time.Duration(s.runs)
	return s, err
}

// writeBuild makes the context and the definition.
func writeBuild(dir, busybox string) error {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("%w; scripts/busybox.sh puts one beside kiln", err)
	}
	files := map[string]string{
		"Dockerfile":      buildDockerfile,
		"busybox":         string(program),
		"docker-bake.hcl": buildDefinition(),
	}
	for i := range sharedFiles {
		files[fmt.Sprintf("shared/%d/%d.txt", i%20, i)] = fmt.Sprintf("shared %d\n", i)
	}
	for i := range buildMost {
		for j := range ownFiles {
			files[fmt.Sprintf("svc/t%d/%d.txt", i, j)] = fmt.Sprintf("%d of %d\n", j, i)
		}
	}
	for name, text := range files { // in any order: each file by itself
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func buildDefinition() string {
	var text strings.Builder
	for _, n := range []int{1, 50, buildMost} {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("\"t%d\"", i))
		}
		fmt.Fprintf(&text, "group \"g%d\" {\n  targets = [%s]\n}\n", n, strings.Join(names, ", "))
	}
	for i := range buildMost {
		fmt.Fprintf(&text, "target \"t%d\" {\n  args = { NAME = \"t%d\" }\n  output = [\"type=cacheonly\"]\n}\n", i, i)
	}
	return text.String()
}

// An engine is kiln's own, running.
type engine struct {
	pid    int
	socket string
}

func (b *bench) startEngine(ctx context.Context) (engine, error) {
	if _, err := b.once(ctx, b.work, []string{b.kiln, "engine", "start"}); err != nil {
		return engine{}, err
	}
	cmd := osexec.CommandContext(ctx, b.kiln, "engine", "status", "--json")
	cmd.Env = b.env
	out, err := cmd.Output()
	if err != nil {
		return engine{}, err
	}
	var status struct {
		PID    int    `json:"pid"`
		Socket string `json:"socket"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return engine{}, err
	}
	if status.PID == 0 || status.Socket == "" {
		return engine{}, fmt.Errorf("kiln engine status tells neither process nor socket: %s", out)
	}
	return engine{pid: status.PID, socket: status.Socket}, nil
}

// cpu is the time that the engine has used so far.
func (e engine) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.pid))
	if err != nil {
		return 0, err
	}
	// After the name, in parentheses, come state and then numbers; proc(5)
	// counts user time as the 14th field, the name as the second.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSec, nil
}

// settle waits until the engine has nothing left to do, a minute at most.
func (e engine) settle(ctx context.Context) error {
	last, err := e.cpu()
	if err != nil {
		return err
	}
	for range 60 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
		now, err := e.cpu()
		if err != nil {
			return err
		}
		if now-last < 50*time.Millisecond {
			return nil
		}
		last = now
	}
	return nil
}
