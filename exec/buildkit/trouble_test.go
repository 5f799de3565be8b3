package buildkit_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// sleeper is a context whose build sleeps after it has said so.
func sleeper(t *testing.T) string {
	return withBusybox(t, files(t, t.TempDir(), map[string]string{
		"Dockerfile": busyboxLines + "ARG N\nRUN echo sleeping; sleep 300\n",
	}))
}

// afterLog calls fn once, at the first line of log.
func afterLog(fn func()) exec.Sink {
	done := make(chan struct{}, 1)
	return sinkFunc(func(e exec.Event) {
		if e.Kind == exec.Log {
			select {
			case done <- struct{}{}:
				go fn()
			default:
			}
		}
	})
}

// A moment is a time that one goroutine sets and another reads.
type moment struct{ at atomic.Pointer[time.Time] }

func (m *moment) set() {
	now := time.Now()
	m.at.Store(&now)
}

func (m *moment) since() time.Duration {
	if at := m.at.Load(); at != nil {
		return time.Since(*at)
	}
	return -1
}

// TestDaemonKilled: the daemon dies in the middle of a step. That is told when
// the connection breaks: nobody asks whether it is there.
func TestDaemonKilled(t *testing.T) {
	dir := sleeper(t)
	for _, frontend := range []bool{false, true} {
		d := testenv.Start(t)
		var killed moment
		s := &session{addr: d.Addr, dir: dir, targets: []*config.Target{{Name: "app", Args: kv("N", "1")}},
			opt:  buildkit.Options{Frontend: frontend, Health: buildkit.Health{Every: time.Hour}},
			sink: afterLog(func() { killed.set(); d.Signal(t, syscall.SIGKILL) })}
		_, err := s.run(t, t.Context())
		if !errors.Is(err, buildkit.ErrDaemonLost) {
			t.Errorf("frontend=%t: error is %v", frontend, err)
		}
		if took := killed.since(); took > 200*time.Second { // the step takes 300 s
			t.Errorf("frontend=%t: told after %v", frontend, took)
		}
		t.Logf("after %v: %v", killed.since(), err)
	}
}

// TestDaemonFrozen: the daemon keeps its connections, and says nothing. It is
// told which one it is, since when, and what to do.
func TestDaemonFrozen(t *testing.T) {
	d := testenv.Start(t)
	dir := sleeper(t)
	conn, err := buildkit.Dial(t.Context(), buildkit.DialOptions{Addr: d.Addr, Name: "the test's engine", Hint: "Wake it up"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var frozen moment
	s := &session{conn: conn, dir: dir, targets: []*config.Target{{Name: "app", Args: kv("N", "2")}},
		opt:  buildkit.Options{Health: buildkit.Health{Every: 100 * time.Millisecond, Limit: 10 * time.Second}},
		sink: afterLog(func() { frozen.set(); d.Signal(t, syscall.SIGSTOP) })}
	_, err = s.run(t, t.Context())
	if !errors.Is(err, buildkit.ErrDaemonLost) {
		t.Fatalf("error is %v", err)
	}
	for _, want := range []string{"the test's engine: it has not answered since ", "it is stopped", ". Wake it up"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	// A question may have been on its way when it froze.
	if took := frozen.since(); took > 200*time.Second || took < time.Second {
		t.Errorf("told after %v", took)
	}
	t.Logf("after %v: %v", frozen.since(), err)
}

// TestDaemonPaused: a daemon that answers late, but in time, is not lost.
func TestDaemonPaused(t *testing.T) {
	d := testenv.Start(t)
	conn := dial(t, d.Addr)
	d.Signal(t, syscall.SIGSTOP)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() {
		watched <- conn.Watch(ctx, buildkit.Health{Every: 10 * time.Millisecond, Limit: time.Minute})
	}()
	asked, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	if err := conn.Alive(asked); err == nil {
		t.Error("a stopped daemon answers")
	}
	d.Signal(t, syscall.SIGCONT)
	if err := conn.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-watched; err != nil {
		t.Error(err)
	}
}

// TestInterrupted: the run ends with the cause of its context, soon, and the
// daemon stops the step.
func TestInterrupted(t *testing.T) {
	dir := sleeper(t)
	for _, frontend := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the user's wish")
		var at moment
		s := &session{dir: dir, targets: []*config.Target{{Name: "a", Args: kv("N", "a")}, {Name: "b", Args: kv("N", "b")}}, opt: buildkit.Options{Frontend: frontend},
			sink: afterLog(func() { at.set(); cancel(why) })}
		out, err := s.run(t, ctx)
		if !errors.Is(err, why) {
			t.Errorf("frontend=%t: error is %v", frontend, err)
		}
		for name, o := range out {
			if o.Status != exec.Cancelled {
				t.Errorf("frontend=%t: %s is %v: %v", frontend, name, o.Status, o.Err)
			}
		}
		if took := at.since(); took > 200*time.Second { // the step takes 300 s
			t.Errorf("frontend=%t: ended after %v", frontend, took)
		}
	}
}

// TestFailFast: the first failure cancels the others' steps.
func TestFailFast(t *testing.T) {
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"Dockerfile": busyboxLines + "ARG N\nRUN echo $N; sleep 300\n",
		"bad":        busyboxLines + "RUN sleep 1; exit 4\n",
	}))
	s := &session{dir: dir, targets: []*config.Target{{Name: "slow", Args: kv("N", "ff")}, {Name: "bad", Dockerfile: "bad"}}}
	s.conn = dial(t, "")
	begin := time.Now()
	out, err := s.run(t, t.Context())
	if src := sourceError(t, err); src.ExitCode != 4 {
		t.Errorf("error is %v", err)
	}
	if out["slow"].Status != exec.Cancelled || out["bad"].Status != exec.Failed {
		t.Errorf("slow %v, bad %v", out["slow"].Status, out["bad"].Status)
	}
	if took := time.Since(begin); took > 200*time.Second {
		t.Errorf("took %v", took)
	}
}
