package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// docs/json.md lists the fields of a line of --json, in their order.
func TestResultIsDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n### Result\n")
	if !ok {
		t.Fatal("docs/json.md has no heading Result")
	}
	section, _, _ = strings.Cut(section, "\n#")
	var got, want []string
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) > 3 && strings.Contains(cells[1], "`") {
			got = append(got, strings.Trim(cells[1], " `"))
		}
	}
	for i := range reflect.TypeFor[result]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[result]().Field(i).Tag.Get("json"), ",")
		want = append(want, name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/json.md has the fields %q, a result has %q", got, want)
	}
}
