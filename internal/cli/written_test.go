package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A written is a definition of the examples or of the corpus of real ones, as
// a command line of build names it.
type written struct {
	printing          // with the flags that say what the definition is
	build    []string // all arguments of build
}

// someWritten are the definitions of the examples and, where the corpus is
// there, those of its command lines: the first of each definition, and all
// that read standard input, grant something or set variables.
func someWritten(t *testing.T) []written {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob(filepath.Join(root, "examples", "*", "build.hcl"))
	if err != nil || len(examples) < 3 {
		t.Fatalf("examples: %v, %v", examples, err)
	}
	var out []written
	for _, file := range append(examples, filepath.Join(root, "build.hcl")) {
		out = append(out, written{printing{dir: filepath.Dir(file), env: []string{"HOME=" + t.TempDir(), "BIN=bin", "GOROOT=go"}}, []string{"*"}})
	}
	cases, err := filepath.Glob(filepath.Join(root, "..", "shared", "corpus", "*", "[0-9]*", "cases", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, dir := range cases {
		w := ofCase(t, dir)
		isOdd := w.stdin != "" || slices.ContainsFunc(w.args, func(arg string) bool { return strings.HasPrefix(arg, "--var") || strings.HasPrefix(arg, "--allow") })
		isFirst := filepath.Base(dir) == "01-print"
		if (isFirst || isOdd) && (!raced || i%10 == 0) {
			out = append(out, w)
		}
	}
	t.Logf("%d command lines", len(out))
	return out
}

// ofCase reads a case of the corpus.
func ofCase(t *testing.T, dir string) written {
	t.Helper()
	read := func(name string) string {
		data, _ := os.ReadFile(filepath.Join(dir, name)) // most are not there
		return string(data)
	}
	lines := func(text string) []string {
		return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	}
	w := written{printing{
		dir:   filepath.Join(filepath.Dir(filepath.Dir(dir)), "def", strings.TrimSpace(read("cwd"))),
		env:   append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, lines(read("env"))...),
		stdin: read("stdin"),
	}, slices.DeleteFunc(lines(read("cmd")), func(arg string) bool { return arg == "--print" || strings.HasPrefix(arg, "--progress") })}
	for i, arg := range w.build {
		name, _, whole := strings.Cut(arg, "=")
		if slices.Contains([]string{"-f", "--file", "--var", "--allow", "--set"}, name) {
			if w.args = append(w.args, arg); !whole {
				w.args = append(w.args, w.build[i+1])
			}
		}
	}
	return w
}

// files are the flags among the arguments that name files.
func (w written) files() []string {
	var out []string
	for i, arg := range w.args {
		if arg == "-f" || arg == "--file" {
			out = append(out, arg, w.args[i+1])
		} else if strings.HasPrefix(arg, "-f=") || strings.HasPrefix(arg, "--file=") {
			out = append(out, arg)
		}
	}
	return out
}

// What --print takes, graph draws, explain explains, check checks
// and fmt formats, all with exit code 0. TestPlanCorpus does so for plan.
func TestWhatPrintsIsShown(t *testing.T) {
	took := 0
	for _, w := range someWritten(t) {
		asked := written{w.printing, w.build}
		asked.args = w.build
		if code, _, errs := asked.run(t, "build", "--print"); code != codeDone {
			if w.env[1] == "BIN=bin" {
				t.Errorf("kiln build --print in %s: %s", w.dir, errs)
			}
			continue
		}
		took++
		succeeds := func(p printing, command ...string) string {
			code, out, errs := p.run(t, command...)
			if code != codeDone {
				t.Errorf("kiln %q %q in %s: exit code %d: %s", command, p.args, w.dir, code, errs)
			}
			return out
		}
		if out := succeeds(w.printing, "check", "--format=sarif"); !json.Valid([]byte(out)) {
			t.Errorf("kiln check %q in %s: %s", w.args, w.dir, out)
		}
		named := w.printing
		named.args = w.files()
		succeeds(named, "fmt", "--diff")
		names := someNames(t, w.printing)
		if out := succeeds(w.printing, append([]string{"explain", "--json"}, names...)...); !json.Valid([]byte(out)) {
			t.Errorf("kiln explain %q in %s: %s", w.args, w.dir, out)
		}
		if out := succeeds(w.printing, append([]string{"explain"}, names...)...); out == "" {
			t.Errorf("kiln explain %q in %s says nothing", w.args, w.dir)
		}
		if out := succeeds(w.printing, "graph", "--all"); out == "" {
			t.Errorf("kiln graph %q in %s draws nothing", w.args, w.dir)
		}
	}
	t.Logf("%d of them print", took)
}

// someNames lists some of the targets, and the groups and variables.
func someNames(t *testing.T, p printing) []string {
	t.Helper()
	code, out, errs := p.run(t, "list", "--json")
	if code != codeDone {
		t.Fatalf("list: exit code %d: %s", code, errs)
	}
	var inv inventory
	if err := json.Unmarshal([]byte(out), &inv); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, x := range inv.Targets[:min(len(inv.Targets), 10)] {
		all = append(all, "target."+x.Name)
	}
	for _, g := range inv.Groups[:min(len(inv.Groups), 10)] {
		all = append(all, "group."+g.Name)
	}
	for _, v := range inv.Variables[:min(len(inv.Variables), 10)] {
		all = append(all, "var."+v.Name)
	}
	return slices.Compact(all)
}
