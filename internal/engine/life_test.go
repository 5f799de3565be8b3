//go:build linux

package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/sys/mountinfo"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/kilnbuild/kiln/internal/testenv/freeze"
)

func TestStartsAtOnceGiveOneEngine(t *testing.T) {
	for round := range 2 {
		o := newOptions(t)
		o.Idle = 5 * patience // the first may be done long before the last begins
		const kilns = 6
		var wg sync.WaitGroup
		answers, errs := make([]answer, kilns), make([]error, kilns)
		for i := range kilns {
			wg.Go(func() { answers[i], errs[i] = ask(t, helper(o, "connect")) })
		}
		wg.Wait()
		started := 0
		for i, a := range answers {
			if errs[i] != nil || a.Error != "" {
				t.Fatalf("round %d, kiln %d: %v %s", round, i, errs[i], a.Error)
			}
			if a.Status.PID != answers[0].Status.PID {
				t.Errorf("round %d: kilns got engines %d and %d", round, a.Status.PID, answers[0].Status.PID)
			}
			if a.Started {
				started++
			}
		}
		if started != 1 {
			t.Errorf("round %d: %d kilns started an engine", round, started)
		}
	}
}

func TestEngineIsDetachedAndHealthy(t *testing.T) {
	o := newOptions(t)
	e := connect(t, o)
	conn, err := dialService(t.Context(), o.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", h, err)
	}
	pid := e.Status.PID
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != "/" {
		t.Errorf("it works in %q, %v", cwd, err)
	}
	for _, fd := range []int{1, 2} {
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); err != nil || to != Log(o) {
			t.Errorf("descriptor %d goes to %q, %v", fd, to, err)
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndex(string(stat), ")")+1:]))
	if session := fields[3]; session != fmt.Sprint(pid) {
		t.Errorf("it is in session %s, not its own", session)
	}
	for path, want := range map[string]os.FileMode{o.socket(): 0o600, o.RuntimeDir: 0o700, Log(o): 0o600} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, fi.Mode().Perm(), err, want)
		}
	}
}

func TestIdleEngineEnds(t *testing.T) {
	o := newOptions(t)
	o.Idle = 500 * time.Millisecond
	e := connect(t, o)
	time.Sleep(3 * o.Idle) // held in use
	if isGone(e.Status.PID) {
		t.Fatal("it ended while it was held in use")
	}
	mustSolve(t, newClient(t, e), run("sleep", "1s"))
	e.Close()
	eventually(t, "the idle engine ends", func() bool { return isGone(e.Status.PID) })
	if _, err := os.Stat(o.socket()); !os.IsNotExist(err) {
		t.Errorf("its socket: %v", err)
	}
	b, err := os.ReadFile(Log(o))
	if err != nil || !strings.Contains(string(b), "unused for 500ms") {
		t.Errorf("its log: %s, %v", b, err)
	}
}

// A killed engine leaves the RUN process, mounts, the socket and the record.
func TestKilledEngineIsSucceeded(t *testing.T) {
	o := newOptions(t)
	e := connect(t, o)
	c := newClient(t, e)
	mustSolve(t, c, run("status"))
	ended := solveUntilPrint(t, c, run("sleep", "10m", "killed"))
	sleeper := findProcess(t, "/step", "sleep", "10m", "killed")
	if err := syscall.Kill(e.Status.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.Lost():
	case <-time.After(patience):
		t.Error("Lost is not closed")
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the build succeeded")
		}
	case <-time.After(patience):
		t.Error("the build goes on without its engine")
	}
	if isGone(sleeper) {
		t.Log("the RUN process ended with its engine") // else it is the next engine's to end
	}
	next := connect(t, o)
	if !next.Started {
		t.Error("no engine was started")
	}
	if !isGone(sleeper) {
		t.Errorf("the RUN process %d of the killed engine lives on", sleeper)
	}
	if left := bundles(o.root()); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(o.root()))
	if err != nil || len(mounts) > 0 {
		t.Errorf("left: %v, %v", mounts, err)
	}
	mustSolve(t, newClient(t, next), run("status"))
}

// findProcess finds a process whose arguments are args.
func findProcess(t *testing.T, args ...string) int {
	t.Helper()
	for _, path := range globProc(t, "cmdline") {
		b, err := os.ReadFile(path)
		if err == nil && slices.Equal(splitNul(b), args) {
			var pid int
			fmt.Sscanf(path, "/proc/%d/", &pid)
			return pid
		}
	}
	t.Fatalf("no process runs %q", args)
	return 0
}

func globProc(t *testing.T, file string) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestStaleSocketAndRecord(t *testing.T) {
	o := newOptions(t)
	if err := errors.Join(makePrivate(o.RuntimeDir), makeRoot(o)); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: o.socket()}); err != nil {
		t.Fatal(err)
	}
	syscall.Close(fd) // the file stays, and nobody listens
	// The record names a living process that is no engine: this one.
	if err := writeRecord(o, Status{Running: true, Healthy: true, PID: os.Getpid(), Socket: o.socket() + ".gone"}); err != nil {
		t.Fatal(err)
	}
	if s, err := Query(t.Context(), o); err != nil || s.Running {
		t.Errorf("Query: %+v, %v", s, err)
	}
	if err := Stop(t.Context(), o, true); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if e := connect(t, o); !e.Started {
		t.Error("no engine was started")
	}
}

// An engine is found by its state directory, wherever its socket is.
func TestOtherRuntimeDirectory(t *testing.T) {
	o := newOptions(t)
	e := connect(t, o)
	other := o
	other.RuntimeDir = filepath.Join(t.TempDir(), "run")
	again := connect(t, other)
	if again.Started || again.Status.PID != e.Status.PID {
		t.Errorf("got process %d (started %v), want %d", again.Status.PID, again.Started, e.Status.PID)
	}
	mustSolve(t, newClient(t, again), run("status"))
}

// Two state directories that share a runtime directory have an engine each.
func TestOtherStateDirectory(t *testing.T) {
	o := newOptions(t)
	other := newOptions(t)
	other.RuntimeDir = o.RuntimeDir
	a, b := connect(t, o), connect(t, other)
	if a.Status.PID == b.Status.PID || b.Status.StateDir != other.StateDir {
		t.Errorf("got %+v and %+v", a.Status, b.Status)
	}
	if err := Stop(t.Context(), other, true); err != nil {
		t.Error(err)
	}
}

func TestOlderEngine(t *testing.T) {
	older := newOptions(t)
	older.Version = "v0.9.0"
	newer := older
	newer.Version = "v1.0.0"

	old := connect(t, older)
	busy := connect(t, newer)
	if busy.Started || busy.Status.PID != old.Status.PID || !strings.Contains(busy.Note, "v0.9.0") {
		t.Errorf("busy: started %v, process %d (old %d), note %q", busy.Started, busy.Status.PID, old.Status.PID, busy.Note)
	}
	mustSolve(t, newClient(t, busy), run("status"))
	old.Close()
	busy.Close()
	eventually(t, "the older engine is idle", func() bool {
		s, err := Query(t.Context(), older)
		return err == nil && s.Uses == 0
	})
	idle := connect(t, newer)
	if !idle.Started || idle.Note != "" || idle.Version() != "v1.0.0" {
		t.Errorf("idle: started %v, version %q, note %q", idle.Started, idle.Version(), idle.Note)
	}
	eventually(t, "the older engine ends", func() bool { return isGone(old.Status.PID) })
	mustSolve(t, newClient(t, idle), run("status"))
}

func TestStopWaitsForBuilds(t *testing.T) {
	o := newOptions(t)
	e := connect(t, o)
	c := newClient(t, e)
	ended := solveUntilPrint(t, c, run("sleep", "2s"))
	stopped := make(chan error, 1)
	go func() { stopped <- Stop(t.Context(), o, false) }()
	if err := <-ended; err != nil {
		t.Errorf("the build: %v", err)
	}
	c.Close()
	e.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	eventually(t, "the engine ends", func() bool { return isGone(e.Status.PID) })
}

func TestStopByForceEndsBuilds(t *testing.T) {
	o := newOptions(t)
	e := connect(t, o)
	ended := solveUntilPrint(t, newClient(t, e), run("sleep", "10m", "forced"))
	sleeper := findProcess(t, "/step", "sleep", "10m", "forced")
	begin := time.Now()
	if err := Stop(t.Context(), o, true); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %s", time.Since(begin))
	if err := <-ended; err == nil {
		t.Error("the build succeeded")
	}
	if !isGone(sleeper) {
		t.Errorf("the RUN process %d lives on", sleeper)
	}
	if left := bundles(o.root()); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// SIGTERM, as at the shutdown of the machine: builds finish, callers that only
// hold the engine don't keep it.
func TestTerminatedEngineFinishesBuilds(t *testing.T) {
	o := newOptions(t)
	e := connect(t, o)
	c := newClient(t, e)
	ended := solveUntilPrint(t, c, run("sleep", "2s"))
	if err := syscall.Kill(e.Status.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the build: %v", err)
	}
	c.Close()
	e.Close()
	eventually(t, "the engine ends", func() bool { return isGone(e.Status.PID) })
}

// An engine that is frozen is told from one that is not there.
func TestFrozenEngine(t *testing.T) {
	o := newOptions(t)
	pid := connect(t, o).Status.PID
	freeze.Process(t, pid)
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGCONT) })
	_, err := Connect(t.Context(), o)
	if !errors.Is(err, errSilent) || !strings.Contains(err.Error(), "kiln engine stop --force") {
		t.Errorf("Connect: %v", err)
	}
	s, err := Query(t.Context(), o)
	if err != nil || !s.Running || s.Healthy || s.PID != pid || s.Problem == "" {
		t.Errorf("Query: %+v, %v", s, err)
	}
	if err := Stop(t.Context(), o, true); err != nil {
		t.Errorf("Stop: %v", err)
	}
	eventually(t, "the frozen engine ends", func() bool { return isGone(pid) })
}

func TestLogIsPutAside(t *testing.T) {
	o := newOptions(t)
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(Log(o), make([]byte, logMost+1), 0o600); err != nil {
		t.Fatal(err)
	}
	connect(t, o)
	if fi, err := os.Stat(Log(o) + ".1"); err != nil || fi.Size() != logMost+1 {
		t.Errorf("the long log: %v", err)
	}
	if fi, err := os.Stat(Log(o)); err != nil || fi.Size() == 0 || fi.Size() > 10000 {
		t.Errorf("the new log: %v, %v", fi, err)
	}
}

func TestInProcess(t *testing.T) {
	o := newOptions(t)
	a, err := ask(t, helper(o, "in-process")) // which says nothing on standard error
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	if field(a.Proc, "Seccomp") != "2" {
		t.Errorf("Seccomp: %q", field(a.Proc, "Seccomp"))
	}
	if s, err := Query(t.Context(), o); err != nil || s.Running {
		t.Errorf("after it: %+v, %v", s, err)
	}
	// The cache is there for the next, of whatever kind.
	c := newClient(t, connect(t, o))
	usage, err := c.DiskUsage(t.Context())
	if err != nil || len(usage) == 0 {
		t.Errorf("disk usage: %v, %v", usage, err)
	}
}

func TestInProcessExcludesOthers(t *testing.T) {
	o := newOptions(t)
	e := connect(t, o)
	_, err := InProcess(t.Context(), o)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", e.Status.PID)) || !strings.Contains(err.Error(), "kiln engine stop") {
		t.Errorf("InProcess beside an engine: %v", err)
	}
	e.Close()
	if err := Stop(t.Context(), o, false); err != nil {
		t.Fatal(err)
	}
	other := startHelper(t, helper(o, "sleep-in-process"))
	begin := time.Now()
	if _, err := Connect(t.Context(), o); !errors.Is(err, ErrLocked) {
		t.Errorf("Connect beside an engine in process: %v", err)
	}
	if d := time.Since(begin); d >= lockWait { // otherWait is enough
		t.Errorf("that took %s", d)
	}
	if s, err := Query(t.Context(), o); err != nil || !s.Running || !s.InProcess || os.Geteuid() == 0 && s.PID != other.Process.Pid {
		t.Errorf("Query: %+v, %v", s, err)
	}
	if err := Stop(t.Context(), o, true); !errors.Is(err, ErrLocked) {
		t.Errorf("Stop: %v", err)
	}
	// Killed, it leaves what the next engine clears away.
	sleeper := findProcess(t, "/step", "sleep", "10m", "sleep-in-process")
	other.Process.Kill()
	other.Wait()
	connect(t, o)
	if !isGone(sleeper) {
		t.Error("the RUN process lives on")
	}
}

// A kiln that is killed in the middle of a build ends the build.
func TestKilledKiln(t *testing.T) {
	o := newOptions(t)
	e := connect(t, o)
	kiln := startHelper(t, helper(o, "sleep"))
	sleeper := findProcess(t, "/step", "sleep", "10m", "sleep")
	kiln.Process.Kill()
	kiln.Wait()
	eventually(t, "its RUN process ends", func() bool { return isGone(sleeper) })
	e.Close()
	eventually(t, "the engine is idle", func() bool {
		s, err := Query(t.Context(), o)
		return err == nil && s.Uses == 0
	})
	eventually(t, "the containers are cleared away", func() bool { return len(bundles(o.root())) == 0 })
	mustSolve(t, newClient(t, connect(t, o)), run("status"))
}

func TestGCPolicyAndHistory(t *testing.T) {
	o := newOptions(t)
	o.CacheMax = 3 << 30
	e := connect(t, o)
	if e.Status.CacheMax != o.CacheMax {
		t.Errorf("the cache's limit is %d", e.Status.CacheMax)
	}
	c := newClient(t, e)
	mustSolve(t, c, run("status"))
	workers, err := c.ListWorkers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Fatal(workers, err)
	}
	_, total, err := cacheSize(o)
	if err != nil {
		t.Fatal(err)
	}
	want := gcRules(o.CacheMax, total)
	if len(workers[0].GCPolicy) != len(want) {
		t.Fatalf("GC policy: %+v", workers[0].GCPolicy)
	}
	for i, got := range workers[0].GCPolicy {
		if got.MaxUsedSpace != want[i].most || got.ReservedSpace != want[i].reserved || got.MinFreeSpace != want[i].free {
			t.Errorf("rule %d: got %+v, want %+v", i, got, want[i])
		}
	}
	records, err := c.ControlClient().ListenBuildHistory(t.Context(), &control.BuildHistoryRequest{EarlyExit: true})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := records.Recv(); err == nil {
		t.Errorf("the build left a record: %v", r)
	}
}
