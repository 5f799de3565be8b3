package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/picture"
)

// A printing is a command line that --print succeeded for, or may.
type printing struct {
	dir  string // to run in
	env  []string
	args []string // of build and of graph: files, overrides, names

	stdin string
}

func (p printing) run(t *testing.T, command ...string) (code int, out, errOut string) {
	t.Helper()
	t.Chdir(p.dir)
	var o, e bytes.Buffer
	code = mainAt(context.Background(), noon, append(command, p.args...), p.env, Streams{In: strings.NewReader(p.stdin), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

// noon is the clock of printings: two of one definition are alike.
func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

// examples are the build files of this repository.
func examples(t *testing.T) []printing {
	t.Helper()
	var out []printing
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "examples", "*", "*.hcl"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, f := range append(files, filepath.Join(root, "build.hcl")) {
		out = append(out, printing{dir: filepath.Dir(f), args: []string{"-f", filepath.Base(f), "*"}})
	}
	return out
}

// corpus are command lines of the corpus of real definitions, where it is at
// hand, that say nothing but files, variables and names: the first two
// definitions of each repository.
func corpus(t *testing.T) []printing {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", "..", "..", "shared", "corpus"))
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(root, "*", "[12]", "cases", "*"))
	if err != nil {
		t.Fatal(err)
	}
	read := func(dir, name string) []string {
		data, _ := os.ReadFile(filepath.Join(dir, name)) // most are not there
		return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' })
	}
	var out []printing
	seen := map[string]bool{}
	for _, dir := range dirs {
		args := slices.DeleteFunc(read(dir, "cmd"), func(arg string) bool { return arg == "--print" })
		p := printing{
			dir:  filepath.Join(filepath.Dir(filepath.Dir(dir)), "def", strings.Join(read(dir, "cwd"), "")),
			env:  append([]string{"HOME=" + root, "PATH=" + os.Getenv("PATH")}, read(dir, "env")...),
			args: args,
		}
		key := p.dir // the first way to ask for a definition, and the first by a pattern
		if strings.Contains(strings.Join(args, " "), "*") {
			key += " *"
		}
		_, stdin := os.Stat(filepath.Join(dir, "stdin"))
		if seen[key] || stdin == nil || !slices.Equal(read(dir, "rc"), []string{"0"}) || !onlyDefinition(args) {
			continue
		}
		seen[key] = true
		out = append(out, p)
	}
	return out
}

// onlyDefinition reports whether the flags among args are those that every
// command that reads a definition has.
func onlyDefinition(args []string) bool {
	for i := 0; i < len(args); i++ {
		name, _, whole := strings.Cut(args[i], "=")
		switch {
		case slices.Contains([]string{"-f", "--file", "--var", "--allow"}, name):
			if !whole {
				i++
			}
		case strings.HasPrefix(args[i], "-"):
			return false
		}
	}
	return true
}

// Whatever --print prints can be drawn, and the tree names every target.
func TestGraphDrawsWhatCanBePrinted(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	all := examples(t)
	real := corpus(t)
	if len(real) == 0 {
		t.Log("the corpus of real definitions is not at hand")
	}
	drawn := 0
	for i, p := range append(all, real...) {
		formats := []picture.Format{picture.Tree, picture.HTML}
		if i < len(all) {
			formats = picture.Formats()
		}
		code, printed, errOut := p.run(t, "build", "--print")
		if code != codeDone {
			if i < len(all) {
				t.Errorf("kiln build --print %q in %s: %s", p.args, p.dir, errOut)
			}
			continue
		}
		drawn++
		for _, f := range formats {
			code, out, errOut := p.run(t, "graph", "--format="+string(f))
			if code != codeDone {
				t.Errorf("kiln graph --format=%s %q in %s: exit code %d\n%s", f, p.args, p.dir, code, errOut)
			}
			if f != picture.Tree {
				continue
			}
			for line := range strings.Lines(printed) { // `    "name": {` of targets and groups
				if name, ok := strings.CutPrefix(line, `    "`); ok && strings.HasSuffix(line, "\": {\n") && !strings.HasPrefix(name, `default"`) {
					if name, _, _ = strings.Cut(name, `"`); !strings.Contains(out, name) {
						t.Errorf("the tree of %q in %s lacks %s:\n%s", p.args, p.dir, name, out)
					}
				}
			}
		}
	}
	t.Chdir(wd)
	t.Logf("%d definitions drawn", drawn)
}

// The HTML is without secrets, whatever they have become a part of, and a
// thousand targets are drawn at once.
func TestGraphOfAThousand(t *testing.T) {
	dir := t.TempDir()
	var b strings.Builder
	b.WriteString("group \"default\" { targets = [\"t999\"] }\ntarget \"t0\" {\n  args = { API_TOKEN = \"s3cr3t-s3cr3t\", URL = \"https://user:hunter22@example.com/s3cr3t-s3cr3t\" }\n}\n")
	for i := 1; i < 1000; i++ {
		b.WriteString("target \"t" + strconv.Itoa(i) + "\" {\n  tags = [\"example.com/t:" + strconv.Itoa(i) + "\"]\n  contexts = { a = \"target:t" + strconv.Itoa(i-1) + "\", b = \"target:t" + strconv.Itoa(i/2) + "\" }\n}\n")
	}
	if err := os.WriteFile(filepath.Join(dir, "build.hcl"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := printing{dir: dir}
	code, out, errOut := p.run(t, "graph", "--format=html")
	if code != codeDone || !strings.Contains(out, `"name":"t999"`) {
		t.Fatalf("exit code %d\n%s", code, errOut)
	}
	for _, secret := range []string{"s3cr3t", "hunter22"} {
		if strings.Contains(out, secret) {
			t.Errorf("the page holds %q", secret)
		}
	}
	code, out, errOut = p.run(t, "why", "t999", "t0", "--limit=3", "--json")
	if code != codeDone || strings.Count(out, "[\n      {") != 3 {
		t.Errorf("kiln why: exit code %d\n%s%s", code, out, errOut)
	}
}
