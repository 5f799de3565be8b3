package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAttributeTable walks the table: every row is whole, its example loads
// and sets it, and every field of Target that holds an attribute has a row.
func TestAttributeTable(t *testing.T) {
	fields := map[string]string{ // of Target, by attribute, where the name is another
		"target": "Stage", "output": "Outputs", "secret": "Secrets", "ssh": "SSH", "depends-on": "DependsOn",
		"cache-from": "CacheFrom", "cache-to": "CacheTo", "no-cache": "NoCache", "no-cache-filter": "NoCacheFilter",
		"dockerfile-inline": "DockerfileInline", "shm-size": "ShmSize", "extra-hosts": "ExtraHosts",
	}
	covered := map[string]bool{"Name": true, "Label": true, "Variant": true, "Listed": true, "DeclRange": true, "AttrRange": true, "Deferred": true}
	for i, a := range attributes {
		if a.name == "" || a.kind == nil || a.kind.words == "" || a.doc == "" || !strings.HasPrefix(a.example, a.name+" ") {
			t.Fatalf("row %d is not whole: %+v", i, a)
		}
		own := a.rule == ruleNone // belongs to the block
		if !own {
			field := fields[a.name]
			if field == "" {
				field = strings.ToUpper(a.name[:1]) + a.name[1:]
			}
			if _, ok := reflect.TypeFor[Target]().FieldByName(field); !ok {
				t.Errorf("%s: Target has no field %s", a.name, field)
			}
			covered[field] = true
		}
		text := "target \"_common\" {}\ntarget \"base\" {}\ntarget \"migrations\" {}\ntarget \"x\" {\n  " + a.example + "\n"
		switch i {
		case attrName:
			text += "  matrix = { version = [\"1\"] }\n"
		case attrMatrix:
			text += "  name = \"x-${replace(version, \".\", \"_\")}\"\n"
		}
		cfg, diags := Load([]File{{Name: "build.hcl", Data: []byte(text + "}\n")}}, Inputs{})
		if diags.HasErrors() {
			t.Errorf("the example of %s: %v", a.name, diags)
			continue
		}
		last := cfg.Targets[len(cfg.Targets)-1]
		if !own && !last.IsSet(a.name) {
			t.Errorf("the example of %s does not set it", a.name)
		}
		if len(last.Deferred) > 0 {
			t.Errorf("the example of %s: %v", a.name, last.Deferred)
		}
	}
	for f := range reflect.TypeFor[Target]().Fields() {
		if !covered[f.Name] {
			t.Errorf("field %s of Target has no attribute", f.Name)
		}
	}
	if docs := Attributes(); len(docs) != len(attributes) || docs[attrTags].SetKeys[1] != "tag" {
		t.Errorf("Attributes gives %d rows", len(docs))
	}
}

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		name, among, want string
	}{
		{"tag", "target tags args", "tags"},
		{"cache_from", "cache-from cache-to", "cache-from"},
		{"secrets", "ssh secret", "secret"},
		{"platform", "policy platforms", "platforms"},
		{"dockerfil", "context dockerfile", "dockerfile"},
		{"REGISTRY", "registry TAG", "registry"},
		{"webb", "web worker", "web"},
		{"a", "b c", ""},
		{"nosuch", "tags args", ""},
		{"x", "x", ""},
		{"", "a", ""},
	} {
		if got := Nearest(c.name, strings.Fields(c.among)); got != c.want {
			t.Errorf("Nearest(%q, %s) = %q, want %q", c.name, c.among, got, c.want)
		}
	}
}

func TestParseSource(t *testing.T) {
	for in, want := range map[string]Source{
		".":                             Local{"."},
		"target:base":                   FromTarget{"base"},
		"docker-image://alpine":         Image{"alpine"},
		"oci-layout://dir:tag":          Layout{"dir:tag"},
		"https://example.com/a":         Remote{"https://example.com/a"},
		"https://example.com/a.git#b:c": Remote{"https://example.com/a.git#b:c"},
		"git@example.com:a/b":           Remote{"git@example.com:a/b"},
		"ssh://git@example.com/a":       Remote{"ssh://git@example.com/a"},
		"git://example.com/a":           Remote{"git://example.com/a"},
		"github.com/a/b":                Remote{"github.com/a/b"},
		"./github.com/a":                Local{"./github.com/a"},
		"gitlab.com/a/b":                Local{"gitlab.com/a/b"},
		"ftp://example.com/a":           Local{"ftp://example.com/a"},
		"../x":                          Local{"../x"},
	} {
		got := ParseSource(in)
		if got != want {
			t.Errorf("ParseSource(%q) = %#v, want %#v", in, got, want)
		}
		if got.String() != in {
			t.Errorf("ParseSource(%q) gives %q back", in, got)
		}
	}
}

func TestWithSubdir(t *testing.T) {
	for _, c := range []struct{ remote, dir, want string }{
		{"https://e.com/r.git", ".", "https://e.com/r.git"},
		{"https://e.com/r.git", "a/../b", "https://e.com/r.git#:b"},
		{"https://e.com/r.git#main", "b", "https://e.com/r.git#main:b"},
		{"https://e.com/r.git#main:d", "b", "https://e.com/r.git#main:d/b"},
		{"https://e.com/r.git?branch=x", "b", "https://e.com/r.git?branch=x#:b"},
		{"https://e.com/r.git?subdir=d", "b", "https://e.com/r.git?subdir=d%2Fb"},
		{"git@e.com:a/r", "b", "git@e.com:a/r#:b"},
		{"https://e.com/file.hcl", "b", "https://e.com/file.hcl"},
	} {
		if got := withSubdir(c.remote, c.dir); got != c.want {
			t.Errorf("withSubdir(%q, %q) = %q, want %q", c.remote, c.dir, got, c.want)
		}
	}
}

func TestVariableList(t *testing.T) {
	text := `
variable "S" {
  type        = string
  default     = "q\"<"
  description = "a string"
}
variable "U" { default = "plain" }
variable "N" { default = 1.50 }
variable "L" {
  type    = list(string)
  default = ["a", "b"]
}
variable "T" { default = ["a", 1] }
variable "O" { type = object({ a = string }) }
variable "E" {}
variable "X" { default = null }
variable "A" {
  type    = any
  default = 5
}
`
	cfg, diags := Load([]File{{Name: "build.hcl", Data: []byte(text)}}, Inputs{Vars: map[string]string{"E": "e"}, Env: map[string]string{"N": "2", "E": "lost", "L_JSON": "[]"}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	type row struct {
		Name, Description, Type, Value, Origin string
		Null                                   bool
	}
	var got []row
	for _, v := range cfg.Variables {
		got = append(got, row{v.Name, v.Description, v.Type, v.Value, v.Origin, v.Null})
	}
	want := []row{
		{"S", "a string", "string", `q\"\u003c`, "default", false},
		{"U", "", "", "plain", "default", false},
		{"N", "", "", "2", "environment variable N", false},
		{"L", "", "list of string", "[]", "environment variable L_JSON", false},
		{"T", "", "", `["a",1]`, "default", false},
		{"O", "", "object", "", "default", true},
		{"E", "", "", "e", "--var E", false},
		{"X", "", "", "", "default", true},
		{"A", "", "any type", `{"value":5,"type":"number"}`, "default", false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRanges checks that values know where they come from.
func TestRanges(t *testing.T) {
	cfg, diags := Load([]File{{Name: "build.hcl", Data: []byte(`target "p" {
  tags = ["p"]
}
target "a" {
  inherits = ["p"]
  contexts = {
    x = "target:p"
  }
}
`)}}, Inputs{Overrides: []Override{{Pattern: "a", Key: "network", Value: "none", Flag: "--set a.network=none"}}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	a := cfg.Target("a")
	if got := a.AttrRange["tags"].Start.Line; got != 2 {
		t.Errorf("tags come from line %d, where the parent sets them", got)
	}
	if got := a.AttrRange["network"].Filename; got != "--set a.network=none" {
		t.Errorf("network comes from %q", got)
	}
	if got := a.Contexts[0].Range.Start.Line; got != 7 {
		t.Errorf("context x is on line %d", got)
	}
	if a.IsSet("args") || cfg.Target("nope") != nil || cfg.Group("nope") != nil {
		t.Error("something is there that nothing declares")
	}
}
