//go:build linux

package engine

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/sys/mountinfo"
	"github.com/tonistiigi/fsutil"
)

// The test binary is the engine when it is run as "engine serve": Connect
// executes it again.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "engine" && os.Args[2] == "serve" {
		os.Exit(serveMain())
	}
	if mode := os.Getenv("TEST_HELPER"); mode != "" {
		os.Exit(helperMain(mode))
	}
	os.Exit(testMain(m))
}

// testMain gives all tests, and the processes they start, one place for the
// step program.
func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kiln-step-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Setenv("TEST_STEP", dir)
	return m.Run()
}

func serveMain() int {
	o, err := DefaultOptions(os.Getenv)
	if err == nil {
		err = Serve(context.Background(), o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	return 0
}

// testRuntime is the OCI runtime of the tests: the one that the repository
// builds for itself, or the machine's.
func testRuntime(t *testing.T) string {
	t.Helper()
	asked := os.Getenv("KILN_RUNTIME")
	if asked == "" {
		beside, err := filepath.Abs("../../bin/runc")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(beside); err == nil {
			asked = beside
		}
	}
	path, err := findRuntime(t.Context(), asked)
	if err != nil {
		t.Fatalf("%v\nthe tests need it too: run scripts/runtime.sh bin", err)
	}
	return path
}

// newOptions are the options of an engine of the test's own. Whatever is left
// of it ends with the test.
func newOptions(t *testing.T) Options {
	t.Helper()
	return optionsIn(t, t.TempDir())
}

func optionsIn(t *testing.T, dir string) Options {
	t.Helper()
	o := Options{
		StateDir:     filepath.Join(dir, "state"),
		RuntimeDir:   filepath.Join(dir, "run"),
		Runtime:      testRuntime(t),
		Idle:         time.Minute,
		Entitlements: []string{"network.host"},
		LogLevel:     "info",
		Version:      "v1.0.0",
	}
	t.Cleanup(func() { cleanUp(t, o) })
	return o
}

// cleanUp ends the engine of o and fails the test if anything of it is left.
func cleanUp(t *testing.T, o Options) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := Stop(ctx, o, true); err != nil {
		t.Errorf("stop at the end: %v", err)
	}
	if t.Failed() {
		if b, err := os.ReadFile(Log(o)); err == nil {
			t.Logf("engine.log:\n%s", b)
		}
	}
	if _, err := os.Stat(o.root()); err != nil {
		return
	}
	if err := sweep(ctx, o.root(), ""); err != nil {
		t.Errorf("sweep at the end: %v", err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(o.root()))
	if err != nil || len(mounts) > 0 {
		t.Errorf("mounts are left: %v, %v", mounts, err)
	}
}

func connect(t *testing.T, o Options) *Engine {
	t.Helper()
	e, err := Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// newClient is BuildKit's client over an engine.
func newClient(t *testing.T, e *Engine) *client.Client {
	t.Helper()
	c, err := client.New(t.Context(), "", client.WithContextDialer(e.Dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// stepDir is a directory with the static program of testdata/step.
var stepDir = sync.OnceValues(func() (string, error) {
	dir := os.Getenv("TEST_STEP")
	path := filepath.Join(dir, "step")
	if _, err := os.Stat(path); err == nil { // in a helper
		return dir, nil
	}
	cmd := osexec.Command("go", "build", "-o", path, "./testdata/step")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build testdata/step: %w: %s", err, out)
	}
	return dir, nil
})

// A step is a RUN step for solve.
type step struct {
	args    []string
	options []llb.RunOption
}

func run(args ...string) step { return step{args: append([]string{"/step"}, args...)} }

// solve runs steps one after another on a root file system that holds nothing
// but the step program, and leaves what they left in the directory out.
// Started is called when a step prints; it may be nil.
func solve(ctx context.Context, c *client.Client, out string, started func(), steps ...step) error {
	dir, err := stepDir()
	if err != nil {
		return err
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		return err
	}
	state := llb.Scratch().File(llb.Copy(llb.Local("step", llb.SharedKeyHint("step")), "step", "/step"))
	for _, s := range steps {
		state = state.Run(append(s.options, llb.Args(s.args))...).Root()
	}
	def, err := state.Marshal(ctx)
	if err != nil {
		return err
	}
	status := make(chan *client.SolveStatus)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		for s := range status {
			if len(s.Logs) > 0 && started != nil {
				started()
				started = nil
			}
		}
	}()
	_, err = c.Solve(ctx, def, client.SolveOpt{
		LocalMounts: map[string]fsutil.FS{"step": files},
		Exports:     []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out}},
	}, status)
	<-followed
	return err
}

func mustSolve(t *testing.T, c *client.Client, steps ...step) (out string) {
	t.Helper()
	out = t.TempDir()
	if err := solve(t.Context(), c, out, nil, steps...); err != nil {
		t.Fatal(err)
	}
	return out
}

// solveUntilPrint begins a build, waits until a step of it prints, and returns
// a channel with its end.
func solveUntilPrint(t *testing.T, c *client.Client, steps ...step) <-chan error {
	t.Helper()
	printed, ended := make(chan struct{}), make(chan error, 1)
	out := t.TempDir()
	go func() {
		ended <- solve(context.WithoutCancel(t.Context()), c, out, func() { close(printed) }, steps...)
	}()
	select {
	case <-printed:
	case err := <-ended:
		t.Fatalf("the build ended before it printed: %v", err)
	case <-time.After(patience):
		t.Fatal("the build prints nothing")
	}
	return ended
}

// patience bounds each wait: far longer than any takes on a busy machine, and
// short enough for a hang to be told by the test that hangs.
const patience = time.Minute

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("%s: not within %s", what, patience)
}

func isGone(pid int) bool { return !isAlive(pid) }

// field is a line of /proc/PID/status.
func field(status, name string) string {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func TestConnectStartsAndStops(t *testing.T) {
	o := newOptions(t)
	e := connect(t, o)
	if !e.Started || e.Note != "" || e.Version() != o.Version {
		t.Errorf("got started %v, note %q, version %q", e.Started, e.Note, e.Version())
	}
	again := connect(t, o)
	if again.Started || again.Status.PID != e.Status.PID {
		t.Errorf("the second Connect got process %d (started %v), the first %d", again.Status.PID, again.Started, e.Status.PID)
	}
	info, err := newClient(t, e).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := info.BuildkitVersion.Package; got != "github.com/moby/buildkit" {
		t.Errorf("the engine is of package %q", got)
	}
	eventually(t, "two uses are left", func() bool { // the end of a request is counted after its answer
		s, err := Query(t.Context(), o)
		if err != nil || !s.Healthy || s.PID != e.Status.PID {
			t.Fatalf("Query: %+v, %v", s, err)
		}
		return s.Uses == 2
	})
	e.Close()
	again.Close()
	if err := Stop(t.Context(), o, false); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{o.socket(), recordPath(o)} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	eventually(t, "the process ends", func() bool { return isGone(e.Status.PID) })
	if s, err := Query(t.Context(), o); err != nil || s.Running {
		t.Errorf("after Stop: %+v, %v", s, err)
	}
	if err := Stop(t.Context(), o, false); err != nil {
		t.Errorf("Stop of none: %v", err)
	}
}

// TestRunning checks that Running finds an engine and starts none.
func TestRunning(t *testing.T) {
	o := newOptions(t)
	if e := Running(t.Context(), o); e != nil {
		t.Fatalf("there is an engine before one was started: %+v", e.Status)
	}
	e := connect(t, o)
	found := Running(t.Context(), o)
	if found == nil || found.Status.PID != e.Status.PID || found.Started {
		t.Fatalf("got %+v, want process %d", found, e.Status.PID)
	}
	found.Close()
	other := o
	other.Version += "-next"
	if found := Running(t.Context(), other); found != nil {
		t.Error("an engine of another version was taken")
	}
}

func TestRunIsUnderSeccomp(t *testing.T) {
	o := newOptions(t)
	out := mustSolve(t, newClient(t, connect(t, o)), run("status"), run("refused"))
	b, err := os.ReadFile(filepath.Join(out, "status"))
	if err != nil {
		t.Fatal(err)
	}
	if got := field(string(b), "Seccomp"); got != "2" {
		t.Errorf("Seccomp: %q, want 2 (filter)", got)
	}
	if _, err := os.Stat(filepath.Join(out, "refused")); err != nil {
		t.Error(err)
	}
}

// Who starts the engine with a narrow umask narrows nothing in images.
func TestUmaskIsNotTheUsers(t *testing.T) {
	old := syscall.Umask(0o077)
	t.Cleanup(func() { syscall.Umask(old) })
	o := newOptions(t)
	in := step{args: []string{"/step", "status"}, options: []llb.RunOption{llb.Dir("/made/by/engine")}}
	out := mustSolve(t, newClient(t, connect(t, o)), in)
	fi, err := os.Stat(filepath.Join(out, "made", "by"))
	if err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("the working directory: %v, %v", fi.Mode(), err)
	}
	if err := Stop(t.Context(), o, true); err != nil {
		t.Fatal(err)
	}
	e, err := InProcess(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	if now := syscall.Umask(0o077); now != 0o077 {
		t.Errorf("an engine in process leaves the umask %#o", now)
	}
}
