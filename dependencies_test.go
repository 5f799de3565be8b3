package kiln_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDependenciesHaveReasons checks that each direct dependency of go.mod
// has its line in the decision about them.
func TestDependenciesHaveReasons(t *testing.T) {
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/decisions/0002-dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) > 2 && strings.TrimSpace(cells[2]) != "" {
			reasons = append(reasons, cells[1])
		}
	}
	direct := regexp.MustCompile(`(?m)^\t([a-z0-9./A-Z_-]+) v\S+$`).FindAllStringSubmatch(string(gomod), -1)
	if len(direct) < 20 {
		t.Fatalf("found only %d direct dependencies in go.mod", len(direct))
	}
	for _, m := range direct {
		if !explained(m[1], reasons) {
			t.Errorf("%s has no line in docs/decisions/0002-dependencies.md", m[1])
		}
	}
}

// explained reports whether a line names the module in full, or by its last
// part in a line that begins with its siblings.
func explained(module string, reasons []string) bool {
	parts := strings.Split(module, "/")
	for _, r := range reasons {
		names := regexp.MustCompile(`[\w./-]+`).FindAllString(r, -1)
		for _, n := range names {
			family := strings.HasPrefix(strings.TrimSpace(r), strings.Join(parts[:2], "/")) || strings.HasPrefix(strings.TrimSpace(r), parts[0])
			if n == module || family && n == parts[len(parts)-1] {
				return true
			}
		}
	}
	return false
}
