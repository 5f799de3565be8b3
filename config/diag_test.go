package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
)

// TestDiagnostics compares with testdata/diagnostics.txt: after each line
// "### NAME" a build file, after "==>" what is told of it, Deferred included.
// Lines "+env V=…", "+var V=…" and "+set T.K=…" before the file are inputs.
// KILN_UPDATE=1 writes what is told now.
func TestDiagnostics(t *testing.T) {
	const golden = "testdata/diagnostics.txt"
	data, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i, section := range strings.Split(string(data), "### ") {
		if i == 0 {
			out.WriteString(section)
			continue
		}
		name, body, _ := strings.Cut(section, "\n")
		source, want, _ := strings.Cut(body, "==>\n")
		got := tellOf(source)
		if strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s: %s", name, cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)))
		}
		out.WriteString("### " + name + "\n" + source + "==>\n" + got + "\n")
	}
	if os.Getenv("KILN_UPDATE") == "1" {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func tellOf(source string) string {
	in := config.Inputs{Env: map[string]string{}, Vars: map[string]string{}, Platform: "linux/amd64"}
	for strings.HasPrefix(source, "+") {
		var line string
		line, source, _ = strings.Cut(source, "\n")
		kind, text, _ := strings.Cut(line[1:], " ")
		k, v, _ := strings.Cut(text, "=")
		switch kind {
		case "env":
			in.Env[k] = v
		case "var":
			in.Vars[k] = v
		case "set":
			o, _ := override(text)
			in.Overrides = append(in.Overrides, o)
		}
	}
	name := "build.hcl"
	if strings.HasPrefix(source, "{") {
		name = "build.json"
	}
	cfg, diags := config.Load([]config.File{{Name: name, Data: []byte(source)}}, in)
	got := told(diags)
	if cfg != nil {
		for _, x := range cfg.Targets {
			got += told(x.Deferred)
		}
	}
	return got
}
