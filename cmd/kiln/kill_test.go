package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// patience bounds each wait for a kiln: far longer than any takes on a busy
// machine, and shorter than the steps that never end.
const patience = 2 * time.Minute

// slowBuild is a base made here, and a step that says so and then takes
// longer than any test.
const slowBuild = `
target "base" {
  contexts = { bin = BUSYBOX }
  dockerfile-inline = <<EOT
FROM scratch
COPY --from=bin busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
EOT
}
variable "BUSYBOX" {}
variable "SECONDS" { default = "300" }
target "default" {
  contexts = { base = "target:base" }
  args     = { SECONDS = SECONDS }
  output   = ["type=tar,dest=out.tar", "type=local,dest=out"]
  dockerfile-inline = <<EOT
FROM base
ARG SECONDS
RUN echo the step has begun; sleep $SECONDS; echo done > /done
EOT
}
`

// slow is a shell with slowBuild in its folder.
func slow(t *testing.T) *shell {
	t.Helper()
	s := newShell(t)
	s.env = append(s.env, "BUSYBOX="+filepath.Dir(testenv.Busybox(t)))
	s.write("build.hcl", slowBuild)
	return s
}

// A running is a kiln build under way.
type running struct {
	*osexec.Cmd
	t   *testing.T
	end chan error

	mu  sync.Mutex // guards out
	out bytes.Buffer
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(p)
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// build starts kiln build and waits until its slow step runs.
func (s *shell) build(args ...string) *running {
	s.t.Helper()
	r := s.start(args...)
	r.says("the step has begun\n")
	return r
}

// says waits until kiln has said this.
func (r *running) says(text string) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(r.text(), text); {
		if time.Now().After(deadline) {
			r.t.Fatalf("kiln does not say %q:\n%s", text, r.text())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// start starts kiln build.
func (s *shell) start(args ...string) *running {
	s.t.Helper()
	return s.begin(append([]string{"build", "--allow", "fs.read=*"}, args...)...)
}

// begin starts kiln.
func (s *shell) begin(args ...string) *running {
	s.t.Helper()
	kiln, _ := s.find("kiln")
	r := &running{Cmd: osexec.Command(kiln, args...), t: s.t, end: make(chan error, 1)}
	r.Dir, r.Env, r.Stdout, r.Stderr = s.dir, s.env, io.Discard, r
	if err := r.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { r.end <- r.Wait() }()
	s.t.Cleanup(func() { _ = r.Process.Kill() })
	return r
}

// find looks a program up in the shell's own PATH.
func (s *shell) find(name string) (string, bool) {
	for i := len(s.env) - 1; i >= 0; i-- {
		if path, ok := strings.CutPrefix(s.env[i], "PATH="); ok {
			dir, _, _ := strings.Cut(path, ":")
			return filepath.Join(dir, name), true
		}
	}
	return "", false
}

// ends waits for the build to end and returns its exit code.
func (r *running) ends() int {
	r.t.Helper()
	select {
	case <-r.end:
		return r.ProcessState.ExitCode()
	case <-time.After(patience):
		r.t.Fatalf("kiln has not ended after %v:\n%s", patience, r.text())
		return 0
	}
}

// works builds with a quick step and checks that nothing is left of the past.
func (s *shell) works() {
	s.t.Helper()
	out := s.run("SECONDS=0 kiln build --allow fs.read=\\* 2>&1")
	if !strings.Contains(out, "1 target") && !strings.Contains(out, "2 targets built") {
		s.t.Errorf("the next build does not work:\n%s", out)
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, "out", "done")); err != nil || string(text) != "done\n" {
		s.t.Errorf("the next build exported %q, %v", text, err)
	}
}

// nothingExported checks that a killed build exported nothing, not even in part.
func (s *shell) nothingExported() {
	s.t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "build.hcl" {
			s.t.Errorf("%s is left of a build that did not end well", e.Name())
		}
	}
}

func TestInterrupt(t *testing.T) {
	s := slow(t)
	r := s.build()
	if err := r.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := r.ends(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if !strings.Contains(r.text(), "interrupted") || !strings.Contains(r.text(), "cancelled") {
		t.Errorf("kiln does not tell of the interrupt:\n%s", r.text())
	}
	s.nothingExported()
	s.works()
}

func TestInterruptTwice(t *testing.T) {
	s := slow(t)
	r := s.build()
	for range 2 {
		if err := r.Process.Signal(syscall.SIGINT); err != nil && err != os.ErrProcessDone {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond)
	}
	r.ends()
	s.nothingExported()
	s.works()
}

func TestKillKiln(t *testing.T) {
	s := slow(t)
	r := s.build()
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.ends()
	s.works()
	s.run("kiln engine stop --force")
	if left := mounts(t, s.stateDir()); len(left) > 0 {
		t.Errorf("mounts are left: %v", left)
	}
}

func TestKillEngine(t *testing.T) {
	s := slow(t)
	r := s.build()
	if err := syscall.Kill(s.enginePID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := r.ends(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if !strings.Contains(r.text(), "daemon was lost") {
		t.Errorf("kiln does not tell that its engine is gone:\n%s", r.text())
	}
	s.nothingExported()
	s.works()
	s.run("kiln engine stop --force")
	if left := mounts(t, s.stateDir()); len(left) > 0 {
		t.Errorf("mounts are left: %v", left)
	}
}

// An engine that is to stop waits for its build, and says so; of one that was
// at work until just now nothing is said.
func TestStopWaits(t *testing.T) {
	s := slow(t)
	r := s.build()
	stop := s.begin("engine", "stop")
	stop.says("the engine is at work; waiting for its builds\n")
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if code := stop.ends(); code != 0 || !strings.HasSuffix(stop.text(), "kiln's engine has stopped\n") {
		t.Errorf("exit code %d:\n%s", code, stop.text())
	}
	s.works()
	if out := s.run("kiln engine stop"); out != "kiln's engine has stopped\n" {
		t.Errorf("after a build it says\n%s", out)
	}
}

// Two builds that begin together share one engine.
func TestTwoAtOnce(t *testing.T) {
	s := slow(t)
	s.env = append(s.env, "SECONDS=0")
	a, b := s.start("--set", "default.output=type=tar,dest=a.tar"), s.start("--set", "default.output=type=tar,dest=b.tar")
	if x, y := a.ends(), b.ends(); x != 0 || y != 0 {
		t.Errorf("exit codes %d and %d\n%s\n%s", x, y, a.text(), b.text())
	}
	for _, name := range []string{"a.tar", "b.tar"} {
		if _, err := os.Stat(filepath.Join(s.dir, name)); err != nil {
			t.Error(err)
		}
	}
	if engines := s.engines(); len(engines) != 1 {
		t.Errorf("engines run: %v, want 1", engines)
	}
}

// engines lists the processes of engines on the shell's state. One that an
// engine has begun, and that is no other program yet, is none.
func (s *shell) engines() (pids []string) {
	parents := map[string]string{}
	processes, _ := filepath.Glob("/proc/[0-9]*") // the only error is a bad pattern
	for _, dir := range processes {
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // gone meanwhile: not an engine
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
		_, rest, ok := strings.Cut(string(stat), ") ")
		if ok && bytes.Contains(cmdline, []byte("engine\x00serve")) && bytes.Contains(environ, []byte("KILN_STATE_DIR="+s.stateDir()+"\x00")) {
			parents[filepath.Base(dir)] = strings.Fields(rest)[1]
		}
	}
	for _, pid := range slices.Sorted(maps.Keys(parents)) {
		if _, child := parents[parents[pid]]; !child {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s *shell) stateDir() string {
	for _, e := range s.env {
		if dir, ok := strings.CutPrefix(e, "KILN_STATE_DIR="); ok {
			return dir
		}
	}
	s.t.Fatal("no state directory")
	return ""
}

func (s *shell) enginePID() int {
	s.t.Helper()
	var status struct {
		PID int `json:"pid"`
	}
	out := s.run("kiln engine status --json")
	if err := json.Unmarshal([]byte(out), &status); err != nil || status.PID == 0 {
		s.t.Fatalf("kiln engine status --json: %v\n%s", err, out)
	}
	return status.PID
}

// mounts lists what is mounted below dir.
func mounts(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir) {
			out = append(out, f[1])
		}
	}
	return out
}
