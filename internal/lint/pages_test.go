package lint

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The pages of docs/lint are those of the table, no more and no less.
func TestPages(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "lint")
	want := map[string]string{"README.md": Index()}
	for _, r := range Rules() {
		want[r.Name+".md"] = PageOf(r)
	}
	for name, text := range want {
		path := filepath.Join(dir, name)
		if os.Getenv("KILN_UPDATE") == "1" {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s is out of date (%v): KILN_UPDATE=1 go test ./internal/lint", path, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if want[e.Name()] == "" {
			t.Errorf("docs/lint/%s is of no rule", e.Name())
		}
	}
}

func TestList(t *testing.T) {
	list := List()
	for _, name := range Names() {
		if !strings.Contains(list, "\n"+name+" ") {
			t.Errorf("%s is not in the list", name)
		}
		if Find(name) == nil && !strings.HasPrefix(Elsewhere(name), name+" is ") {
			t.Errorf("nothing is said of %s", name)
		}
	}
}

func TestJSON(t *testing.T) {
	r := sample()
	var doc struct {
		Version  int
		Problems []struct {
			Rule, Severity, Snippet, File string
			Start, End                    *struct{ Line, Column int }
		}
	}
	out := JSON(r, map[string][]byte{"build.hcl": []byte("\n\n\n\n\n\nX_TOKEN = \"hunter2-hunter2\"\r\n")})
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Version != 1 || len(doc.Problems) != len(r.Problems) {
		t.Fatalf("got %s", out)
	}
	if p := doc.Problems[1]; p.Rule != "mutable-tag" || p.Severity != "note" || p.Snippet != `X_TOKEN = "***************"` || p.Start.Line != 7 || p.End.Column != 9 {
		t.Errorf("got %+v", p)
	}
	if p := doc.Problems[2]; p.Start != nil || p.File != "--set x=y" {
		t.Errorf("got %+v", p)
	}
	if got := string(JSON(&Report{}, nil)); got != "{\n  \"version\": 1,\n  \"problems\": []\n}\n" {
		t.Errorf("nothing gives %q", got)
	}
}
