package cli

import (
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/config"
)

// Without variables bake prints an empty list, but null if all files are
// Compose files.
func TestListNoVariables(t *testing.T) {
	compose := config.File{Name: "compose.yaml", Data: []byte("services: { a: { build: . } }")}
	bake := config.File{Name: "docker-bake.hcl", Data: []byte("target \"a\" {}")}
	for _, c := range []struct {
		files []config.File
		want  string
	}{
		{[]config.File{compose}, "null\n"},
		{[]config.File{bake}, "[]\n"},
		{[]config.File{compose, bake}, "[]\n"},
	} {
		cfg, diags := config.Load(c.files, config.Inputs{})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		var b strings.Builder
		if err := (listSpec{kind: "variables", json: true}).list(&b, cfg); err != nil || b.String() != c.want {
			t.Errorf("%d files: %q %v, want %q", len(c.files), b.String(), err, c.want)
		}
	}
}

func TestListOneName(t *testing.T) {
	file := config.File{Name: "build.hcl", Data: []byte(`
target "b" { description = "mine" }
target "a" { inherits = ["b"] }
group "a" { targets = ["a", "b"] }
group "c" {
  targets     = ["b", "a"]
  description = "all"
}
group "d" {
  targets     = []
  description = "none"
}
target "_hidden" {}`)}
	cfg, diags := config.Load([]config.File{file}, config.Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var b strings.Builder
	want := "TARGET\tDESCRIPTION\na\na\ta, b\nb\tmine\nc\tall (a, b)\nd\tnone\n"
	err := (listSpec{kind: "targets"}).list(&b, cfg)
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \t\n"))
	}
	if got := strings.Join(lines, "\n") + "\n"; got != want || err != nil {
		t.Errorf("got %q %v, want %q", got, err, want)
	}
}

// What would steer a terminal, or break a row, is not passed on.
func TestListIsVisible(t *testing.T) {
	cfg, diags := config.Load([]config.File{{Name: "build.hcl", Data: []byte(`
variable "V" { default = "one\ntwo\u001b[2J" }
target "a" { description = "x\u001b[31m" }`)}}, config.Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var b strings.Builder
	if err := inventoryOf(cfg).print(&b); err != nil || strings.Contains(b.String(), "\x1b") || !strings.Contains(b.String(), "one\ufffdtwo\ufffd[2J\n") {
		t.Errorf("got %q, %v", b.String(), err)
	}
}
