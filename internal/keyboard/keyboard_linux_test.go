package keyboard_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/keyboard"
	"github.com/kilnbuild/kiln/internal/testenv/tmux"
)

// reader is the variable that makes the test binary a program that reads keys.
const reader = "KILN_TEST_READER"

func TestMain(m *testing.M) {
	if os.Getenv(reader) != "" {
		read()
		return
	}
	os.Exit(m.Run())
}

// read prints the keys it gets. Some end it, each in another way.
func read() {
	k := keyboard.New(os.Stdin)
	defer k.Close()
	keys := k.Keys()
	fmt.Println("process", os.Getpid())
	for key := range keys {
		fmt.Printf("<%s>\n", key)
		switch key {
		case "q":
			return
		case "x":
			os.Exit(1)
		case "p":
			go func() { panic("in a goroutine that nobody watches") }()
			time.Sleep(time.Hour)
		case "9":
			_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
			time.Sleep(time.Hour)
		case "t":
			_ = unix.Kill(unix.Getpid(), unix.SIGTERM)
			time.Sleep(time.Hour)
		}
	}
}

// start runs a program of sh in a terminal, where $READER reads keys.
func start(t *testing.T, args ...string) *tmux.Terminal {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := tmux.Options{Width: 70, Height: 20, Env: append(os.Environ(), reader+"=1", "PS1=$ ", "ENV=", "READER="+self)}
	return tmux.Start(t, o, "sh", args...)
}

// until waits until the terminal has the modes of one that is read in lines.
const until = `modes() { stty -a | tr ' ;' '\n\n' | grep -cx -e icanon -e echo; }
until [ "$(modes)" = 2 ]; do sleep 0.1; done; stty -a | grep -o 'min = [0-9]*'; echo given back`

// Keys come as they are pressed, and are not shown by the terminal.
func TestKeys(t *testing.T) {
	t.Parallel()
	x := start(t, "-c", `"$READER"; echo "exit code $?"; `+until)
	x.AwaitText("process")
	x.Press("a") // it waits if it comes too early
	x.AwaitText("<a>")
	x.Press("Up", "j", "Enter", "PageDown", "Space", "Escape", "é", "Home", "F5", "?")
	x.AwaitText("<?>")
	x.Press("q")
	screen := strings.Join(strings.Fields(strings.Join(x.AwaitText("given back"), " ")), " ")
	want := "<a> <up> <j> <enter> <pgdn> <space> <esc> <é> <home> <?> <q> exit code 0 min = 1 given back"
	if !strings.HasSuffix(screen, want) {
		t.Errorf("got %s, want %s", screen, want)
	}
}

// The terminal is as it was, however the program ends.
func TestGivenBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ key, how string }{{"x", "exit"}, {"p", "panic"}, {"9", "kill"}, {"t", "terminate"}, {"C-c", "interrupt"}} {
		t.Run(tt.how, func(t *testing.T) {
			t.Parallel()
			x := start(t, "-c", `trap : INT; "$READER" 2>/dev/null; `+until)
			x.AwaitText("process")
			x.Press("a")
			x.AwaitText("<a>")
			x.Press(tt.key)
			x.AwaitText("min = 1", "given back")
		})
	}
}

// Ctrl-Z stops the program, with the terminal as it was for the shell; in the
// background the program takes no key away from the shell.
func TestStopped(t *testing.T) {
	t.Parallel()
	x := start(t, "-i")
	x.AwaitText("$")
	x.Type("\"$READER\"\r")
	x.AwaitText("process")
	x.Press("a")
	x.AwaitText("<a>")
	x.Press("C-z")
	x.AwaitText("Stopped")
	x.Type("stty -a | tr ' ;' '\\n\\n' | grep -x -- '-*icanon'; echo no''thing else\r")
	screen := x.AwaitText("nothing else")
	if text := strings.Join(screen, "\n"); slices.Contains(strings.Fields(text), "-icanon") || !slices.Contains(strings.Fields(text), "icanon") {
		t.Errorf("the shell has a terminal that gives keys:\n%s", text)
	}
	before := strings.Join(x.Screen(), "\n")
	x.Type("clear; bg\r")
	x.AwaitText("<resumed>")
	x.Type("echo a''b''c\r")
	screen = x.AwaitText("abc")
	text := strings.Join(screen, "\n")
	if strings.Count(text, "<resumed>") != 1 {
		t.Errorf("the program is told more than once that it goes on:\n%s", text)
	}
	if !strings.Contains(before+text, "<stopping>") { // it may have been stopped before it said so
		t.Errorf("the program is not told that it will be stopped:\n%s\n%s", before, text)
	}
	x.Type("clear; echo all cle''ared\r")
	x.Await("a cleared screen", func(rows []string) bool {
		text := strings.Join(rows, "\n")
		return strings.Contains(text, "all cleared") && !strings.Contains(text, "<resumed>")
	})
	x.Type("fg\r")
	x.AwaitText("<resumed>")
	x.Press("Up")
	x.AwaitText("<up>")
	x.Press("q")
	x.Await("the shell's prompt", func(rows []string) bool { // until then, keys are the program's
		return strings.HasSuffix(strings.TrimRight(strings.Join(rows, "\n"), "\n"), "<q>\n$")
	})
	x.Type("echo is ba''ck\r")
	x.AwaitText("is back")
}
