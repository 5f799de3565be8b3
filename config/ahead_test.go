package config

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// aheadText is targets enough to be evaluated ahead, each with every kind of
// expression, and, where wrong(i), with an error.
func aheadText(wrong func(i int) string) string {
	var b strings.Builder
	b.WriteString(`
variable "TAG" { default = "1" }
late = "${TAG}.x"
function "twice" {
  params = [x]
  result = "${x}${TAG}${x}"
}
target "parent" { args = { P = TAG } }
variant "v" { labels = { V = variant } }
`)
	for i := range 3 * aheadLeast {
		fmt.Fprintf(&b, `
target "t%d" {
  inherits = ["parent"]
  args     = { A = TAG, B = late, C = twice("%d"), D = null }
  tags     = [for t in ["a", "b"] : "t%d:${t}${TAG}"]
  labels   = { L = try(nosuch.x, "none") }
  contexts = { c = target.parent.args.P }
  secret   = ["id=s%d,src=f"]
  no-cache = %d == 5
%s
}
`, i, i, i, i, i, wrong(i))
	}
	fmt.Fprintf(&b, `
target "m" {
  name   = "m-${x}"
  matrix = { x = ["a", "b"] }
  args   = { X = x, TAG = TAG }
}
target "v" {
  variants = ["v", "w"]
  tags     = ["v:${variant}"]
}
`)
	return b.String()
}

// loadOn loads a text with that many cores and returns what is printed and told.
func loadOn(t *testing.T, cores int, text string) string {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
	cfg, diags := Load([]File{{Name: "build.hcl", Data: []byte(text)}}, Inputs{})
	var b strings.Builder
	for _, d := range diags {
		fmt.Fprintf(&b, "%s: %s: %s\n", d.Subject, d.Summary, d.Detail)
	}
	if cfg != nil {
		if err := Print(&b, cfg.Groups, cfg.Targets); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// TestCoresMakeNoDifference loads definitions on one core, where nothing is
// evaluated ahead, and on several.
func TestCoresMakeNoDifference(t *testing.T) {
	const costly = `regexall("a{1000}b{1000}c{1000}d{1000}e{1000}", "")` // so that not all calls are let through
	for name, wrong := range map[string]func(i int) string{
		"right":      func(int) string { return "" },
		"warned":     func(i int) string { return fmt.Sprintf("  tag = \"%d\"\n", i) },
		"unsuitable": func(i int) string { return "  pull = \"perhaps\"\n" },
		"missing":    func(i int) string { return "  target = NOSUCH\n" },
		"some wrong": func(i int) string { return strings.Repeat("  target = twice()\n", i/100) },
		"too much":   func(i int) string { return "  target = length(" + costly + ")\n" },
		"tried":      func(i int) string { return "  target = try(length(" + costly + "), \"refused\")\n" },
	} {
		text := aheadText(wrong)
		want := loadOn(t, 1, text)
		if want == "" {
			t.Fatalf("%s: nothing printed, nothing told", name)
		}
		if name == "tried" && !(strings.Contains(want, `"target": "0"`) && strings.Contains(want, `"target": "refused"`)) {
			t.Errorf("want some calls let through, and some refused")
		}
		for _, cores := range []int{2, 8} {
			if diff := cmp.Diff(want, loadOn(t, cores, text)); diff != "" {
				t.Fatalf("%s: on %d cores (-one +more):\n%.2000s", name, cores, diff)
			}
		}
	}
}
