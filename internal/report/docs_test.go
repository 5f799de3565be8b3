package report_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/report"
	"github.com/kilnbuild/kiln/internal/runs"
)

// docs/report.md lists the fields of every object, in their order.
func TestFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[report.Report](), reflect.TypeFor[report.Summary](), reflect.TypeFor[report.Critical](), reflect.TypeFor[report.PathPart](), reflect.TypeFor[report.StepTime](),
		reflect.TypeFor[report.Comparison](), reflect.TypeFor[report.TargetChange](),
		reflect.TypeFor[runs.Run](), reflect.TypeFor[runs.Target](), reflect.TypeFor[runs.Times](), reflect.TypeFor[runs.Failure](), reflect.TypeFor[runs.Step](), reflect.TypeFor[runs.ListingRef](),
		reflect.TypeFor[exec.Recipe](), reflect.TypeFor[exec.RecipeInput](),
		reflect.TypeFor[runs.Rebuild](), reflect.TypeFor[runs.Root](), reflect.TypeFor[runs.Rebuilt](), reflect.TypeFor[runs.Cause](),
	} {
		_, section, ok := strings.Cut(string(text), "\n### "+typ.Name()+"\n")
		if !ok {
			t.Errorf("docs/report.md has no heading %s", typ.Name())
			continue
		}
		section, _, _ = strings.Cut(section, "\n#")
		var got, want []string
		for line := range strings.Lines(section) {
			if cells := strings.Split(line, "|"); len(cells) > 3 {
				if name := strings.Trim(cells[1], " `"); name != "field" && name != "---" {
					got = append(got, name)
				}
			}
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous {
				name = "all of " + f.Name
			}
			want = append(want, name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("docs/report.md has of %s the fields %q, there are %q", typ.Name(), got, want)
		}
	}
}
