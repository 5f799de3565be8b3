package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// sameTree compares what readQuickly makes of a text with what hclsyntax
// does. It reports whether readQuickly could read it.
func sameTree(t *testing.T, text string) bool {
	t.Helper()
	if tooDeep(File{Name: "build.hcl", Data: []byte(text)}) != nil {
		return false
	}
	p := piece{[]byte(text), hcl.Pos{Line: 7, Column: 1, Byte: 90}}
	got := readQuickly(p, "build.hcl")
	if got == nil {
		return false
	}
	file, diags := hclsyntax.ParseConfig(p.text, "build.hcl", p.start)
	if diags.HasErrors() {
		t.Fatalf("readQuickly reads what has errors: %v\n%s", diags, text)
	}
	want := file.Body.(*hclsyntax.Body)
	got.SrcRange, got.EndRange = want.SrcRange, want.EndRange // of the file: nobody asks for it
	options := cmp.Options{
		cmp.Comparer(func(a, b cty.Value) bool { return a.RawEquals(b) }),
		cmp.Exporter(func(reflect.Type) bool { return true }),
	}
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Fatalf("readQuickly makes another tree (-hclsyntax +readQuickly):\n%s\nof:\n%s", diff, text)
	}
	return true
}

// quickTexts are of the kind that readQuickly is for.
var quickTexts = []string{
	"",
	"\n",
	"a = 1\n",
	"a = 1",
	"a = \"\"\nb = \"x\"\n",
	"a = \"${b}\"\nc = \"${ b }-${c.d}\"\nd = \"x${e(\"y\", [1, 2,], { a = 1 })}\"\n",
	"# one\na = true // two\n\n//three\nb = null\nc=false",
	"target \"app\" {\n  context = \".\"\n}\n",
	"target app {\n}\n",
	"target \"app\" {}\n",
	"target \"app\" { }\n",
	"variable \"TAG\" { default = \"1.0\" }\n",
	"a \"b\" c \"d\" {\n\tx = y\n\n\te \"f\" { g = 1 }\n}\n",
	"a = [\n  \"x\",\n  \"y\"\n]\n",
	"a = []\nb = {}\nc = [ ]\nd = { }\n",
	"a = {\n  \"x\" = 1\n  y: 2, z = 3,\n\n  a.b = [1]\n}\n",
	"a = [for x in y : z(x)]\nb = [for k, v in { a = 1 } :\n v]\n",
	"a = f()\nb = f(\n  1,\n  g(2),\n)\n",
	"a = b.c.d-e\nf = target.x-y.tags\n",
	"a = 0012\nb = 123456789012345678901234567890\n",
}

// otherTexts are read by hclsyntax, or are wrong.
var otherTexts = []string{
	"a = 1 + 2\n", "a = b ? c : d\n", "a = -1\n", "a = !b\n", "a = (b)\n", "a = b == c\n", "a = 1.5\n", "a = 1e3\n",
	"a = b[0]\n", "a = b[\"x\"]\n", "a = b.*.c\n", "a = b.0\n", "a = f(x...)\n", "a = f(x).y\n", "a = [1][0]\n", "a = {}.b\n",
	"a = { (b) = 1 }\n", "a = { for k, v in x : k => v }\n", "a = [for x in y : x if z]\n", "a = a::b(1)\n", "a = true.x\n",
	"a = \"\\n\"\n", "a = \"$${b}\"\n", "a = \"%{if b}c%{endif}\"\n", "a = \"${~ b ~}\"\n", "a = \"$x\"\n", "a = \"5%\"\n", "a = \"é\"\n",
	"a = \"${\"x\"}\"[0]\n", "a = \"x\".y\n",
	"é = 1\n", "aé = 1\n", "a = é\n", "a = 1\r\n", "a = <<E\nx\nE\n", "/* x */ a = 1\n", "a = 1 /* x */\n", "a = [ # x\n1]\n",
	"a = 1, b = 2\n", "a = 1 b = 2\n", "a = 1\na = 2\n", "a =\n1\n", "a\n= 1\n", "a \"b\"\n{\n}\n", "a {\n", "a { b = 1, c = 2 }\n", "a {} b {}\n",
	"a { b {} }\n", "a { # x\n}\n", "}\n", "a = [1 2]\n", "a = [,]\n", "a = {,}\n", "a = { b }\n", "a = { b = \n1 }\n", "a = { b => 1 }\n", "a = { b == 1 }\n",
	"a = \"x\n\"\n", "a = \"x", "a = [1", "a = ", "a", "\"a\" = 1\n", "1 = 2\n", "a \"${b}\" {}\n", "a = f (x)\n", "a = b .c\n", "a = 1a\n", "a = for\n", "a = [for]\n",
	"#\xec0\nA=0", "# x\r\na = 1\n", "# é\na = 1 # \u0301x\n", "a = \x00\n", "\ufeffa = 1\n", "a = b\x00\n",
}

func TestQuickReadsWhatItIsFor(t *testing.T) {
	for _, text := range quickTexts {
		if !sameTree(t, text) {
			t.Errorf("readQuickly gives up on\n%s", text)
		}
	}
	for _, s := range []string{"a = [for x in [\"a\"] : \"${x}b\"]\n", "for = 1\n", "a = [fortune]\n", "a = { fortune = 1 }\n", "a = [for-x]\n", "a = { null = 1 }\n"} {
		sameTree(t, s)
	}
}

func TestQuickLeavesTheRest(t *testing.T) {
	for _, text := range otherTexts {
		sameTree(t, text)
	}
}

// TestQuickOnExamples reads the build files that the repository has.
func TestQuickOnExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	read := 0
	for _, name := range append(files, "../build.hcl") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pieces, ok := cut(File{Name: name, Data: text})
		if !ok {
			t.Fatalf("%s cannot be cut", name)
		}
		for _, p := range pieces {
			if sameTree(t, string(p.text)) {
				read++
			}
		}
	}
	if read == 0 {
		t.Error("readQuickly reads none of the examples")
	}
}

func FuzzQuick(f *testing.F) {
	for _, texts := range [][]string{quickTexts, otherTexts} {
		for _, text := range texts {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) < 4<<10 {
			sameTree(t, text)
		}
	})
}
