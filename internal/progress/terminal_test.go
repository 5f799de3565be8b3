package progress

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/term"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/keyboard"
	"github.com/kilnbuild/kiln/internal/testenv/tmux"
)

// sceneGate is the variable that makes the test binary a program that shows a
// scene: a pipe, which ends when the scene is to go on.
const sceneGate = "KILN_TEST_SCENE"

func TestMain(m *testing.M) {
	if gate := os.Getenv(sceneGate); gate != "" {
		os.Exit(showScene(gate))
	}
	os.Exit(m.Run())
}

// showScene is a run of 500 targets on the terminal that it is started in. It
// waits in its midst.
func showScene(gate string) int {
	size := func() (int, int) {
		w, h, err := term.GetSize(int(os.Stderr.Fd()))
		if err != nil {
			panic(err)
		}
		return w, h
	}
	d := New(Options{
		Mode: TTY, Out: os.Stderr, Color: os.Getenv("NO_COLOR") == "", Header: "kiln's own engine",
		Width: func() int { w, _ := size(); return w }, Height: func() int { _, h := size(); return h },
		Keyboard: keyboard.New(os.Stdin),
	})
	defer d.Close()
	s := crowd(d, 500, func(float64) {})
	f, err := os.Open(gate)
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, f)
	for _, o := range s.outcomes {
		if o.Times.Finished.IsZero() {
			s.start(o.Node.Name())
			s.finish(o.Node.Name(), exec.Skipped, errors.New("left out"))
		}
	}
	if d.Finish(s.outcomes) != nil {
		return 1
	}
	return 3
}

var headline = regexp.MustCompile(`^ *[0-9ms.]+  \d+(/| of )500 `)

// frameWith waits for a frame with all of the given texts, and returns the
// rows above it and those from its first on.
func frameWith(t *testing.T, x *tmux.Terminal, texts ...string) (above, frame []string) {
	t.Helper()
	x.Await(fmt.Sprintf("a frame with %q", texts), func(rows []string) bool {
		for i, r := range rows {
			if headline.MatchString(r) {
				above, frame = rows[:i], rows[i:]
			}
		}
		for _, text := range texts {
			if !strings.Contains(strings.Join(frame, "\n"), text) {
				return false
			}
		}
		return true
	})
	return above, frame
}

// 500 targets in a real terminal: what is on the screen, what keys lead to,
// what is left of it when it is resized, and at the end.
func TestInTerminal(t *testing.T) {
	t.Parallel()
	for _, size := range []struct{ w, h int }{{80, 24}, {200, 50}} {
		for _, color := range []bool{true, false} {
			t.Run(fmt.Sprintf("%dx%d color %v", size.w, size.h, color), func(t *testing.T) {
				t.Parallel()
				gate := filepath.Join(t.TempDir(), "gate")
				if err := syscall.Mkfifo(gate, 0o600); err != nil {
					t.Fatal(err)
				}
				self, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				env := append(os.Environ(), sceneGate+"="+gate, "NO_COLOR=") // whatever the tests were started with
				if !color {
					env = append(env, "NO_COLOR=1")
				}
				x := tmux.Start(t, tmux.Options{Width: size.w, Height: size.h, Env: env, Code: true}, self)
				inTerminal(t, x, color)
				x.Resize(size.w, size.h)
				above, _ := frameWith(t, x, "241 of 500 targets done", " more", "enter its log")
				// Old frames came back, about twenty rows, and were written over. One may
				// be left that was drawn while the terminal became smaller.
				if len(above) > 12 {
					t.Errorf("after it was made smaller and larger again, above the frame is %q", above)
				}
				if err := os.WriteFile(gate, nil, 0); err != nil { // opens and closes it
					t.Fatal(err)
				}
				if code := x.AwaitEnd(); code != 3 {
					t.Errorf("exit code %d", code)
				}
				atEnd(t, x, size.h)
			})
		}
	}
}

func inTerminal(t *testing.T, x *tmux.Terminal, color bool) {
	t.Helper()
	above, _ := frameWith(t, x, "241 of 500 targets done (25 cached), 3 failed, 6 building, 250 waiting", "service-001  failed", "| last line of 3", " more", "enter its log")
	if len(above) != 1 || above[0] != "kiln's own engine" {
		t.Errorf("above the frame is %q", above)
	}
	if styled := x.Styled(); strings.Contains(styled, "\x1b[31m") != color {
		t.Errorf("colour is wanted: %v; the screen is %q", color, styled)
	}
	x.Press("Down", "j")
	frameWith(t, x, "> service-245", "of 250")
	x.Press("Enter")
	x.AwaitText("service-245  [build 3/9] RUN go build ./services/245", "#1 line 29 of service-245", "q back")
	x.Press("?")
	x.AwaitText("ctrl-c", "stop the build")
	x.Press("Escape", "q", "q")
	frameWith(t, x, "enter its log")
	x.Resize(40, 10)
	frameWith(t, x, "241/500 done, 3 failed", "… and ", "enter its log")
	x.Resize(20, 5)
	frameWith(t, x, "241/500 done", "serv…244") // drawn for this size, not cut by the terminal
	x.Press("Down")
	frameWith(t, x, "> serv…244")
	x.Press("q")
}

// atEnd looks at what stays.
func atEnd(t *testing.T, x *tmux.Terminal, height int) {
	t.Helper()
	rows := x.Screen()
	screen := strings.Join(rows, "\n")
	if !strings.Contains(screen, "241 of 500 targets built (25 cached), 3 failed, 256 skipped") || !strings.Contains(screen, "error: service-003: exit code: 1") {
		t.Errorf("at the end the screen is:\n%s", screen)
	}
	_, after, _ := strings.Cut(screen, "failed: service-001")
	if strings.Contains(after, "targets done") || strings.Contains(after, "waiting:") || strings.Contains(after, "its log\n  ↑") {
		t.Errorf("something of a frame is left:\n%s", screen)
	}
	if len(rows) != height {
		t.Errorf("%d rows", len(rows))
	}
}
