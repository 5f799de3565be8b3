package main

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// TestReadme runs the blocks of README.md in order, in one empty folder, and
// compares what they print. A line "..." stands for any lines; digests and
// times may differ.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	shell := newShell(t)
	kinds := map[string]int{}
	for _, b := range blocks(string(text)) {
		kinds[b.kind]++
		switch b.kind {
		case "hcl":
			name, rest, ok := strings.Cut(strings.TrimPrefix(b.text, "# file: "), "\n")
			if !ok || name == b.text {
				t.Fatalf("an hcl block does not begin with # file: NAME:\n%s", b.text)
			}
			// The file keeps its first line, so that line numbers are those shown.
			shell.write(name, "# file: "+name+"\n"+rest)
		case "sh":
			if !elsewhere(t, b.text) {
				shell.run(b.text)
			}
		case "console":
			for _, c := range commands(b.text) {
				shell.compare(c)
			}
		default:
			t.Errorf("a block of kind %q is not run", b.kind)
		}
	}
	if kinds["sh"] < 3 || kinds["console"] < 6 || kinds["hcl"] < 1 {
		t.Errorf("blocks of README.md were not found: %v", kinds)
	}
}

// elsewhere reports whether a block's commands are run by other means, and
// checks that they are: the make targets by those who run this test, and the
// installation from the network by nobody, though the package has to be there.
func elsewhere(t *testing.T, text string) bool {
	t.Helper()
	if pkg, ok := strings.CutPrefix(text, "go install github.com/kilnbuild/kiln/"); ok {
		dir, _, _ := strings.Cut(pkg, "@")
		if _, err := os.Stat(filepath.Join(testenv.Root(), dir, "main.go")); err != nil {
			t.Error(err)
		}
		return true
	}
	if !strings.HasPrefix(text, "make ") {
		return false
	}
	makefile, err := os.ReadFile(filepath.Join(testenv.Root(), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		name := strings.TrimSpace(strings.TrimPrefix(line, "make "))
		if !regexp.MustCompile(`(?m)^` + name + `:`).Match(makefile) {
			t.Errorf("the Makefile has no target %s", name)
		}
	}
	return true
}

// A block is fenced text.
type block struct{ kind, text string }

func blocks(markdown string) []block {
	var out []block
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllStringSubmatch(markdown, -1) {
		out = append(out, block{m[1], m[2]})
	}
	return out
}

// A command is a line after "$ " with what it prints.
type command struct {
	line string
	want []string
}

func commands(text string) []command {
	var out []command
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			out = append(out, command{line: c})
		} else if len(out) > 0 {
			last := &out[len(out)-1]
			last.want = append(last.want, line)
		}
	}
	return out
}

// A shell runs a reader's commands, with kiln in its PATH.
type shell struct {
	t   *testing.T
	dir string
	env []string
}

func newShell(t *testing.T) *shell {
	env := append(os.Environ(), engineEnv(t)...)
	return &shell{t, t.TempDir(), append(env, "PATH="+program(t)+":"+os.Getenv("PATH"), "TAG=", "LC_ALL=C", "GITHUB_ACTIONS=", "GITLAB_CI=", "NO_COLOR=")}
}

func (s *shell) write(name, text string) {
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shell) run(script string) string {
	c := osexec.Command("sh", "-c", "unset TAG\n"+script)
	c.Dir, c.Env = s.dir, s.env
	out, err := c.CombinedOutput()
	if err != nil {
		out = append(out, fmt.Sprintf("%v\n", err)...)
	}
	return string(out)
}

func (s *shell) compare(c command) {
	s.t.Helper()
	got := s.run(c.line)
	got = strings.TrimSuffix(got, "exit status 2\n") // a mistake that is shown on purpose
	lines := strings.Split(strings.TrimSuffix(normal(got), "\n"), "\n")
	want := strings.Split(normal(strings.Join(c.want, "\n")), "\n")
	if !matches(want, lines) {
		s.t.Errorf("$ %s\nprinted\n%s\nREADME.md has\n%s", c.line, got, strings.Join(c.want, "\n"))
	}
}

// matches compares lines; "..." in want stands for any number of lines.
func matches(want, got []string) bool {
	i := slices.Index(want, "...")
	if i < 0 {
		return slices.Equal(want, got)
	}
	rest := want[i+1:]
	return len(got) >= i+len(rest) && slices.Equal(want[:i], got[:i]) && slices.Equal(rest, got[len(got)-len(rest):])
}

// normal replaces what differs from run to run, and the blanks of tables.
func normal(s string) string {
	for _, r := range []struct{ re, by string }{
		{`sha256:[0-9a-f]{64}`, "DIGEST"},
		{`\b[0-9a-f]{12}\b`, "DIGEST"},
		{`\b([0-9]+m[0-9]{2}s|[0-9]+\.[0-9]s)\b`, "TIME"},
		{` +`, " "},
	} {
		s = regexp.MustCompile(r.re).ReplaceAllString(s, r.by)
	}
	return s
}
