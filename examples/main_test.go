package examples

import (
	"bytes"
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// env is what the tests share: a kiln, and an engine with a state of its own.
type env struct {
	root  string // of the repository
	kiln  string // path of the binary
	state string // kiln's state directory
	vars  []string
}

var shared env // set once, by TestMain

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == servedCommand {
		os.Exit(servedMain(os.Args[2:]))
	}
	code, err := withEngine(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// withEngine makes what the examples need, runs the tests, and stops the
// engine that they started.
func withEngine(run func() int) (code int, err error) {
	ctx := context.Background()
	root, err := filepath.Abs("..")
	if err != nil {
		return 0, err
	}
	for _, args := range [][]string{{"make", "-s", "build", "tools"}, {"sh", "scripts/python.sh", ".cache/python"}} {
		if err := prepare(ctx, root, args); err != nil {
			return 0, err
		}
	}
	state, err := os.MkdirTemp("", "kiln-examples-")
	if err != nil {
		return 0, err
	}
	goroot, err := osexec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return 0, err
	}
	shared = env{root: root, kiln: filepath.Join(root, "bin", "kiln"), state: state}
	shared.vars = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + filepath.Join(state, "home"),
		"KILN_STATE_DIR=" + state,
		"KILN_RUNTIME_DIR=" + filepath.Join(state, "run"),
		"GOROOT=" + strings.TrimSpace(string(goroot)),
	}
	defer func() {
		stop := osexec.CommandContext(ctx, shared.kiln, "engine", "stop")
		stop.Env = shared.vars
		if out, stopErr := stop.CombinedOutput(); stopErr != nil && err == nil {
			err = fmt.Errorf("stop the engine: %w: %s", stopErr, out)
		}
		if rmErr := os.RemoveAll(state); err == nil {
			err = rmErr
		}
	}()
	return run(), nil
}

// prepare runs a command of the repository. What make told its own children
// does not concern this one.
func prepare(ctx context.Context, root string, args []string) error {
	cmd := osexec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = root
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MAKE") && !strings.HasPrefix(v, "MFLAGS") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// A built is what a successful kiln build said.
type built struct {
	refs   map[string]string // first reference by target; "" for a target without
	names  []string          // targets, as printed
	stdout string
	stderr string
	took   time.Duration
}

// build runs kiln build in a directory of the repository.
func build(t *testing.T, dir string, args ...string) built {
	t.Helper()
	return buildWith(t, nil, dir, args...)
}

func buildWith(t *testing.T, vars []string, dir string, args ...string) built {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := osexec.CommandContext(ctx, shared.kiln, append([]string{"build", "--progress=plain"}, args...)...)
	cmd.Dir = filepath.Join(shared.root, dir)
	cmd.Env = append(shared.vars[:len(shared.vars):len(shared.vars)], vars...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("kiln build %s in %s: %v\n%s", strings.Join(args, " "), dir, err, stderr.String())
	}
	b := built{refs: make(map[string]string), stdout: stdout.String(), stderr: stderr.String(), took: time.Since(start)}
	for line := range strings.Lines(b.stdout) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		ref, _, _ := strings.Cut(rest, "\t")
		if _, again := b.refs[name]; !again {
			b.refs[name], b.names = ref, append(b.names, name)
		}
	}
	return b
}
