package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/config"
)

// TestTraceCorpus traces every target of the corpus of real definitions,
// where it is there: what a trace says is what is built, and somebody set it.
func TestTraceCorpus(t *testing.T) {
	root := filepath.Join("..", "..", "shared", "corpus")
	if _, err := os.Stat(root); err != nil {
		t.Logf("the corpus is absent: there is no %s", root)
		return
	}
	dirs, err := filepath.Glob(filepath.Join(root, "*", "[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(dirs)
	targets := 0
	for _, dir := range dirs {
		cmd := lines(t, filepath.Join(dir, "cases", "01-print", "cmd"))
		var names []string
		for i, arg := range cmd {
			if arg == "-f" && i+1 < len(cmd) {
				names = append(names, cmd[i+1])
			}
		}
		files, ok := read(filepath.Join(dir, "def"), names)
		if !ok {
			continue
		}
		cfg, tr, diags := config.LoadTrace(files, config.Inputs{})
		if diags.HasErrors() {
			continue
		}
		for _, name := range tr.Variables() {
			if v := tr.Variable(name); v == nil || len(v.Layers) == 0 || v.Layers[len(v.Layers)-1].Result != config.ResultWon {
				t.Errorf("%s: nothing won variable %s", dir, name)
			}
		}
		for _, g := range cfg.Groups {
			if tr.Group(g.Name) == nil {
				t.Errorf("%s: group %s has no trace", dir, g.Name)
			}
		}
		step := max(1, len(cfg.Targets)/10) // some definitions have thousands of instances
		for i := 0; i < len(cfg.Targets); i += step {
			targets++
			traced(t, dir, cfg.Targets[i], tr)
		}
	}
	t.Logf("%d targets traced", targets)
}

func traced(t *testing.T, dir string, target *config.Target, tr *config.Trace) {
	t.Helper()
	var printed map[string]any
	if err := json.Unmarshal(config.PrintTarget(target), &printed); err != nil {
		t.Fatal(err)
	}
	for _, a := range tr.Attributes(target.Name) {
		won := slices.ContainsFunc(a.Layers, func(l config.UsedLayer) bool {
			return l.Result == config.ResultWon || l.Result == config.ResultPart
		})
		if a.Set != won {
			t.Errorf("%s: %s of %s: set is %v, won is %v\n%s", dir, a.Name, target.Name, a.Set, won, account(a))
		}
		if !slices.Contains([]string{"args", "labels", "tags", "platforms", "target"}, a.Name) || printed[a.Name] == nil {
			continue
		}
		want, err := json.Marshal(printed[a.Name])
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(a.Value, &value); err != nil {
			t.Fatalf("%s: %s of %s: %v in %s", dir, a.Name, target.Name, err, a.Value)
		}
		got, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if s := strings.ReplaceAll(string(want), "$${", "${"); string(got) != s {
			t.Errorf("%s: %s of %s is %s, but is explained as %s", dir, a.Name, target.Name, s, got)
		}
	}
}
