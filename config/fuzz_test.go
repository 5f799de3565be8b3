package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/config"
)

// The invariant of all fuzz tests: no panic; the Config is nil if and only if
// there is an error; what loads prints as JSON; and diagnostics say what and
// where.
func checkLoad(t *testing.T, files []config.File, in config.Inputs) {
	t.Helper()
	cfg, diags := config.Load(files, in)
	if (cfg == nil) != diags.HasErrors() {
		t.Fatalf("config is %v, errors are %v", cfg != nil, diags.HasErrors())
	}
	for _, d := range diags {
		if d.Summary == "" || d.Detail == "" || len(strings.Fields(d.Summary)) > 6 {
			t.Fatalf("poor diagnostic %+v", d)
		}
	}
	if cfg == nil {
		return
	}
	var out bytes.Buffer
	if err := config.Print(&out, cfg.Groups, cfg.Targets); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(out.Bytes()) {
		t.Fatalf("not JSON: %s", out.Bytes())
	}
}

// seeds adds the texts of the recorded cases of one format, and of the
// diagnostics.
func seeds(f *testing.F, suffix string) {
	f.Helper()
	data, err := os.ReadFile("testdata/bake.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for i, line := range bytes.Split(data, []byte("\n")) {
		var c recorded
		if json.Unmarshal(line, &c) == nil && strings.HasSuffix(c.File, suffix) && (suffix == ".json" || i%6 == 0) {
			f.Add([]byte(c.Text))
		}
	}
}

func FuzzHCL(f *testing.F) {
	seeds(f, ".hcl")
	f.Add([]byte(variantFile))
	data, err := os.ReadFile("testdata/diagnostics.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, section := range strings.Split(string(data), "### ")[1:] {
		_, body, _ := strings.Cut(section, "\n")
		text, _, _ := strings.Cut(body, "==>\n")
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkLoad(t, []config.File{{Name: "build.hcl", Data: data}}, config.Inputs{Env: map[string]string{"V": "1", "TAG": "a,b"}})
	})
}

func FuzzJSON(f *testing.F) {
	seeds(f, ".json")
	f.Fuzz(func(t *testing.T, data []byte) {
		checkLoad(t, []config.File{{Name: "build.json", Data: data}}, config.Inputs{})
	})
}

// FuzzPieces compares a file that is parsed in pieces with one that is parsed
// as a whole: a long one, made of a text and a filling.
func FuzzPieces(f *testing.F) {
	seeds(f, ".hcl")
	f.Add([]byte("x = <<E\n}\nE\n/* { */ # {\ny = \"${\"}\"}\"\n"))
	filling := strings.Repeat("target \"filling\" { args = { A = \"1\" } }\n", 500)
	f.Fuzz(func(t *testing.T, data []byte) {
		tell := func(text string) (string, int) {
			cfg, diags := config.Load([]config.File{{Name: "build.hcl", Data: []byte(text)}}, config.Inputs{})
			if cfg == nil {
				return told(diags), -1
			}
			return told(diags), len(cfg.Targets)
		}
		short, n := tell("target \"filling\" {}\n" + string(data) + "\n")
		long, m := tell("target \"filling\" {}\n" + string(data) + "\n" + filling)
		if n >= 0 && m >= 0 && short != long {
			t.Fatalf("in pieces\n%s\nas a whole\n%s", long, short)
		}
		if n >= 0 && m != n {
			t.Fatalf("%d targets in pieces, %d as a whole\n%s", m, n, long)
		}
	})
}

func FuzzSet(f *testing.F) {
	for _, s := range []string{"t.tags=x", "*.args.A=b", "t.args.A", "m-*.output+=type=image", "t.secret.a=env=F", "prod.push=true", "g.resources.memory=1", "t.attest=type=sbom,disabled=x", "t.contexts.x=", "[.tags=x", "t.load=1"} {
		f.Add(s, "t.tags+=y")
	}
	file := variantFile + `
target "t" {
  tags   = ["a"]
  secret = ["id=a,env=E"]
  attest = ["type=sbom"]
  output = ["type=image"]
  policy = ["strict=true"]
  resources = { memory = "1g" }
}
group "g" { targets = ["t", "api"] }
`
	f.Fuzz(func(t *testing.T, a, b string) {
		var in config.Inputs
		for _, s := range []string{a, b} {
			if o, ok := override(s); ok {
				in.Overrides = append(in.Overrides, o)
			}
		}
		checkLoad(t, []config.File{{Name: "build.hcl", Data: []byte(file)}}, in)
	})
}

func FuzzVar(f *testing.F) {
	types := []string{"", "string", "bool", "number", "any", "list(string)", "set(number)", "map(bool)", "tuple([string, number])", "object({ a = string, b = optional(list(number)) })", "list(list(string))", "map(object({ x = any }))"}
	for i := range types {
		for _, v := range []string{"", "a", "1", "true", "a,b", "a:1,b:2", `["a"]`, `{"a":"x"}`, "null", "[]", `"x`, "1e400000000", "NaN"} {
			f.Add(i, v, i%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, i int, value string, asJSON bool) {
		text := "variable \"V\" {\n  type = " + types[abs(i)%len(types)] + "\n}\n"
		if types[abs(i)%len(types)] == "" {
			text = "variable \"V\" { default = [null, 1, true, \"s\", [], {}][" + string(rune('0'+abs(i)%6)) + "] }\n"
		}
		name := "V"
		if asJSON {
			name = "V_JSON"
		}
		checkLoad(t, []config.File{{Name: "build.hcl", Data: []byte(text + "target \"a\" { args = { V = try(jsonencode(V), \"\") } }\n")}},
			config.Inputs{Vars: map[string]string{name: value}})
	})
}

func abs(i int) int { return int(uint(i) >> 1) }

// TestSameEveryTime loads one definition a hundred times, on one core and
// on more, and expects the same bytes, of what is printed and of what is told.
func TestSameEveryTime(t *testing.T) {
	text := variantFile + shapes[0].text(500) + shapes[3].text(300) + "\ntarget \"warned\" {\n  tag = 1\n  tagz = 1\n  fo = 1\n}\nfoo {}\n" +
		"variable \"W\" { default = { b = 1, a = 2 } }\ntarget \"mm\" {\n  name = \"mm-${x}-${y}\"\n  matrix = { y = W, x = [\"1\", \"2\"] }\n}\n"
	broken := text + "target \"e\" { tags = [a, b, c] }\ntarget \"f\" { args = { A = d, B = e, C = f } }\nvariable \"P\" { default = Q }\nvariable \"Q\" { default = R }\nR = P\n"
	files := func(s string) []config.File { return []config.File{{Name: "build.hcl", Data: []byte(s)}} }
	first, firstTold := "", ""
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for i := range 100 {
		runtime.GOMAXPROCS(1 + i%8)
		cfg, diags := config.Load(files(text), config.Inputs{})
		if cfg == nil {
			t.Fatal(told(diags))
		}
		_, errs := config.Load(files(broken), config.Inputs{})
		got, gotTold := show(t, cfg)+told(diags), told(errs)
		if i == 0 {
			first, firstTold = got, gotTold
		}
		if got != first || gotTold != firstTold {
			t.Fatalf("run %d differs:\n%s", i, gotTold)
		}
	}
}
