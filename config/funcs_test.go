package config

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// call evaluates an expression with the functions of env, and returns the
// result as an expression, or the error.
func call(t *testing.T, env *funcEnv, expr string) (string, string) {
	t.Helper()
	x, diags := hclsyntax.ParseExpression([]byte(expr), "expr", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("%s: %s", expr, diags)
	}
	v, diags := x.Value(&hcl.EvalContext{Functions: builtins(env), Variables: map[string]cty.Value{"null_string": cty.NullVal(cty.String)}})
	if diags.HasErrors() {
		return "", diags.Error()
	}
	return oneLine(v), ""
}

func oneLine(v cty.Value) string {
	var words []string
	for _, line := range strings.Split(string(hclwrite.TokensForValue(v).Bytes()), "\n") {
		words = append(words, strings.Join(strings.Fields(line), " "))
	}
	s := strings.Join(words, ", ")
	return strings.NewReplacer("{, ", "{ ", ", }", " }").Replace(s)
}

func TestEveryExampleIsTrue(t *testing.T) {
	env := &funcEnv{Home: "/home/ann"}
	for _, f := range BuiltinFunctions() {
		got, failed := call(t, env, f.Example)
		want, _ := call(t, env, f.Result)
		if failed != "" || got != want {
			t.Errorf("%s is %s %s, the table says %s", f.Example, got, failed, want)
		}
		if !strings.Contains(f.Example, f.Name+"(") {
			t.Errorf("the example of %s does not call it: %s", f.Name, f.Example)
		}
		if f.Doc == "" || f.Topic == "" {
			t.Errorf("%s has no text or topic", f.Name)
		}
	}
}

// The names are those of the specification, whole and in order.
func TestTableIsComplete(t *testing.T) {
	want := strings.Fields(`absolute add and base64decode base64encode basename bcrypt byteslen bytesslice can ceil
		chomp chunklist cidrhost cidrnetmask cidrsubnet cidrsubnets coalesce coalescelist compact concat contains
		convert csvdecode dirname distinct divide element equal flatten floor format formatdate formatlist
		formattimestamp greaterthan greaterthanorequalto hasindex homedir indent index indexof int join jsondecode
		jsonencode keys length lessthan lessthanorequalto log lookup lower max md5 merge min modulo multiply negate
		not notequal or parseint pow range regex regex_replace regexall replace reverse reverselist rsadecrypt
		sanitize semvercmp sethaselement setintersection setproduct setsubtract setsymmetricdifference setunion sha1
		sha256 sha512 signum slice sort split strlen substr subtract timeadd timestamp title trim trimprefix
		trimspace trimsuffix try unixtimestampparse upper urlencode uuidv4 uuidv5 values zipmap`)
	var got []string
	for _, f := range BuiltinFunctions() {
		got = append(got, f.Name)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || len(got) != 106 {
		t.Errorf("%d functions (-want +got):\n%s", len(got), diff)
	}
}

func TestFunctions(t *testing.T) {
	env := &funcEnv{Home: "/home/ann", Now: func() time.Time { return time.Unix(1e9, 5).In(time.FixedZone("x", 3600)) }}
	for _, c := range []struct{ expr, want, fails string }{
		{`timestamp()`, `"2001-09-09T01:46:40Z"`, ""},
		{`homedir()`, `"/home/ann"`, ""},
		{`basename("")`, `"."`, ""},
		{`basename("a\\b")`, `"a\\b"`, ""},
		{`dirname("x")`, `"."`, ""},
		{`sanitize("")`, `""`, ""},
		{`sanitize("é/日")`, `"___"`, ""},
		{`index(["a", "b"], 1)`, `"b"`, ""},
		{`indexof(["a", "b"], "c")`, "", "does not have that value"},
		{`indexof([], "c")`, "", "does not have that value"},
		{`indexof("a", "c")`, "", "a list is needed, not string"},
		{`indexof(convert(["a"], set(string)), "a")`, "", "a list is needed, not set of string"},
		{`indexof([1, "1"], "1")`, `1`, ""},
		{`length("abc")`, "", "must be a list"},
		{`length({ a = 1 })`, "", "must be a list"},
		{`length(convert({ a = 1 }, map(number)))`, `1`, ""},
		{`strlen("é")`, `1`, ""},
		{`replace("abc", "/b/", "x")`, `"abc"`, ""},
		{`regex("x", "abc")`, "", "pattern did not match"},
		{`regex("(?P<a>b)", "abc")`, `{ a = "b" }`, ""},
		{`regex("(?P<a>b)(c)", "abc")`, "", "cannot mix"},
		{`regexall("x", "abc")`, `[]`, ""},
		{`regex_replace("a1", "([a-z])([0-9])", "$2$1")`, `"1a"`, ""},
		{`equal("1", 1)`, `false`, ""},
		{`notequal("1", 1)`, `true`, ""},
		{`convert("5", number)`, `5`, ""},
		{`convert({ a = 1 }, object({ a = string }))`, `{ a = "1" }`, ""},
		{`convert({ a = 1 }, object({ a = string, b = optional(string) }))`, "", "attribute \"b\" is required"},
		{`convert("x", number)`, "", "a number is required"},
		{`convert(["a"], nosuch)`, "", "nosuch"},
		{`semvercmp("1.2.3", "^1")`, `true`, ""},
		{`semvercmp("1.2.3-rc1", ">= 1.0")`, `false`, ""},
		{`semvercmp("1.2.3-rc1", ">= 1.0-0")`, `true`, ""},
		{`semvercmp("x", "^1")`, "", `"x" is not a version`},
		{`semvercmp("1.0", "nope")`, "", `"nope" is not a constraint`},
		{`formattimestamp("X", "2001-09-09T01:46:40Z")`, `"1000000000"`, ""},
		{`formattimestamp("X", 12)`, `"12"`, ""},
		{`formattimestamp("YYYY", 1.5)`, "", "whole number"},
		{`formattimestamp("YYYY", "today")`, "", `"today" is not a time`},
		{`formattimestamp("YYYY", true)`, "", "not bool"},
		{`formattimestamp("b", 0)`, "", "format"},
		{`unixtimestampparse(1e9)`, `{ day = 9, hour = 1, iso_week = 36, iso_year = 2001, minute = 46, month = 9,` +
			` month_name = "September", rfc3339 = "2001-09-09T01:46:40Z", second = 40, weekday = 0, weekday_name = "Sunday", year = 2001, year_day = 252 }`, ""},
		{`unixtimestampparse(0.5)`, "", "whole number"},
		{`urlencode("a b/é")`, `"a+b%2F%C3%A9"`, ""},
		{`coalesce(null_string, "b")`, `"b"`, ""},
		{`upper(null)`, "", "must not be null"},
		{`try(nosuch, null)`, `null`, ""},
		{`try(nosuch, nosuch.other)`, "", "none of the expressions"},
		{`try()`, "", "at least one expression"},
		{`can(try(nosuch))`, `false`, ""},
		{`values({ b = 1, a = "x" })`, `["x", 1]`, ""},
		{`setunion(["b"], ["a"])`, `["a", "b"]`, ""},
		{`range(2000)`, "", "more than 1024"},
		{`cidrsubnet("10.0.0.0/8", 8, 1)`, `"10.1.0.0/16"`, ""},
		{`cidrsubnet("10.0.0.0/8", 8, -1)`, "", "cannot be negative"},
		{`cidrhost("10.0.0.0/8", -1)`, `"10.255.255.255"`, ""},
		{`jsonencode(convert(["", null, "x"], set(string)))`, `"[\"\",\"x\",null]"`, ""},
		{`toset(["a"])`, "", "toset"},
	} {
		got, failed := call(t, env, c.expr)
		if got != c.want || !strings.Contains(failed, c.fails) || (failed != "" && c.fails == "") {
			t.Errorf("%s = %s %s, want %s %s", c.expr, got, failed, c.want, c.fails)
		}
	}
	if _, failed := call(t, &funcEnv{}, "homedir()"); !strings.Contains(failed, "set HOME") {
		t.Errorf("no home directory: %s", failed)
	}
}

// Calls that would take all memory, or hours, fail at once.
func TestFunctionLimits(t *testing.T) {
	ten := "[for i in range(1000): \"0123456789\"]"
	for _, expr := range []string{
		`format("%1000000000d", 1)`,
		`format("%.1000000000f", 1)`,
		`format("%99999999999999999999999999999d", 1)`,
		`formatlist("%1000000d", range(1000))`,
		`indent(1000000000, "a\nb")`,
		`indent(1e300, "a\nb")`,
		`join(format("%100000s", "x"), concat(` + ten + `,` + ten + `,` + ten + `))`,
		`replace(format("%100000s", "x"), "", format("%10000s", "x"))`,
		`regex_replace(format("%100000s", "x"), "", format("%10000s", "x"))`,
		`regex_replace(format("%100000s", "x"), ".*", "` + strings.Repeat("$0", 5000) + `")`,
		`regexall("` + strings.Repeat("()", 1000) + `", format("%1000000s", "x"))`,
		`regex("` + strings.Repeat("x{1000}", 400) + `", format("%1000000s", "x"))`,
		`setproduct(range(1000), range(1000), range(1000))`,
		`setproduct(` + strings.Repeat("range(2),", 60) + `range(2))`,
		`distinct(split("", format("%100000d", 1)))`,
		`bcrypt("x", 31)`,
		`bcrypt("x", 1e30)`,
		`jsondecode(join("", [for i in range(1000): "["]))`,
		`sha256([for a in range(1000): [for b in range(1000): format("%100s", "x")]][0][0])`,
		`multiply(pow(10, 300), pow(10, 300)) == 1 ? "" : upper(jsondecode("1e100000"))`,
	} {
		env := &funcEnv{}
		if strings.HasPrefix(expr, "sha256") { // too many calls: most of the allowance is gone already
			env.units.Store(allowance / 10 * 9)
		}
		begun := time.Now()
		got, failed := call(t, env, expr)
		if !strings.Contains(failed, "too much memory or time") {
			t.Errorf("%.60s = %.60s %.200s", expr, got, failed)
		}
		if took := time.Since(begun); took > Slowdown*time.Minute {
			t.Errorf("%.60s took %s", expr, took)
		}
	}
}

// try and can evaluate each expression once, however deep they are nested.
func TestTryIsLinear(t *testing.T) {
	deep := strings.Repeat("try(", 200) + `"x"` + strings.Repeat(")", 200)
	if got, failed := call(t, &funcEnv{}, deep); got != `"x"` {
		t.Errorf("got %s %s", got, failed)
	}
}

func TestWeighStops(t *testing.T) {
	v := cty.StringVal("x")
	for range 60 { // 2^60 leaves, all the same
		v = cty.TupleVal([]cty.Value{v, v})
	}
	if w := weigh(v); w <= valueBytes {
		t.Errorf("2^60 leaves weigh %v", w)
	}
	deep := cty.StringVal("x")
	for range 2 * valueDepth {
		deep = cty.ListVal([]cty.Value{deep})
	}
	if w := weigh(deep); w <= valueBytes {
		t.Errorf("a value nested %d deep weighs %v", 2*valueDepth, w)
	}
	if w := weigh(cty.MapVal(map[string]cty.Value{"key": cty.StringVal("value")})); w != 32+3+32+5 {
		t.Errorf("a map of eight letters weighs %v", w)
	}
}

func TestFunctionsAreShared(t *testing.T) {
	env := &funcEnv{}
	f := builtins(env)["upper"]
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if v, err := f.Call([]cty.Value{cty.StringVal("a")}); err != nil || v.AsString() != "A" {
					t.Errorf("%v %v", v, err)
				}
			}
		})
	}
	wg.Wait()
	if env.units.Load() < 800*callCost {
		t.Errorf("calls were not counted: %d", env.units.Load())
	}
}

func TestSignature(t *testing.T) {
	for _, f := range BuiltinFunctions() {
		if f.Name == "join" {
			if got := f.Signature(); got != "join(separator, lists...)" {
				t.Errorf("got %s", got)
			}
		}
	}
}
