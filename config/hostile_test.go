package config_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/config"
)

// hostile are definitions that ask for more than there is of memory, stack or
// time. Each must be refused, with the summary given, or come out in seconds:
// a minute is what a very busy machine gets.
func hostile() map[string]struct{ name, text, want string } {
	type c = struct{ name, text, want string }
	double := func(n int, line string) string {
		var b strings.Builder
		b.WriteString("v0 = \"0123456789abcdef\"\n")
		for i := 1; i <= n; i++ {
			fmt.Fprintf(&b, line+"\n", i, i-1, i-1)
		}
		fmt.Fprintf(&b, "target \"a\" { tags = [v%d] }\n", n)
		return b.String()
	}
	nest := func(open, middle, end string, n int) string {
		return "target \"a\" {\n  tags = " + strings.Repeat(open, n) + middle + strings.Repeat(end, n) + "\n}\n"
	}
	many := func(n int) string { return strings.TrimSuffix(strings.Repeat("0,", n), ",") }
	loops := "[for a in range(1000): [for b in range(1000): [for c in range(1000): [for d in range(1000): a+b+c+d]]]]"
	calls := "function \"f0\" {\n  params = [x]\n  result = \"${x}${x}\"\n}\n"
	for i := 1; i < 60; i++ {
		calls += fmt.Sprintf("function \"f%d\" {\n  params = [x]\n  result = \"${f%d(x)}${f%d(x)}\"\n}\n", i, i-1, i-1)
	}
	chain := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+"\n", i, i+1)
		}
		fmt.Fprintf(&b, "variable \"v%d\" { default = \"end\" }\n", n)
		fmt.Fprintf(&b, "target \"t%d\" {}\n", n)
		return b.String()
	}
	axes := func(n, values int) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf("a%d = [%s]", i, many(values)))
		}
		return "target \"m\" {\n  name = \"m\"\n  matrix = { " + strings.Join(parts, ", ") + " }\n}\n"
	}
	return map[string]c{
		"matrix of a million":         {"build.hcl", axes(3, 100), "Too many instances"},
		"matrix of 10^60":             {"build.hcl", axes(30, 100), "Too many instances"},
		"matrices together":           {"build.hcl", strings.Repeat("target \"m\" {\n  name = \"m-${v}\"\n  matrix = { v = range(1000) }\n}\n", 100), "Too many instances"},
		"variants times matrix":       {"build.hcl", "target \"m\" {\n  name = \"m-${v}-${w}\"\n  matrix = { v = range(1000), w = range(60) }\n  variants = [\"a\", \"b\", \"c\"]\n}\n", "Too many instances"},
		"doubling text":               {"build.hcl", double(60, "v%d = \"${v%d}${v%d}\""), "Too much work"},
		"doubling lists":              {"build.hcl", double(60, "v%d = [v%d, v%d]"), "Too much work"},
		"doubling by function":        {"build.hcl", double(60, "v%d = join(\"\", [v%d, v%d])"), ""},
		"doubling calls":              {"build.hcl", calls + "target \"a\" { tags = [f59(\"x\")] }", ""},
		"four loops":                  {"build.hcl", "x = " + loops + "\n", "Too much work"},
		"growing template":            {"build.hcl", "x = \"%{ for a in range(1000) }%{ for b in range(1000) }%{ for c in range(1000) }0123456789%{ endfor }%{ endfor }%{ endfor }\"\n", "Too much work"},
		"great number":                {"build.hcl", "target \"a\" { tags = [1e400000000] }\n", ""},
		"great number in a template":  {"build.hcl", "x = \"a${1e400000000}\"\n", ""},
		"great number multiplied":     {"build.hcl", double(60, "v%d = v%d * v%d"), ""},
		"deep brackets":               {"build.hcl", nest("[", "", "]", 300_000), "Nested too deeply"},
		"deep parentheses":            {"build.hcl", nest("(", "1", ")", 300_000), "Nested too deeply"},
		"deep objects":                {"build.hcl", nest("{a=", "1", "}", 200_000), "Nested too deeply"},
		"deep templates":              {"build.hcl", nest("\"${", "1", "}\"", 200_000), "Nested too deeply"},
		"deep calls":                  {"build.hcl", nest("upper(", "1", ")", 100_000), "Nested too deeply"},
		"deep not":                    {"build.hcl", nest("!", "true", "", 900_000), "Nested too deeply"},
		"deep minus":                  {"build.hcl", nest("-", "1", "", 900_000), "Nested too deeply"},
		"deep sums":                   {"build.hcl", nest("1+", "1", "", 500_000), "Nested too deeply"},
		"deep sums over lines":        {"build.hcl", "x = (" + strings.Repeat("1 +\n", 250_000) + "1)\n", "Nested too deeply"},
		"deep conditions":             {"build.hcl", nest("true ? 1 : ", "1", "", 90_000), "Nested too deeply"},
		"deep indexes":                {"build.hcl", "x = []\ny = x" + strings.Repeat("[x]", 300_000) + "\n", "Nested too deeply"},
		"deep splats":                 {"build.hcl", "x = []\ny = x" + strings.Repeat(".*", 300_000) + "\n", "Nested too deeply"},
		"deep directives":             {"build.hcl", "x = \"" + strings.Repeat("%{ if true }", 90_000) + strings.Repeat("%{ endif }", 90_000) + "\"\n", "Nested too deeply"},
		"deep directives in heredoc":  {"build.hcl", "x = <<E\n" + strings.Repeat("%{ if true }\n", 70_000) + strings.Repeat("%{ endif }\n", 70_000) + "E\n", "Nested too deeply"},
		"deep blocks":                 {"build.hcl", strings.Repeat("a {\n", 200_000) + strings.Repeat("}\n", 200_000), "Nested too deeply"},
		"hidden from the scanner":     {"build.hcl", "x = \"${<<E\n\"\nE\n}\"\ny = " + strings.Repeat("[", 400_000) + strings.Repeat("]", 400_000) + "\n", ""},
		"deep JSON":                   {"build.json", strings.Repeat("{\"a\":", 200_000) + "1" + strings.Repeat("}", 200_000), "Nested too deeply"},
		"deep JSON arrays":            {"build.json", "{\"x\":" + strings.Repeat("[", 400_000) + strings.Repeat("]", 400_000) + "}", "Nested too deeply"},
		"deep template in JSON":       {"build.json", "{\"x\":\"${" + strings.Repeat("[", 400_000) + strings.Repeat("]", 400_000) + "}\"}", "Nested too deeply"},
		"long chain of variables":     {"build.hcl", chain(25_000, "variable \"v%d\" { default = v%d }"), "Nested too deeply"},
		"long chain of inheritance":   {"build.hcl", chain(25_000, "target \"t%d\" { inherits = [\"t%d\"] }"), "Nested too deeply"},
		"chain of references":         {"build.hcl", chain(20_000, "target \"t%d\" { tags = target.t%d.tags }"), "Nested too deeply"},
		"long chain of functions":     {"build.hcl", chain(3000, "function \"f%d\" {\n  params = []\n  result = f%d()\n}"), ""},
		"many unknown names":          {"build.hcl", strings.Repeat("target \"a\" { tag = 1 }\n", 40_000), ""},
		"many wrong names":            {"build.hcl", manyLines(15_000, "target \"t%d\" { tags = [missing%d] }"), "Unknown variable"},
		"many unknown parents":        {"build.hcl", manyLines(15_000, "target \"t%d\" { inherits = [\"missing%d\"] }"), ""},
		"many blocks of one target":   {"build.hcl", strings.Repeat("target \"a\" { args = { A = \"x\" } }\n", 20_000), ""},
		"one target, many keys":       {"build.hcl", "target \"a\" {\n  args = {\n" + manyLines(40_000, "    K%d = \"v%d\"") + "  }\n}\n", ""},
		"one target, many tags":       {"build.hcl", "target \"a\" {\n  tags = [\n" + manyLines(40_000, "    \"t%d-%d\",") + "  ]\n}\n", ""},
		"one target, many entries":    {"build.hcl", "target \"a\" {\n  cache-from = [\n" + manyLines(15_000, "    \"type=local,src=t%d-%d\",") + "  ]\n}\n", ""},
		"policies doubled":            {"build.hcl", chain(200, "target \"t%[1]d\" {\n  inherits = [\"t%[2]d\", \"t%[2]d\"]\n  policy = [\"strict=true\"]\n}"), "Too many policies"},
		"everybody inherits them all": {"build.hcl", everybody(300), ""},
	}
}

func manyLines(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i, i)
	}
	return b.String()
}

// everybody makes targets of which each inherits all before it.
func everybody(n int) string {
	var b strings.Builder
	var before []string
	for i := range n {
		fmt.Fprintf(&b, "target \"t%d\" {\n  inherits = [%s]\n  annotations = [\"a%d=b\"]\n  args = { A%d = \"x\" }\n}\n", i, strings.Join(before, ", "), i, i)
		before = append(before, fmt.Sprintf("\"t%d\"", i))
	}
	return b.String()
}

func TestHostile(t *testing.T) {
	for name, c := range hostile() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Now()
			cfg, diags := config.Load([]config.File{{Name: c.name, Data: []byte(c.text)}}, config.Inputs{})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if (cfg == nil) != diags.HasErrors() {
				t.Errorf("config is %v, errors are %v", cfg != nil, diags.HasErrors())
			}
			if c.want != "" && (len(diags) == 0 || !strings.Contains(told(diags), c.want)) {
				text := told(diags)
				t.Errorf("want %s, got %s", c.want, text[:min(len(text), 400)])
			}
			if took > config.Slowdown*time.Minute {
				t.Errorf("took %v", took)
			}
			t.Logf("%s: %d kB in, %v, %d MB allocated, %d diagnostics", name, len(c.text)>>10, took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20, len(diags))
		})
	}
}
