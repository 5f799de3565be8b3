package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// account writes an attribute's trace: its value, each layer with what became
// of it, each entry with who sets it.
func account(a *config.AttributeTrace) string {
	if a == nil {
		return "nothing"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s) = %s\n", a.Name, a.Rule, a.Value)
	for i, l := range a.Layers {
		fmt.Fprintf(&b, " %d %s %s %s: %s %s %s\n", i, l.Kind, l.Block, line(l.Range), strings.ReplaceAll(l.Expr, "\n", " "), l.Value, l.Result)
		b.WriteString(inputs(l.Inputs, "   "))
	}
	for _, e := range a.Entries {
		fmt.Fprintf(&b, " [%s] %s\n", e.Key, e.Value)
		for _, l := range e.Layers {
			fmt.Fprintf(&b, "   %d %s %s: %s\n", l.Layer, line(l.Range), l.Expr, l.Value)
			b.WriteString(inputs(l.Inputs, "     "))
		}
	}
	return b.String()
}

func inputs(in []config.Input, indent string) string {
	var b strings.Builder
	for _, i := range in {
		fmt.Fprintf(&b, "%s%s = %s, %s %s\n%s", indent, i.Name, i.Value, i.Origin, line(i.Range), inputs(i.Inputs, indent+"  "))
	}
	return b.String()
}

func line(r hcl.Range) string {
	if r.Start.Line == 0 {
		return "-"
	}
	return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line)
}

func trace(t *testing.T, in config.Inputs, files ...string) *config.Trace {
	t.Helper()
	var fs []config.File
	for i, text := range files {
		name := fmt.Sprintf("f%d.hcl", i+1)
		if strings.HasPrefix(text, "{") {
			name = fmt.Sprintf("f%d.json", i+1)
		}
		fs = append(fs, config.File{Name: name, Data: []byte(text)})
	}
	cfg, tr, diags := config.LoadTrace(fs, in)
	if diags.HasErrors() || cfg == nil || tr == nil {
		t.Fatal(told(diags))
	}
	return tr
}

const layered = `variable "GO" { default = "1.${MINOR}" }
variable "MINOR" { default = 26 }
variable "REG" { default = "local" }
function "up" {
  params = [s]
  result = "${upper(s)}-${MINOR}"
}
target "_base" {
  args = { GO = "1.20", A = "base" }
  labels = { l = "x" }
  cache-from = ["one", "two"]
  tags = ["base"]
}
target "_more" {
  inherits = ["_base"]
  args = { A = "more" }
}
target "app" {
  inherits = ["_base", "_more"]
  args = {
    GO = GO
    B = up(REG)
    C = null
  }
  tags = ["${REG}/app:${variant}"]
  cache-from = ["two", "three"]
  variants = ["prod", "dev"]
  network = "host"
  variant "dev" { tags = ["dev:${target._base.tags[0]}"] }
}
variant "prod" { args = { B = "prod" } }
`

func TestTraceLayers(t *testing.T) {
	tr := trace(t, config.Inputs{
		Env: map[string]string{"MINOR": "27"}, Vars: map[string]string{"REG": "reg.io"}, Epoch: "7",
		Overrides: []config.Override{
			{Pattern: "app-prod", Key: "args", Sub: "A", HasSub: true, Value: "set", Flag: "--set app-prod.args.A=set"},
			{Pattern: "app-dev", Key: "tags", Value: "more", Append: true, Flag: "--set app-dev.tags+=more"},
			{Pattern: "app-dev", Key: "cache-from", Value: "only", Flag: "--set app-dev.cache-from=only"},
		},
	}, layered, `{"target": {"app": {"labels": {"l": "${REG}", "m": "2"}}}}`)
	for _, tt := range []struct{ target, attr, want string }{
		{"app-prod", "args", `args (merge by key) = {"A":"set","B":"prod","GO":"1.27","SOURCE_DATE_EPOCH":"7"}
 0 target target "_base" f1.hcl:9: { GO = "1.20", A = "base" } {"A":"base","GO":"1.20"} covered
 1 target target "_more" f1.hcl:16: { A = "more" } {"A":"more"} covered
 2 target target "app" f1.hcl:20: {     GO = GO     B = up(REG)     C = null   } {"B":"REG.IO-27","GO":"1.27"} part
   GO = "1.27", default f1.hcl:1
     MINOR = 27, environment variable MINOR f1.hcl:2
   REG = "reg.io", --var REG f1.hcl:3
   up() = , function f1.hcl:4
     MINOR = 27, environment variable MINOR f1.hcl:2
 3 variant variant "prod" f1.hcl:31: { B = "prod" } {"B":"prod"} won
 4 override --set app-prod.args.A=set -:  {"A":"set"} won
 5 implied environment variable SOURCE_DATE_EPOCH -:  {"SOURCE_DATE_EPOCH":"7"} won
 [A] "set"
   0 f1.hcl:9 "base": "base"
   1 f1.hcl:16 "more": "more"
   4 - : "set"
 [B] "prod"
   2 f1.hcl:22 up(REG): "REG.IO-27"
     REG = "reg.io", --var REG f1.hcl:3
     up() = , function f1.hcl:4
       MINOR = 27, environment variable MINOR f1.hcl:2
   3 f1.hcl:31 "prod": "prod"
 [GO] "1.27"
   0 f1.hcl:9 "1.20": "1.20"
   2 f1.hcl:21 GO: "1.27"
     GO = "1.27", default f1.hcl:1
       MINOR = 27, environment variable MINOR f1.hcl:2
 [SOURCE_DATE_EPOCH] "7"
   5 - : "7"
`},
		{"app-prod", "labels", `labels (merge by key) = {"l":"reg.io","m":"2"}
 0 target target "_base" f1.hcl:10: { l = "x" } {"l":"x"} covered
 1 target target "app" f2.json:1: {"l": "${REG}", "m": "2"} {"l":"reg.io","m":"2"} won
   REG = "reg.io", --var REG f1.hcl:3
 [l] "reg.io"
   0 f1.hcl:10 "x": "x"
   1 f2.json:1 ${REG}: "reg.io"
     REG = "reg.io", --var REG f1.hcl:3
 [m] "2"
   1 f2.json:1 "2": "2"
`},
		{"app-prod", "cache-from", `cache-from (append) = [{"ref":"one","type":"registry"},{"ref":"two","type":"registry"},{"ref":"three","type":"registry"}]
 0 target target "_base" f1.hcl:11: ["one", "two"] [{"ref":"one","type":"registry"},{"ref":"two","type":"registry"}] won
 1 target target "app" f1.hcl:26: ["two", "three"] [{"ref":"two","type":"registry"},{"ref":"three","type":"registry"}] part
 [] {"ref":"one","type":"registry"}
   0 f1.hcl:11 "one": {"ref":"one","type":"registry"}
 [] {"ref":"two","type":"registry"}
   1 f1.hcl:26 "two": {"ref":"two","type":"registry"}
   0 f1.hcl:11 "two": {"ref":"two","type":"registry"}
 [] {"ref":"three","type":"registry"}
   1 f1.hcl:26 "three": {"ref":"three","type":"registry"}
`},
		{"app-prod", "tags", `tags (replace) = ["reg.io/app:prod"]
 0 target target "_base" f1.hcl:12: ["base"] ["base"] covered
 1 target target "app" f1.hcl:25: ["${REG}/app:${variant}"] ["reg.io/app:prod"] won
   REG = "reg.io", --var REG f1.hcl:3
   variant = "prod", variant -
`},
		{"app-dev", "tags", `tags (replace) = ["dev:base","more"]
 0 target target "_base" f1.hcl:12: ["base"] ["base"] covered
 1 target target "app" f1.hcl:25: ["${REG}/app:${variant}"] ["reg.io/app:dev"] covered
   REG = "reg.io", --var REG f1.hcl:3
   variant = "dev", variant -
 2 variant variant "dev" of target "app" f1.hcl:29: ["dev:${target._base.tags[0]}"] ["dev:base"] won
   target._base.tags[0] = "base", target f1.hcl:12
 3 override --set app-dev.tags+=more -:  ["more"] won
 [] "dev:base"
   2 f1.hcl:29 "dev:${target._base.tags[0]}": "dev:base"
     target._base.tags[0] = "base", target f1.hcl:12
 [] "more"
   3 - : "more"
`},
		{"app-dev", "cache-from", `cache-from (append) = [{"ref":"only","type":"registry"}]
 0 target target "_base" f1.hcl:11: ["one", "two"] [{"ref":"one","type":"registry"},{"ref":"two","type":"registry"}] covered
 1 target target "app" f1.hcl:26: ["two", "three"] [{"ref":"two","type":"registry"},{"ref":"three","type":"registry"}] covered
 2 override --set app-dev.cache-from=only -:  [{"ref":"only","type":"registry"}] won
`},
		{"app-dev", "entitlements", `entitlements (append) = ["network.host"]
 0 implied network = "host" f1.hcl:28:  ["network.host"] won
`},
		{"app-dev", "inherits", `inherits () = ["_base","_more"]
 0 target target "app" f1.hcl:19: ["_base", "_more"] ["_base","_more"] won
`},
		{"app-dev", "platforms", "platforms (replace) = \n"},
		{"app-dev", "nothing", "nothing"},
		{"nobody", "tags", "nothing"},
	} {
		if diff := cmp.Diff(tt.want, account(tr.Attribute(tt.target, tt.attr))); diff != "" {
			t.Errorf("%s.%s:\n%s", tt.target, tt.attr, diff)
		}
	}
}

func TestTraceVariables(t *testing.T) {
	const text = `variable "A" { default = "a" }
variable "A" { default = "later" }
variable "L" {
  type    = list(string)
  default = ["x"]
  validation { condition = length(L) > 0 }
}
variable "N" {}
variable "U" { default = "unused" }
F = "${A}!"
target "t" {
  tags = [F, N]
  args = { L = join(",", L) }
}
group "default" { targets = ["t"] }
group "default" { targets = [target.t.name] }
`
	tr := trace(t, config.Inputs{Env: map[string]string{"A": "env", "L_JSON": `["j"]`, "L": "e"}, Vars: map[string]string{"A": "flag"}}, text)
	var b strings.Builder
	for _, name := range tr.Variables() {
		v := tr.Variable(name)
		fmt.Fprintf(&b, "%s %s %s, used %d times\n", v.Name, v.Type, v.Value, len(v.Uses))
		for _, l := range v.Layers {
			fmt.Fprintf(&b, "  %s %s: %s %s %s\n", l.Kind, l.Block, l.Expr, l.Value, l.Result)
		}
	}
	want := `A  "flag", used 1 times
  default variable "A": "a" "a" covered
  default variable "A": "later" "later" covered
  environment environment variable A:  "env" covered
  environment --var A:  "flag" won
L list of string ["j"], used 1 times
  default variable "L": ["x"] ["x"] covered
  environment environment variable L:  "e" covered
  environment environment variable L_JSON:  ["j"] won
N  "", used 1 times
  default variable "N":   won
U  "unused", used 0 times
  default variable "U": "unused" "unused" won
F  "flag!", used 1 times
  default attribute F: "${A}!" "flag!" won
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	g := tr.Group("default")
	if g == nil || len(g.Covered) != 1 || g.Expr != "[target.t.name]" || len(tr.MemberOf("t")) != 1 || tr.Group("no") != nil {
		t.Errorf("group: %+v", g)
	}
	if got := fmt.Sprint(tr.Redeclared()); !strings.Contains(got, "{variable A f1.hcl:1") || !strings.Contains(got, "{group default f1.hcl:15") {
		t.Errorf("redeclared: %s", got)
	}
	if got := tr.References()["t"]; len(got) != 1 || got[0].By != `group "default"` {
		t.Errorf("references to t: %v", got)
	}
	if tr.Variable("no") != nil || tr.Parents("no") != nil || tr.Attributes("no") != nil {
		t.Error("something is told of what is not there")
	}
}

// A block that a target has in common with its parent is one layer.
func TestTraceSharedVariant(t *testing.T) {
	tr := trace(t, config.Inputs{}, `variant "prod" { args = { A = "1" } }
target "base" { variants = ["prod"] }
target "app" {
  inherits = ["base"]
  variants = ["prod"]
}
`)
	a := tr.Attribute("app-prod", "args")
	if len(a.Layers) != 1 || a.Layers[0].Owner != "app-prod" || a.Layers[0].Result != config.ResultWon {
		t.Error(account(a))
	}
}

// A map of nulls sets nothing, and is told.
func TestTraceNullKeys(t *testing.T) {
	tr := trace(t, config.Inputs{}, `target "base" { args = { A = "1" } }
target "app" {
  inherits = ["base"]
  args = { A = null }
}
`)
	a := tr.Attribute("app", "args")
	if len(a.Layers) != 2 || a.Layers[0].Result != config.ResultWon || a.Layers[1].Result != config.ResultNull {
		t.Error(account(a))
	}
}

// A trace says of every attribute the value that is built, whatever the files.
func TestTraceAgrees(t *testing.T) {
	tr := trace(t, config.Inputs{Overrides: []config.Override{{Pattern: "*", Key: "push", Value: "true", Flag: "--push"}}}, layered)
	for _, a := range tr.Attributes("app-dev") {
		if !a.Set && a.Value != nil || a.Set && a.Value == nil {
			t.Errorf("%s: set is %v, value %s", a.Name, a.Set, a.Value)
		}
		won := false
		for _, l := range a.Layers {
			won = won || l.Result == config.ResultWon || l.Result == config.ResultPart
		}
		if a.Set != won {
			t.Errorf("%s is set, but no layer won:\n%s", a.Name, account(a))
		}
	}
	if out := tr.Attribute("app-dev", "output"); string(out.Value) != `[{"dest":"","push":"true","type":"image"}]` || len(out.Layers) != 1 {
		t.Errorf("output: %s", account(out))
	}
}
