// Package tmux runs programs in a terminal that tests can look at, type into
// and resize: a tmux of its own for each. It is imported by tests only.
//
// Nothing is skipped here: without a tmux at .cache/tmux/tmux, scripts/tmux.sh
// is run to put one there, and where that fails the test fails and says why.
package tmux

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/testenv/fetched"
)

// patience bounds each wait: far longer than any takes on a busy machine, and
// short enough for a hang to be told by the test that hangs.
const patience = 2 * time.Minute

// A Terminal is a screen with a program in it. It ends with its test.
type Terminal struct {
	t      testing.TB
	tmux   string
	socket string
}

// Options say what terminal there is to be.
type Options struct {
	Width, Height int      // in characters
	Dir           string   // where the program runs; "" is here
	Env           []string // the program's whole environment, but for TERM
	Code          bool     // AwaitEnd will be asked for the exit code
}

// What tmux is told at its start: the screen has no line of tmux's own, and
// outlives the program.
const configuration = `set -g status off
set -g remain-on-exit on
set -g remain-on-exit-format ""
set -g escape-time 0
set -g default-terminal screen-256color
set -g history-limit 5000
`

// teller runs the program and writes its exit code to the file that it is
// named for. tmux, which should know, loses the signal of a child's end at
// times, and with it the code.
const teller = `trap : INT QUIT HUP TERM
"$@"
echo $? >"$0.new" && mv "$0.new" "$0"
`

// code is the file of the program's exit code.
func (x *Terminal) code() string { return filepath.Join(filepath.Dir(x.socket), "code") }

// Start runs a program in a terminal.
func Start(t testing.TB, o Options, program string, args ...string) *Terminal {
	t.Helper()
	path, err := find()
	if err != nil {
		t.Fatalf("tests of the terminal need a tmux: %v", err)
	}
	dir, err := os.MkdirTemp("", "tmux") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	x := &Terminal{t: t, tmux: path, socket: filepath.Join(dir, "s")}
	config := filepath.Join(dir, "conf")
	if err := os.WriteFile(config, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	call := []string{"-S", x.socket, "-f", config, "new-session", "-d", "-x", strconv.Itoa(o.Width), "-y", strconv.Itoa(o.Height)}
	if o.Dir != "" {
		call = append(call, "-c", o.Dir)
	}
	if o.Code {
		call = append(call, "/bin/sh", "-c", teller, x.code())
	}
	// tmux hands its own environment on.
	c := osexec.Command(path, append(append(call, program), args...)...)
	c.Env = append(append([]string{}, o.Env...), "TERM=screen-256color", "SHELL=/bin/sh")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	t.Cleanup(x.end)
	return x
}

// end ends the program, if it still runs, and tmux.
func (x *Terminal) end() {
	if out, err := osexec.Command(x.tmux, "-S", x.socket, "kill-server").CombinedOutput(); err != nil {
		x.t.Errorf("end tmux: %v\n%s", err, out)
	}
}

// do calls tmux.
func (x *Terminal) do(args ...string) string {
	x.t.Helper()
	out, err := osexec.Command(x.tmux, append([]string{"-S", x.socket}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Screen returns the rows of the screen, without blanks at their ends.
func (x *Terminal) Screen() []string {
	x.t.Helper()
	return rows(x.do("capture-pane", "-p"))
}

// Styled returns the screen with the control sequences of its colours.
func (x *Terminal) Styled() string {
	x.t.Helper()
	return x.do("capture-pane", "-p", "-e")
}

// All returns what went off the top of the screen, and the screen.
func (x *Terminal) All() []string {
	x.t.Helper()
	return rows(x.do("capture-pane", "-p", "-S", "-"))
}

func rows(text string) []string {
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, r := range all {
		all[i] = strings.TrimRight(r, " ")
	}
	return all
}

// Press presses keys, by tmux's names for them: "Up", "Enter", "C-z", "q".
func (x *Terminal) Press(keys ...string) {
	x.t.Helper()
	x.do(append([]string{"send-keys"}, keys...)...)
}

// Type types text.
func (x *Terminal) Type(text string) {
	x.t.Helper()
	x.do("send-keys", "-l", text)
}

// Resize changes the size of the terminal.
func (x *Terminal) Resize(width, height int) {
	x.t.Helper()
	x.do("resize-window", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
}

// Await returns the screen as soon as it is as wanted. The test fails if that
// does not come to be; what names it.
func (x *Terminal) Await(what string, wanted func(rows []string) bool) []string {
	x.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		screen := x.Screen()
		if wanted(screen) {
			return screen
		}
		if time.Now().After(end) {
			x.t.Fatalf("the screen never shows %s:\n%s", what, strings.Join(screen, "\n"))
		}
	}
}

// AwaitText returns the screen as soon as each text is in one of its rows.
func (x *Terminal) AwaitText(texts ...string) []string {
	x.t.Helper()
	return x.Await(fmt.Sprintf("%q", texts), func(rows []string) bool {
		screen := strings.Join(rows, "\n")
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	})
}

// AwaitEnd returns the exit code of the program, of a terminal with Code.
func (x *Terminal) AwaitEnd() int {
	x.t.Helper()
	code := -1
	x.Await("the end of the program", func([]string) bool {
		text, err := os.ReadFile(x.code())
		if err == nil {
			code, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err == nil && strings.TrimSpace(x.do("display-message", "-p", "#{pane_dead}")) == "1"
	})
	return code
}

// find returns a tmux, which is made if there is none.
func find() (string, error) {
	if named := os.Getenv("KILN_TMUX"); named != "" && named != "debian" {
		return named, nil
	}
	dir, err := fetched.Dir("tmux", "tmux")
	return filepath.Join(dir, "tmux"), err
}
