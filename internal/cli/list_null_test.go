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
