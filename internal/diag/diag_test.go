package diag

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/kilnbuild/kiln/config"
)

// rng returns the range of the nth occurrence of text in a file of sources.
func rng(t *testing.T, sources map[string][]byte, file, text string) *hcl.Range {
	t.Helper()
	src := string(sources[file])
	at := strings.Index(src, text)
	if at < 0 {
		t.Fatalf("%s does not hold %q", file, text)
	}
	r := hcl.Range{Filename: file, Start: pos(src, at), End: pos(src, at+len(text))}
	return &r
}

func pos(src string, at int) hcl.Pos {
	begin := strings.LastIndex(src[:at], "\n") + 1
	return hcl.Pos{Line: 1 + strings.Count(src[:at], "\n"), Column: 1 + len([]rune(src[begin:at])), Byte: at}
}

var sources = map[string][]byte{
	"build.hcl": []byte(`group "default" { targets = ["app"] }

target "app" {
	contexts = { base = "target:bse", "日本語" = "target:x" }
  args = {
    NPM_TOKEN = "hunter2"
    URL       = "https://me:hunter2@example.com/x"
    SHORT     = "${NPM_TOKEN}"
  }
  tags = [
    "one", "two",
    "three",
  ]
}
`),
	"wide.json": []byte(`{"target":{"app":{"args":{` + strings.Repeat(`"A":"b",`, 40) + `"oops":"here"},` + strings.Repeat(`"C":"d",`, 40) + `"x":1}}}`),
	"evil.hcl":  []byte("target \"\x1b[31m\xff\u202e\" {}\r\nx = 1\r\n"),
}

func TestTextGolden(t *testing.T) {
	at := func(file, text string) *hcl.Range { return rng(t, sources, file, text) }
	empty := at("build.hcl", "tags")
	empty.End = empty.Start
	for _, tt := range []struct {
		name string
		o    Options
		in   hcl.Diagnostics
	}{
		{"one", Options{}, hcl.Diagnostics{
			{Severity: hcl.DiagError, Summary: "Unknown target", Detail: `Target "app" reads "target:bse", but no target has that name. Did you mean "base"?`, Subject: at("build.hcl", `"target:bse"`)},
		}},
		{"sorted, none twice, with a count", Options{}, hcl.Diagnostics{
			{Severity: hcl.DiagWarning, Summary: "Second", Subject: at("build.hcl", "contexts")},
			{Severity: hcl.DiagError, Summary: "Third", Subject: at("build.hcl", `"日本語"`), Detail: "Behind a tab; in front of wide characters."},
			{Severity: hcl.DiagWarning, Summary: "Second", Subject: at("build.hcl", "contexts")},
			{Severity: hcl.DiagError, Summary: "First", Detail: "In no file."},
			{Severity: hcl.DiagError, Summary: "Also first", Subject: &hcl.Range{Filename: "--set app.tags=x"}, Detail: "From a flag."},
			nil,
		}},
		{"several lines", Options{}, hcl.Diagnostics{
			{Severity: hcl.DiagError, Summary: "List", Subject: at("build.hcl", "[\n    \"one\", \"two\",\n    \"three\",\n  ]"), Context: at("build.hcl", `target "app" {`)},
			{Severity: hcl.DiagError, Summary: "Empty range", Subject: empty},
		}},
		{"secrets are not shown", Options{}, hcl.Diagnostics{
			{Severity: hcl.DiagError, Summary: "Args", Subject: at("build.hcl", `NPM_TOKEN = "hunter2"`)},
			{Severity: hcl.DiagError, Summary: "URL", Subject: at("build.hcl", `example.com/x`)},
			{Severity: hcl.DiagError, Summary: "Reference", Subject: at("build.hcl", `"${NPM_TOKEN}"`)},
		}},
		{"wrapped and cut to the terminal", Options{Width: 60}, hcl.Diagnostics{
			{Severity: hcl.DiagError, Summary: "Long line", Subject: at("wide.json", `"oops"`), Detail: "These words are many more than there is room for on one line of sixty columns.\n  An indented line that is too long keeps its indentation on the next."},
		}},
		{"what steers a terminal", Options{}, hcl.Diagnostics{
			{Severity: hcl.DiagError, Summary: "Evil \x1b[2J", Detail: "\u202edlrow\x07", Subject: &hcl.Range{Filename: "evil.hcl", Start: hcl.Pos{Line: 1, Column: 1}, End: hcl.Pos{Line: 2, Column: 2}}},
		}},
		{"ranges that do not fit the source", Options{}, hcl.Diagnostics{
			{Severity: hcl.DiagError, Summary: "Behind the end", Subject: &hcl.Range{Filename: "build.hcl", Start: hcl.Pos{Line: 99, Column: 3}, End: hcl.Pos{Line: 99, Column: 4}}},
			{Severity: hcl.DiagError, Summary: "Column too far", Subject: &hcl.Range{Filename: "build.hcl", Start: hcl.Pos{Line: 2, Column: 300}, End: hcl.Pos{Line: 1, Column: 4}}},
			{Severity: hcl.DiagError, Summary: "No such file", Subject: &hcl.Range{Filename: "gone.hcl", Start: hcl.Pos{Line: 2, Column: 3}, End: hcl.Pos{Line: 2, Column: 4}}},
		}},
		{"colour", Options{Color: true}, hcl.Diagnostics{
			{Severity: hcl.DiagWarning, Summary: "Careful", Detail: "Text.", Subject: at("build.hcl", "args")},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Sources = sources
			got := Text(tt.in, tt.o)
			golden(t, tt.name, got)
			if strings.Contains(got, "hunter2") {
				t.Error("a password is shown")
			}
			if tt.o.Width > 0 {
				for line := range strings.Lines(got) {
					if w := ansi.StringWidth(strings.TrimRight(line, "\n")); w > tt.o.Width {
						t.Errorf("%d columns: %s", w, line)
					}
				}
			}
		})
	}
}

// golden compares text with a file of testdata; KILN_UPDATE=1 rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.NewReplacer(" ", "_", ",", "").Replace(name)+".golden")
	if os.Getenv("KILN_UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s:\n%s", path, diff)
	}
}

func TestTextOfNothing(t *testing.T) {
	if got := Text(nil, Options{}); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestValues(t *testing.T) {
	expr, diags := hclsyntax.ParseExpression([]byte(`"${TAG}-${DB_PASSWORD}-${list[0]}-${map.a}-${gone}-${n}-${nothing}-${open}-${TAG}"`), "f", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{
		"TAG":         cty.StringVal("v1 https://u:hunter2@host/ " + strings.Repeat("long", 30)),
		"DB_PASSWORD": cty.StringVal("hunter2"),
		"list":        cty.TupleVal([]cty.Value{cty.ListVal([]cty.Value{cty.True})}),
		"map":         cty.ObjectVal(map[string]cty.Value{"a": cty.MapVal(map[string]cty.Value{"k": cty.Zero})}),
		"n":           cty.NumberFloatVal(1.5),
		"nothing":     cty.NullVal(cty.String),
		"open":        cty.UnknownVal(cty.String),
	}}
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "S", Expression: expr, EvalContext: ctx}
	want := `error: S
  with DB_PASSWORD = (hidden)
  with TAG = "v1 https://*********@host/ longlonglonglonglonglonglonglongl"...
  with list[0] = (list of 1)
  with map.a = (map of 1)
  with n = 1.5
  with nothing = null
  with open = (not known)
`
	if diff := cmp.Diff(want, Text(hcl.Diagnostics{d}, Options{})); diff != "" {
		t.Error(diff)
	}
}

func TestJSON(t *testing.T) {
	diags := hcl.Diagnostics{
		{Severity: hcl.DiagWarning, Summary: "W", Detail: "D.", Subject: rng(t, sources, "build.hcl", "NPM_TOKEN"), Context: rng(t, sources, "build.hcl", "args")},
		{Severity: hcl.DiagError, Summary: "E", Subject: &hcl.Range{Filename: "--push"}},
		{Severity: hcl.DiagError, Summary: "E", Subject: &hcl.Range{Filename: "--push"}},
	}
	got := JSON(diags, Options{Sources: sources})
	golden(t, "json", string(got))
	var doc map[string]any
	if err := json.Unmarshal(got, &doc); err != nil || len(doc["diagnostics"].([]any)) != 2 {
		t.Errorf("%v, %v", err, doc)
	}
	if got := string(JSON(nil, Options{})); got != "{\n  \"version\": 1,\n  \"diagnostics\": []\n}\n" {
		t.Errorf("nothing gives %q", got)
	}
}

func TestSnippet(t *testing.T) {
	file := []byte("FROM base\nWORKDIR /src\nCOPY . .\nRUN --mount=type=secret,id=x \\\n\tMY_TOKEN=hunter2 make\nENV A=b\nCMD [\"app\"]\n")
	long := []byte(strings.Repeat("RUN x\n", 40))
	for _, tt := range []struct {
		name string
		span Span
		o    Options
		want string
	}{
		{"in the middle", Span{Start: 4, End: 5, Source: file}, Options{}, `   2 | WORKDIR /src
   3 | COPY . .
>> 4 | RUN --mount=type=secret,id=x \
>> 5 |     MY_TOKEN=******* make
   6 | ENV A=b
   7 | CMD ["app"]
`},
		{"at the edge", Span{Start: 1, End: 1, Source: file}, Options{Width: 12}, `>> 1 | FROM base
   2 | WORKDIR...
   3 | COPY . .
`},
		{"end before start, and too long", Span{Start: 7, End: 3, Source: file}, Options{}, `   5 |     MY_TOKEN=******* make
   6 | ENV A=b
>> 7 | CMD ["app"]
`},
		{"long", Span{Start: 10, End: 30, Source: long}, Options{}, `    8 | RUN x
    9 | RUN x
>> 10 | RUN x
>> 11 | RUN x
>> 12 | RUN x
>> 13 | RUN x
>> 14 | RUN x
      ...
>> 29 | RUN x
>> 30 | RUN x
   31 | RUN x
   32 | RUN x
`},
		{"no such line", Span{Start: 8, End: 8, Source: file}, Options{}, ""},
		{"no source", Span{Start: 1, End: 1}, Options{}, ""},
	} {
		if diff := cmp.Diff(tt.want, Snippet(tt.span, tt.o)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestFiles(t *testing.T) {
	got := Files([]config.File{{Name: "a", Data: []byte("x")}, {Name: "-", Data: nil}})
	if diff := cmp.Diff(map[string][]byte{"a": []byte("x"), "-": nil}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRedact(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`NPM_TOKEN = "abc"`, `NPM_TOKEN = "***"`},
		{`"NPM_TOKEN": "abc", "b": "c"`, `"NPM_TOKEN": "***", "b": "c"`},
		{`ARG A=b DB_PASSWORD=abc C=d`, `ARG A=b DB_PASSWORD=*** C=d`},
		{`db_password = "abc"`, `db_password = "***"`},
		{`git = "https://user:pw@host/repo"`, `git = "https://*******@host/repo"`},
		{`secret = ["id=aws,src=creds"]`, `secret = ["id=aws,src=creds"]`},
		{`RUN --mount=type=secret,id=aws make`, `RUN --mount=type=secret,id=aws make`},
		{`NPM_TOKEN = "${x}"`, `NPM_TOKEN = "${x}"`},
		{`NPM_TOKEN = x`, `NPM_TOKEN = x`},
		{`image = "docker-image://a@sha256:abc"`, `image = "docker-image://a@sha256:abc"`},
	} {
		if got := Redact(tt.in); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("a\tb\n"), "s", 1, 1, 1, 3, 20)
	f.Add([]byte("日本\xff\x1b[0m\r\n\n"), "s\x1b", 1, 2, 3, 0, 7)
	f.Fuzz(func(t *testing.T, src []byte, text string, l1, c1, l2, c2, width int) {
		r := &hcl.Range{Filename: "f", Start: hcl.Pos{Line: l1, Column: c1}, End: hcl.Pos{Line: l2, Column: c2}}
		o := Options{Sources: map[string][]byte{"f": src}, Width: width % 200}
		d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: text, Detail: text, Subject: r}
		got := Text(hcl.Diagnostics{d}, o) + Snippet(Span{Start: l1, End: l2, Source: src}, o)
		if strings.ContainsAny(got, "\x1b\a\r") {
			t.Errorf("steers the terminal: %q", got)
		}
	})
}
