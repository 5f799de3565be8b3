package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/internal/testenv/tmux"
)

// fiveTargets are a base, one that fails, and three of which two take longer
// than any test.
const fiveTargets = `
group "default" { targets = ["fails", "quick", "slow"] }
variable "BUSYBOX" {}
target "base" {
  contexts = { bin = BUSYBOX }
  dockerfile-inline = <<EOT
FROM scratch
COPY --from=bin busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
EOT
}
target "fails" {
  contexts          = { base = "target:base" }
  dockerfile-inline = "FROM base\nRUN echo oh no; exit 7\n"
}
target "quick" {
  contexts          = { base = "target:base" }
  dockerfile-inline = "FROM base\nRUN echo quickly\n"
}
target "slow" {
  name              = "slow-${n}"
  matrix            = { n = ["one", "two"] }
  contexts          = { base = "target:base" }
  args              = { N = n }
  dockerfile-inline = "FROM base\nARG N\nRUN for i in 1 2 3; do echo line $i of $N; done; sleep 300\n"
}
`

// in runs a program of sh in a terminal, in the shell's folder.
func (s *shell) in(t *testing.T, width, height int, script string) *tmux.Terminal {
	t.Helper()
	return tmux.Start(t, tmux.Options{Width: width, Height: height, Dir: s.dir, Env: s.env}, "sh", "-c", script)
}

// A build in a real terminal: its rows, the log of a target on a key, an
// interruption, and what is left on the screen and of the terminal.
func TestBuildInTerminal(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.env = append(s.env, "BUSYBOX="+filepath.Dir(testenv.Busybox(t)))
	s.write("build.hcl", fiveTargets)
	for _, tt := range []struct {
		name   string
		w, h   int
		script string
		color  bool
	}{
		{"small", 80, 24, "kiln build --keep-going --allow fs.read=$BUSYBOX", true},
		{"large without colour", 200, 50, "NO_COLOR=1 kiln build --keep-going --allow fs.read=$BUSYBOX", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := s.in(t, tt.w, tt.h, `trap : INT; `+tt.script+`; echo "exit code $?"; stty -a | tr ' ;' '\n\n' | grep -x -e '-*icanon' -e '-*echo'; cat`)
			rows := x.AwaitText("2 of 5 targets done", "1 failed, 2 building", "slow-one  [1/2] RUN for i in", "slow-two  [1/2] RUN for i in", "fails ", "| oh no", "enter its log")
			if text := strings.Join(rows, "\n"); !strings.Contains(text, "done: quick, base") {
				t.Errorf("on the screen is:\n%s", text)
			}
			if styled := x.Styled(); strings.Contains(styled, "\x1b[31m") != tt.color {
				t.Errorf("colour is wanted: %v; the screen is %q", tt.color, styled)
			}
			x.Press("Down", "Down")
			x.AwaitText("> slow-two")
			x.Press("Enter")
			x.AwaitText("#1 line 3 of two", "q back")
			x.Press("C-c")
			rows = x.AwaitText("exit code 130", "\nicanon\necho")
			text := strings.Join(rows, "\n")
			for _, want := range []string{"failed: fails", "| oh no", "2 of 5 targets built", "error: fails: "} {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not on the screen:\n%s", want, text)
				}
			}
			for _, left := range []string{"waiting:", "its log\n  ↑", "q back", "\tsha256:", "line 3 of two"} {
				if strings.Contains(text, left) {
					t.Errorf("%q is on the screen:\n%s", left, text)
				}
			}
		})
	}
	t.Run("results", func(t *testing.T) { resultsInTerminal(t, s) })
}

// What went to a terminal in the summary does not go there as a list, too;
// into a pipe it does.
func resultsInTerminal(t *testing.T, s *shell) {
	x := s.in(t, 100, 50, "kiln build --allow fs.read=$BUSYBOX base | cat; echo over; kiln build --allow fs.read=$BUSYBOX base; echo third; cat")
	text := strings.Join(x.AwaitText("third"), "\n")
	piped, shown, _ := strings.Cut(text, "over\n")
	if !strings.Contains(shown, "1 image in the image store") || strings.Contains(shown, "sha256:") {
		t.Errorf("in the terminal:\n%s", shown)
	}
	if !strings.Contains(piped, "1 image in the image store") || !strings.Contains(piped, "sha256:") {
		t.Errorf("into a pipe:\n%s", piped)
	}
}
