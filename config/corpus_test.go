package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/config"
)

// TestCorpusLoads loads every definition of the corpus of real ones, where it
// is there, and checks that kiln accepts what the reference tool accepts. How
// whole command lines compare is the business of the corpus's own check.py.
func TestCorpusLoads(t *testing.T) {
	root := filepath.Join("..", "..", "shared", "corpus")
	if _, err := os.Stat(root); err != nil {
		t.Logf("the corpus is absent: there is no %s", root)
		return
	}
	dirs, err := filepath.Glob(filepath.Join(root, "*", "[0-9]*", "cases", "*"))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(dirs)
	var ran, refused int
	for _, dir := range dirs {
		cmd := lines(t, filepath.Join(dir, "cmd"))
		if len(cmd) == 0 || hasPrefix(cmd, "--set", "--var") {
			continue
		}
		var names []string
		for i, arg := range cmd {
			if arg == "-f" && i+1 < len(cmd) {
				names = append(names, cmd[i+1])
			}
		}
		def := filepath.Join(filepath.Dir(filepath.Dir(dir)), "def", strings.Join(lines(t, filepath.Join(dir, "cwd")), ""))
		files, ok := read(def, names)
		if !ok {
			continue
		}
		env := map[string]string{}
		for _, l := range lines(t, filepath.Join(dir, "env")) {
			if k, v, ok := strings.Cut(l, "="); ok {
				env[k] = v
			}
		}
		wd, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chdir(def); err != nil {
			t.Fatal(err)
		}
		cfg, diags := config.Load(files, config.Inputs{Env: env})
		if err := os.Chdir(wd); err != nil {
			t.Fatal(err)
		}
		ran++
		if (cfg == nil) != diags.HasErrors() {
			t.Errorf("%s: config is %v but errors are %v", dir, cfg != nil, diags.HasErrors())
		}
		if strings.TrimSpace(strings.Join(lines(t, filepath.Join(dir, "rc")), "")) != "0" {
			continue
		}
		if diags.HasErrors() {
			refused++
			t.Errorf("%s: %v", dir, diags)
			continue
		}
		var out bytes.Buffer
		if err := config.Print(&out, cfg.Groups, cfg.Targets); err != nil || !json.Valid(out.Bytes()) {
			t.Errorf("%s: printed form is no JSON (%v)", dir, err)
		}
	}
	t.Logf("%d definitions loaded, %d refused that the reference accepts", ran, refused)
}

func hasPrefix(args []string, prefixes ...string) bool {
	for _, a := range args {
		for _, p := range prefixes {
			if strings.HasPrefix(a, p) {
				return true
			}
		}
	}
	return false
}

func lines(t *testing.T, name string) []string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// read returns the named files, or those that are found by their names.
func read(dir string, names []string) ([]config.File, bool) {
	discovered := len(names) == 0
	if discovered {
		names = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml",
			"docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"}
	}
	var files []config.File
	for _, n := range names {
		n = strings.TrimPrefix(n, "cwd://")
		data, err := os.ReadFile(filepath.Join(dir, n))
		switch {
		case err == nil:
			files = append(files, config.File{Name: n, Data: data})
		case !discovered:
			return nil, false
		}
	}
	return files, len(files) > 0
}
