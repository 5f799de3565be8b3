package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
)

const variantFile = `
variant "prod" {
  args      = { MODE = "release", FROM = "top" }
  platforms = ["linux/amd64"]
}
target "_common" { args = { MODE = "common", C = "c" } }
target "base" { variants = ["prod", "dev"] }
target "api" {
  inherits   = ["_common"]
  contexts   = { base = "target:base", exact = "target:base-dev" }
  tags       = ["api:${variant}"]
  depends-on = ["base", "migrate"]
  variants   = ["prod"]
  variant "dev" {
    target = "dev"
    tags   = ["dev-${variant}"]
  }
  variant "prod" { args = { FROM = "own" } }
}
target "migrate" {}
target "tool" {
  name     = "tool-${v}"
  matrix   = { v = ["1", "2"] }
  variants = ["a", "b"]
  args     = { V = "${v}${variant}" }
}
`

func TestVariants(t *testing.T) {
	cfg := load(t, variantFile, config.Inputs{})
	want := "_common base-prod base-dev api-prod api-dev migrate tool-1-a tool-1-b tool-2-a tool-2-b " +
		"base(base-prod base-dev) api(api-prod api-dev) tool(tool-1-a tool-1-b tool-2-a tool-2-b) tool-1(tool-1-a tool-1-b) tool-2(tool-2-a tool-2-b)"
	if got := names(cfg); got != want {
		t.Errorf("names\n got %s\nwant %s", got, want)
	}
	prod, dev := cfg.Target("api-prod"), cfg.Target("api-dev")
	if got, want := prod.Args, []config.KeyValue{{Key: "C", Value: "c"}, {Key: "FROM", Value: "own"}, {Key: "MODE", Value: "release"}}; !cmp.Equal(got, want) {
		t.Errorf("args of api-prod: parents, target, top variant, own variant: got %v, want %v", got, want)
	}
	if got := strings.Join(append(prod.Tags, dev.Tags...), " "); got != "api:prod dev-dev" {
		t.Errorf("tags are %s", got)
	}
	links := func(x *config.Target) string {
		var out []string
		for _, c := range x.Contexts {
			out = append(out, c.From.String())
		}
		for _, r := range x.DependsOn {
			out = append(out, r.Name)
		}
		return strings.Join(out, " ")
	}
	if got := links(prod); got != "target:base-prod target:base-dev base-prod migrate" {
		t.Errorf("api-prod needs %s", got)
	}
	if got := links(dev); got != "target:base-dev target:base-dev base-dev migrate" {
		t.Errorf("api-dev needs %s", got)
	}
	if got := cfg.Target("tool-2-b").Args[0].Value; got != "2b" {
		t.Errorf("matrix and variant in one expression give %q", got)
	}
	if dev.Variant != "dev" || dev.Label != "api" || dev.Stage != "dev" {
		t.Errorf("api-dev is %+v", dev)
	}
}

func TestVariantErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"lacks the variant", "target \"base\" { variants = [\"prod\"] }\ntarget \"app\" {\n  variants = [\"dev\"]\n  contexts = { base = \"target:base\" }\n}",
			`build.hcl:4,23: Unknown target: Context "base" of target "app-dev" reads target "base". It does not have the variant "dev"; there are base-prod.`},
		{"no variant at all", "target \"base\" { variants = [\"a\", \"b\"] }\ntarget \"app\" { contexts = { base = \"target:base\" } }",
			`build.hcl:2,36: Unknown target: Context "base" of target "app" reads target "base". It has variants: name one of base-a and base-b.`},
		{"meets a target", "target \"app-dev\" {}\ntarget \"app\" { variants = [\"dev\"] }",
			`build.hcl:2,8: Name already taken: Target "app-dev", an instance of target "app", has the name of a target at build.hcl:1. Rename one of them.`},
		{"meets a group", "group \"app\" { targets = [] }\ntarget \"app\" { variants = [\"dev\"] }",
			`build.hcl:2,8: Name already taken: Target "app" has variants, which makes "app" the name of a group or target; but there is a group of this name at build.hcl:1. Rename one of them.`},
		{"instance meets a group", "group \"app-dev\" { targets = [] }\ntarget \"app\" { variants = [\"dev\"] }",
			`Target "app" has variants, which makes "app-dev" the name of a group or target`},
		{"bad name", "target \"app\" { variants = [\"d.v\"] }",
			`build.hcl:1,28: Invalid name: Variant "d.v" of target "app" may hold only letters, digits, - and _.`},
		{"name in a variant", "variant \"v\" { name = \"x\" }\ntarget \"app\" { variants = [\"v\"] }",
			`build.hcl:1,15: Misplaced attribute: Attribute "name" of variant "v" belongs in a target block.`},
	} {
		_, diags := config.Load([]config.File{{Name: "build.hcl", Data: []byte(c.text)}}, config.Inputs{})
		if got := told(diags); !diags.HasErrors() || !strings.Contains(got, c.want) {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestOverridesOfGroupsAndVariants(t *testing.T) {
	for _, c := range []struct{ pattern, want string }{
		{"api", "api-prod api-dev"},
		{"prod", "base-prod api-prod"},
		{"tool-*", "tool-1-a tool-1-b tool-2-a tool-2-b"},
		{"tool-1", "tool-1-a tool-1-b"},
		{"migrate", "migrate"},
	} {
		cfg := load(t, variantFile, config.Inputs{Overrides: []config.Override{{Pattern: c.pattern, Key: "network", Value: "none", Flag: "--set"}}})
		var got []string
		for _, x := range cfg.Targets {
			if x.Network == "none" {
				got = append(got, x.Name)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s sets %v, want %s", c.pattern, got, c.want)
		}
	}
}

func TestLateBinding(t *testing.T) {
	cfg := load(t, `
target "base" { tags = ["base:1"] }
target "app" { inherits = ["base"] }
target "docs" { args = { IMAGE = target.app.tags[0], SAME = target["app"].tags[0] } }
`, config.Inputs{Overrides: []config.Override{{Pattern: "app", Key: "tags", Value: "x", Flag: "--set app.tags=x"}}})
	if got := cfg.Target("docs").Args; got[0].Value != "x" || got[1].Value != "x" {
		t.Errorf("a reference sees %v, not what will be built", got)
	}
	cfg = load(t, `
target "base" { tags = ["base:1"] }
target "app" { inherits = ["base"] }
target "docs" { args = { IMAGE = target.app.tags[0] } }
`, config.Inputs{})
	if got := cfg.Target("docs").Args[0].Value; got != "base:1" {
		t.Errorf("a reference sees %q, not the inherited tag", got)
	}
}

func TestFacts(t *testing.T) {
	asked := map[string]int{}
	in := config.Inputs{Facts: func(name string) (string, error) {
		asked[name]++
		if name == "tag" {
			return "", errors.New("no tag is at this commit")
		}
		return map[string]string{"short": "abc1234", "dirty": "true"}[name], nil
	}}
	cfg := load(t, `
target "a" { tags = ["a:${git.short}", "a:${git.short}"] }
target "b" { tags = ["b:${git.short}-${try(git.tag, "none")}", git.dirty ? "dirty" : "clean"] }
`, in)
	if got := strings.Join(append(cfg.Target("a").Tags, cfg.Target("b").Tags...), " "); got != "a:abc1234 b:abc1234-none dirty" {
		t.Errorf("tags are %s", got)
	}
	if want := map[string]int{"short": 1, "tag": 1, "dirty": 1}; !cmp.Equal(asked, want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
	for text, want := range map[string]string{
		`target "a" { tags = [git.tag] }`:    `build.hcl:1,22: No such fact: git.tag cannot be told: no tag is at this commit.`,
		`target "a" { tags = [git.comit] }`:  `build.hcl:1,22: Unknown fact: There is no git.comit; there are commit, short, branch, tag, describe, dirty and time. Did you mean "commit"?`,
		`target "a" { tags = [git["tag"]] }`: `git.tag cannot be told`,
		`function "f" {
  params = []
  result = git.short
}`: `A function cannot refer to targets, groups or git`,
	} {
		_, diags := config.Load([]config.File{{Name: "build.hcl", Data: []byte(text)}}, in)
		if got := told(diags); !strings.Contains(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", text, got, want)
		}
	}
	_, diags := config.Load([]config.File{{Name: "build.hcl", Data: []byte(`target "a" { tags = [git.short] }`)}}, config.Inputs{})
	if got := told(diags); !strings.Contains(got, "not in a git work tree") {
		t.Errorf("without a work tree: %s", got)
	}
	load(t, `
variable "git" { default = { short = "mine" } }
target "a" { tags = [git.short] }
`, in)
}

func TestIncludes(t *testing.T) {
	inc, diags := config.Includes(config.File{Name: "build.hcl", Data: []byte("include \"services/*/build.hcl\" {}\ninclude \"local.hcl\" { optional = true }\n")})
	if len(diags) > 0 || len(inc) != 2 || inc[0].Pattern != "services/*/build.hcl" || inc[0].Optional || !inc[1].Optional || inc[1].Range.Start.Line != 2 {
		t.Errorf("got %+v, %v", inc, diags)
	}
	_, diags = config.Includes(config.File{Name: "build.hcl", Data: []byte("include \"x\" { optional = \"maybe\" }")})
	if !diags.HasErrors() {
		t.Error("optional = \"maybe\" is taken")
	}
	root := config.File{Name: "build.hcl", Data: []byte("include \"a/build.hcl\" {}\nvariable \"V\" { default = \"v\" }\ngroup \"default\" { targets = [\"a\"] }\n")}
	a := config.File{Name: "a/build.hcl", Base: "a", Included: true, Data: []byte("target \"a\" {\n  tags = [\"a:${V}\"]\n  output = [\"out\", \"type=tar\"]\n  contexts = { w = \"../w\", t = \"target:b\" }\n  cache-to = [\"type=local,dest=cache\"]\n  secret = [\"id=s,src=s.txt\"]\n  ssh = [\"k=key\"]\n}\ntarget \"b\" { context = \"src\" }\n")}
	cfg, diags := config.Load([]config.File{root, a}, config.Inputs{})
	if diags.HasErrors() {
		t.Fatal(told(diags))
	}
	want := `{"group": {"default": {"targets": ["a"]}},"target": {"a": {"context": "a","contexts": {"t": "target:b","w": "w"},"dockerfile": "Dockerfile","tags": ["a:v"],` +
		`"cache-to": [{"dest": "a/cache","type": "local"}],"secret": [{"id": "s","src": "a/s.txt"}],"ssh": [{"id": "k","paths": ["a/key"]}],` +
		`"output": [{"dest": "a/out","type": "local"},{"dest": "-","type": "tar"}]},"b": {"context": "a/src","dockerfile": "Dockerfile"}}}`
	if got := show(t, cfg); got != want {
		t.Errorf("paths of an included file\n got %s\nwant %s", got, want)
	}
	a.Data = []byte("variable \"V\" {}\ngroup \"default\" { targets = [] }\n")
	_, diags = config.Load([]config.File{root, a}, config.Inputs{})
	got := told(diags)
	for _, want := range []string{
		`a/build.hcl:1,1: Name already taken: There is a variable "V" at build.hcl:2 already.`,
		`a/build.hcl:2,1: Name already taken: There is a group "default" at build.hcl:3 already.`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

func TestRemoteDefinition(t *testing.T) {
	text := `
target "a" {}
target "b" { context = "sub" }
target "c" { context = "cwd://x" }
target "d" { context = "https://example.com/r.git" }
target "e" { contexts = { n = "lib", r = "." } }
`
	for remote, want := range map[string]string{
		"https://example.com/o/r.git":          "https://example.com/o/r.git https://example.com/o/r.git#:sub x https://example.com/r.git https://example.com/o/r.git#:lib https://example.com/o/r.git",
		"https://example.com/o/r.git#main:dir": "https://example.com/o/r.git#main:dir https://example.com/o/r.git#main:dir/sub x https://example.com/r.git https://example.com/o/r.git#main:dir/lib https://example.com/o/r.git#main:dir",
	} {
		cfg := load(t, text, config.Inputs{Remote: remote})
		var got []string
		for _, x := range cfg.Targets[:4] {
			got = append(got, x.Context.String())
		}
		for _, c := range cfg.Target("e").Contexts {
			got = append(got, c.From.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s:\n got %s\nwant %s", remote, s, want)
		}
	}
}
