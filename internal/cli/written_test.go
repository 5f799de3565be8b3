package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

// A definitionAt is where one is, and how it is named.
type definitionAt struct {
	dir  string
	args []string // -f
}

// written are those of the examples, and of the corpus of real ones where
// it is there, each with the arguments of its first case.
func written(t *testing.T) []definitionAt {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	out := []definitionAt{{dir: root}}
	examples, err := filepath.Glob(filepath.Join(root, "examples", "*", "build.hcl"))
	if err != nil || len(examples) < 3 {
		t.Fatalf("examples: %v, %v", examples, err)
	}
	for _, e := range examples {
		out = append(out, definitionAt{dir: filepath.Dir(e)})
	}
	corpus, err := filepath.Glob(filepath.Join(root, "..", "shared", "corpus", "*", "[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(corpus)
	for i, c := range corpus {
		cmd, err := os.ReadFile(filepath.Join(c, "cases", "01-print", "cmd"))
		if err != nil || i%10 != 0 { // all of them take long; config and lint look at all
			continue
		}
		d := definitionAt{dir: filepath.Join(c, "def")}
		words := strings.Split(string(cmd), "\n")
		for j, w := range words {
			if w == "-f" && j+1 < len(words) {
				d.args = append(d.args, "-f", words[j+1])
			}
		}
		out = append(out, d)
	}
	t.Logf("%d definitions", len(out))
	return out
}

// kiln runs a command in a definition's directory.
func (d definitionAt) kiln(t *testing.T, command ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir(d.dir)
	var out, errs bytes.Buffer
	env := []string{"HOME=" + t.TempDir(), "BIN=bin", "GOROOT=go", "SSH_AUTH_SOCK=/nowhere"}
	code = Main(context.Background(), append(command, d.args...), env, Streams{Out: &out, Err: &errs})
	return code, out.String(), errs.String()
}

// What --print takes, explain explains, check checks and fmt formats.
func TestWhatPrintsIsExplainedCheckedAndFormatted(t *testing.T) {
	for _, d := range written(t) {
		t.Run(filepath.Base(filepath.Dir(d.dir))+"_"+filepath.Base(d.dir), func(t *testing.T) {
			if code, _, _ := d.kiln(t, "build", "--print", "*"); code != codeDone {
				return
			}
			if code, out, errs := d.kiln(t, "check", "--format=sarif"); code != codeDone && code != codeFailed || !json.Valid([]byte(out)) {
				t.Errorf("check: exit code %d: %s%s", code, errs, out)
			}
			if len(d.args) == 0 { // fmt takes names, not -f
				if code, _, errs := d.kiln(t, "fmt", "--diff"); code != codeDone {
					t.Errorf("fmt: exit code %d: %s", code, errs)
				}
			}
			code, out, errs := d.kiln(t, append([]string{"explain", "--json"}, someNames(t, d)...)...)
			if code != codeDone || !json.Valid([]byte(out)) {
				t.Errorf("explain: exit code %d: %s", code, errs)
			}
			if code, out, errs := d.kiln(t, append([]string{"explain"}, someNames(t, d)...)...); code != codeDone || out == "" {
				t.Errorf("explain: exit code %d: %s", code, errs)
			}
		})
	}
}

// someNames lists some of the targets, and the groups and variables.
func someNames(t *testing.T, d definitionAt) []string {
	t.Helper()
	code, out, errs := d.kiln(t, "list", "--json")
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
