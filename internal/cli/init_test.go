package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/internal/format"
)

// printedPlan is what --print prints.
type printedPlan struct {
	Target map[string]json.RawMessage `json:"target"`
}

// planOfAll is the plan of every target, by name; nil where there is none.
func (p printing) planOfAll(t *testing.T) map[string]string {
	t.Helper()
	p.args = []string{"*"}
	code, out, _ := p.run(t, "build", "--print")
	if code != codeDone {
		return nil
	}
	var plan printedPlan
	if err := json.Unmarshal([]byte(out), &plan); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for name, target := range plan.Target { // into a map
		all[name] = string(target)
	}
	return all
}

// What init makes of real definitions plans what they planned, is formatted,
// and has nothing wrong.
func TestInitKeepsPlans(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	included, rewritten := 0, 0
	for _, p := range append(corpus(t), madeUp(t)...) {
		if seen[p.dir] {
			continue
		}
		seen[p.dir] = true
		dir := filepath.Join(t.TempDir(), "work")
		if err := os.CopyFS(dir, os.DirFS(p.dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, "build.hcl")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		here := printing{dir: dir}
		before := here.planOfAll(t)
		code, _, errOut := here.run(t, "init", "--yes")
		if code != codeDone {
			if before != nil || !strings.Contains(errOut, "there is nothing to build") {
				t.Errorf("kiln init in a copy of %s: exit code %d\n%s", p.dir, code, errOut)
			}
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "build.hcl"))
		if err != nil {
			t.Fatal(err)
		}
		if formatted, err := format.Source(text); err != nil || string(formatted) != string(text) {
			t.Errorf("in a copy of %s it is not formatted (%v):\n%s", p.dir, err, cmp.Diff(string(formatted), string(text)))
		}
		if strings.Contains(errOut, "cannot be included") {
			rewritten++
		} else if strings.Contains(string(text), "\ninclude ") {
			included++
		}
		after := here.planOfAll(t)
		for name, target := range before { // each for itself
			if diff := cmp.Diff(target, after[name]); diff != "" && !strings.HasPrefix(name, "_") {
				t.Errorf("target %s of a copy of %s (-before +after):\n%s\n%s", name, p.dir, diff, text)
			}
		}
	}
	t.Chdir(wd)
	t.Logf("%d directories: included %d, written out %d", len(seen), included, rewritten)
}

// Of many that write one file at once one does, also where files cannot be
// linked; and what a link stands for that leads nowhere is not made.
func TestWriteNewReplacesNothing(t *testing.T) {
	for name, link := range map[string]func(from, to string) error{ // each for itself
		"links":    os.Link,
		"no links": func(string, string) error { return errors.ErrUnsupported },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "build.hcl")
			var wrote atomic.Int32
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					if err := writeNew(file, "whole\n", link); err == nil {
						wrote.Add(1)
					} else if !errors.Is(err, fs.ErrExist) {
						t.Error(err)
					}
				})
			}
			all.Wait()
			text, err := os.ReadFile(file)
			if err != nil || string(text) != "whole\n" || wrote.Load() != 1 {
				t.Errorf("%d have written %q, %v", wrote.Load(), text, err)
			}
			if err := os.Symlink("nowhere", filepath.Join(dir, "link.hcl")); err != nil {
				t.Fatal(err)
			}
			if err := writeNew(filepath.Join(dir, "link.hcl"), "x", link); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a link that leads nowhere gives %v", err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 2 {
				t.Errorf("there are %v, %v", entries, err)
			}
		})
	}
}

// madeUp are definitions with what is hard about them.
func madeUp(t *testing.T) []printing {
	t.Helper()
	write := func(files map[string]string) printing {
		dir := t.TempDir()
		for name, text := range files { // each for itself
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return printing{dir: dir}
	}
	return slices.Clone([]printing{
		write(map[string]string{
			"docker-bake.hcl":          "variable \"TAG\" { default = null }\ntarget \"default\" { tags = [\"a:1\"] }\n",
			"docker-bake.override.hcl": "target \"default\" {\n  args = { A = \"$${HOME} %%{x}\", B = \"\\\"q\\\" \\\\ \\n\" }\n  labels = { \"a.b/c\" = \"$${x}\" }\n}\n",
			"Dockerfile":               "FROM scratch\nCOPY . /\n",
			"other/Dockerfile":         "FROM a:2\nCOPY . /\n",
			"other/x":                  "x",
		}),
		write(map[string]string{
			"compose.yaml":          "services:\n  web:\n    build: ./web\n    image: acme/web:1\n  db:\n    image: postgres\n",
			"api/compose.yaml":      "services:\n  web:\n    build: .\n  api:\n    build: {context: ., target: prod, args: {A: 'b$$c'}}\n",
			"api/docker-bake.json":  `{"group": {"default": {"targets": ["j"]}}, "target": {"j": {"contexts": {"x": "target:_h"}}, "_h": {}}}`,
			"lib/docker-bake.hcl":   "group \"default\" { targets = [\"lib\"] }\ntarget \"lib\" { tags = [\"acme/lib\"] }\n",
			"lib/Dockerfile":        "FROM scratch\n",
			"user/Dockerfile":       "FROM acme/lib:3 AS build\nFROM build AS dev\nFROM acme/web\n",
			"broken/compose.yaml":   "services: [",
			"odd [name]/Dockerfile": "FROM alpine\n",
			"b*d/build.hcl":         "target \"star\" {}\n",
		}),
	})
}

// A question ends when the run is interrupted, though nobody answers.
func TestAQuestionIsInterrupted(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var asked strings.Builder
	a := &app{Streams: Streams{In: in, Err: &asked}}
	if yes, err := a.agreed(ctx, "Go on?"); yes || err == nil || err.Error() != "interrupted" || asked.String() != "Go on? [y/N] \n" {
		t.Errorf("got %v, %v, asked %q", yes, err, asked.String())
	}
}
