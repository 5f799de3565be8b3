package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/reference says what the tables say. KILN_UPDATE=1 rewrites it.
func TestReferenceIsFresh(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "reference")
	known := map[string]bool{}
	for _, page := range Reference() {
		known[page.Name] = true
		path := filepath.Join(dir, page.Name)
		if os.Getenv("KILN_UPDATE") == "1" {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(page.Text), 0o644); err != nil { //nolint:gosec // a document
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != page.Text {
			t.Errorf("docs/reference/%s is stale (%v); make reference writes it anew", page.Name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !known[e.Name()] {
			t.Errorf("docs/reference/%s belongs to nothing", e.Name())
		}
	}
}

func TestHelpTopics(t *testing.T) {
	for topic, want := range map[string]string{
		"attributes":  "cache-from\n    Cache sources.",
		"functions":   "join(separator, lists...)\n",
		"environment": "KILN_BUILDER\n    Address of the BuildKit",
	} {
		var out, errOut bytes.Buffer
		code := Main(context.Background(), []string{"help", topic}, nil, Streams{In: strings.NewReader(""), Out: &out, Err: &errOut})
		if code != codeDone || !strings.Contains(out.String(), want) || errOut.Len() > 0 {
			t.Errorf("kiln help %s: %d\n%s\n%s", topic, code, out.String(), errOut.String())
		}
	}
}

// readInSource finds the variables that this package reads by name.
var readInSource = regexp.MustCompile(`(?:\.env\[|getenv\(|lookupEnv\(|foldEnv\()"([A-Z][A-Z_0-9]+)"`)

// Every environment variable that the command line reads is in the table.
func TestEnvironmentIsComplete(t *testing.T) {
	known := map[string]bool{"HOME": true, "PATH": true} // everybody's
	for _, v := range environment() {
		known[v.Name] = true
		if v.Topic == "" || v.Doc == "" {
			t.Errorf("%s has no topic or text", v.Name)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range readInSource.FindAllStringSubmatch(string(text), -1) {
			if !known[m[1]] {
				t.Errorf("%s reads %s, which environment() does not list", name, m[1])
			}
		}
	}
}
