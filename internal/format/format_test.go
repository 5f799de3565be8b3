package format

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
)

func TestSource(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"blank lines only", "\n \n\n", ""},
		{"layout", "target   \"a\"{\n\n\ncontext=\".\"\n   dockerfile  =   \"x\" # why  \n\n\n\n args={A=1,\nB = 2}\n\n}\n\n\n\n\ngroup \"default\" {targets=[\"a\"]}\n\n\n",
			"target \"a\" {\n  context    = \".\"\n  dockerfile = \"x\" # why\n\n  args = { A = 1,\n  B = 2 }\n}\n\ngroup \"default\" { targets = [\"a\"] }\n"},
		{"comments stay", "# head\n\n// other\n/* long\n   one   \n*/\ntarget \"a\" { # open\n  # inside\n\n  # last\n\n}\n# end",
			"# head\n\n// other\n/* long\n   one   \n*/\ntarget \"a\" { # open\n  # inside\n\n  # last\n}\n# end\n"},
		{"heredocs keep their text", "target \"a\" {\n  dockerfile-inline = <<EOT\nFROM x  \n\n\n   RUN  y\n${ A }\n\n\nEOT\n\n\n  args={}\n}\n",
			"target \"a\" {\n  dockerfile-inline = <<EOT\nFROM x  \n\n\n   RUN  y\n${A}\n\n\nEOT\n\n  args = {}\n}\n"},
		{"indented heredoc", "a = <<-E\n      x\n\t\ty\n    E\n", "a = <<-E\n      x\n\t\ty\n    E\n"},
		{"Windows", "\xef\xbb\xbfa=1\r\n\r\n\r\nb  = 2 # x  \r\n# y\nc = <<E\r\n z\r\nE\r\n", "\xef\xbb\xbfa = 1\r\n\r\nb = 2 # x\r\n# y\r\nc = <<E\r\n z\r\nE\r\n"},
		{"strings keep theirs", "a = \"x  ${ b }  \\n %{ if c }y%{ endif }\"\n", "a = \"x  ${b}  \\n %{if c}y%{endif}\"\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Source([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
			again, err := Source(got)
			if err != nil || !bytes.Equal(again, got) {
				t.Errorf("twice (%v):\n%s", err, cmp.Diff(string(got), string(again)))
			}
		})
	}
}

func TestSameTokens(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"a=1\n", "a = 1", true},
		{"a = 1\n", "a = 2\n", false},
		{"a = \"x\"\n", "a = \"x \"\n", false},
		{"# x  \na = 1\n", "# x\n\na = 1\n", true},
		{"a = 1\n", "a = 1\nb = 2\n", false},
		{"a = <<E\n x\nE\n", "a = <<E\nx\nE\n", false},
	} {
		if got := sameTokens([]byte(tt.a), []byte(tt.b)); got != tt.same {
			t.Errorf("%q and %q: same is %v", tt.a, tt.b, got)
		}
	}
	if _, err := finish([]byte("a = 1\n"), []byte("a = 2\n"), false); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a changed value gives %v", err)
	}
}

func TestDiff(t *testing.T) {
	want := "--- a/x.hcl\n+++ b/x.hcl\n@@ -1,2 +1,2 @@\n-a=1\n+a = 1\n b = 2\n"
	if got := Diff("x.hcl", []byte("a=1\nb = 2\n"), []byte("a = 1\nb = 2\n")); got != want {
		t.Errorf("got %s", got)
	}
	if got := Diff("x", []byte("a"), []byte("a")); got != "" {
		t.Errorf("no difference gives %q", got)
	}
}

// real finds build files of the examples, of tests, and of the corpus of real
// definitions where it is there.
func real(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, dir := range []string{"../../examples", "../../build.hcl", "../../../shared/corpus"} {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, ".hcl") {
				out = append(out, path)
			}
			return nil
		})
	}
	if len(out) < 3 {
		t.Fatalf("found only %v", out)
	}
	return out
}

// Formatting real files twice is the same as once, and what they declare is
// the same before and after.
func TestRealFiles(t *testing.T) {
	for i, path := range real(t) {
		isCorpus := strings.Contains(path, "corpus")
		if isCorpus && raced && i%8 != 0 {
			continue
		}
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, diags := config.Syntax(config.File{Name: path, Data: src}); diags.HasErrors() {
			continue
		}
		once, err := Source(src)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		twice, err := Source(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%s: twice is not once (%v):\n%s", path, err, cmp.Diff(string(once), string(twice)))
		}
		if isCorpus && i%5 != 0 {
			continue // loading all of them takes long; that the tokens are the same was checked
		}
		if before, after := plan(src), plan(once); before != after {
			t.Errorf("%s: the plan changes:\n%s", path, cmp.Diff(before, after))
		}
	}
}

// plan is all that a file by itself declares, or what is wrong with it.
func plan(src []byte) string {
	cfg, diags := config.Load([]config.File{{Name: "build.hcl", Data: src}}, config.Inputs{Now: func() time.Time { return time.Unix(1e9, 0) }}) // a clock that stands still
	if diags.HasErrors() {
		var said []string
		for _, d := range diags {
			said = append(said, d.Summary+": "+d.Detail)
		}
		return strings.Join(said, "\n")
	}
	var out bytes.Buffer
	if err := config.Print(&out, cfg.Groups, cfg.Targets); err != nil {
		return err.Error()
	}
	return out.String()
}

// FuzzSource: whatever parses is formatted, stays what it is, and is stable.
func FuzzSource(f *testing.F) {
	for _, s := range []string{"a = <<-E\n  x\nE\n", "target \"a\" {\n\n# c\n}\n", "a = [\n\n1,\n\n# x\n2]\n", "a = \"%{ for x in y ~}\n${ x }%{ endfor }\"\n", "a = /* b */ 1\r\nb = x ? y : {\n}\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if format, diags := config.Syntax(config.File{Name: "x.hcl", Data: src}); format != "hcl" || diags.HasErrors() {
			return
		}
		once, err := Source(src)
		if err != nil {
			t.Fatalf("%q: %v", src, err)
		}
		if _, diags := config.Syntax(config.File{Name: "x.hcl", Data: once}); diags.HasErrors() {
			t.Fatalf("%q becomes %q: %v", src, once, diags)
		}
		if twice, err := Source(once); err != nil || !bytes.Equal(twice, once) {
			t.Fatalf("%q: once %q, twice %q (%v)", src, once, twice, err)
		}
	})
}
