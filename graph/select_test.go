package graph

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
)

const shop = `
	group default: api web
	group all: default tools
	group tools: lint
	group bad: web nope
	api: base
	web: base >db
	base: root
	root:
	db: dbbase
	dbbase:
	lint:
	ping: pong
	pong: ping
	lost: nowhere
	nested: lost`

func TestSelect(t *testing.T) {
	for _, tt := range []struct {
		name, names, want, groups string
	}{
		{"default group", "", "(root); (base) root; api base; (dbbase); db dbbase; web base >db", "default=api,web"},
		{"a target, with its needs", "api", "(root); (base) root; api base", "default=api"},
		{"a need that is asked for too", "base api", "(root); base root; api base", "default=api,base"},
		{"order of the request does not matter", "api base", "(root); base root; api base", "default=api,base"},
		{"what depends-on pulls in is exported", "web", "(root); (base) root; (dbbase); db dbbase; web base >db", "default=web"},
		{"a group", "tools", "lint", "default=tools tools=lint"},
		{"nested groups, the real default among them", "all", "(root); (base) root; api base; (dbbase); db dbbase; web base >db; lint", "default=all,api,web all=default,tools tools=lint"},
		{"default and another", "lint default", "(root); (base) root; api base; (dbbase); db dbbase; web base >db; lint", "default=api,lint,web"},
		{"pattern over targets", "d?", "(dbbase); db dbbase", "default=db"},
		{"a pattern that matches a broken target", "l*t", "", ""},
		{"pattern over both", "*oo*", "root; lint", "default=root,tools tools=lint"},
		{"a name twice", "lint lint", "lint", "default=lint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, diags := mustNew(t, shop).Select(strings.Fields(tt.names)...)
			if tt.want == "" {
				if !diags.HasErrors() {
					t.Error("no diagnostics")
				}
				return
			}
			if diags.HasErrors() {
				t.Fatal(showDiags(diags))
			}
			if diff := cmp.Diff(tt.want, show(g)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.groups, showGroups(g)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A target called default adds its name to the group of what was asked for
// only if it comes first: bake's rule.
func TestSelectTargetDefault(t *testing.T) {
	for names, want := range map[string]string{
		"":            "default=default",
		"arm default": "default=arm",
		"default arm": "default=arm,default",
	} {
		g, diags := mustNew(t, "default:\narm:").Select(strings.Fields(names)...)
		if diags.HasErrors() {
			t.Fatal(showDiags(diags))
		}
		if got := showGroups(g); got != want {
			t.Errorf("%q: groups %q, want %q", names, got, want)
		}
	}
}

func showGroups(g *Graph) string {
	var out []string
	for _, gr := range g.Groups() {
		out = append(out, gr.Name+"="+strings.Join(gr.Members, ","))
	}
	return strings.Join(out, " ")
}

func TestSelectDiagnostics(t *testing.T) {
	const known = "There are: default, all, tools, bad, api, web, base, root, db, dbbase, lint, ping and 3 more. Read from f."
	for _, tt := range []struct {
		name, in, names, want string
	}{
		{"unknown name", shop, "apy lint", `-: Unknown target: No target or group is named "apy". Did you mean "api"? ` + known},
		{"nothing matches", shop, "q*", `-: Unknown target: No target or group matches the pattern "q*". ` + known},
		{"bad pattern", shop, "[a", `-: Invalid pattern: "[a" is no pattern for names: a bracket is not closed, or holds nothing. A pattern is made of * (any text), ? (any one character) and [abc] (one of these).`},
		{"unknown member", shop, "bad", `4: Unknown target: Group "bad" lists "nope", but no target or group has that name.`},
		{"unknown link", shop, "nested", `14: Unknown target: Target "lost" reads "target:nowhere" as context "nowhere", but no target has that name.`},
		{"cycle", shop, "pong", "12: Dependency cycle: These targets wait for each other, so that none can be built:\n  ping reads pong (f:12)\n  pong reads ping (f:13)\nRemove one of these links."},
		{"no default", "app:\nbase:", "", `-: No default target: No target was named, and there is no group or target "default". Name what to build, one or more of: app, base; or declare group "default". Read from f.`},
		{"no target at all", "group g:", "x", `-: Unknown target: No target or group is named "x". There are: g. Read from f.`},
		{"a context reads a group", "group g: a b\na:\nb:\napp: g", "app", `4: Not a target: Target "app" reads "target:g" as context "g", but g is a group, and a context is read from a single target. Name one of its members: a, b.`},
		{"unknown depends-on", "app: >bse\nbase:", "app", `1: Unknown target: Target "app" depends on "bse", but no target or group has that name. Did you mean "base"?`},
		{"group cycle", "group a: b\ngroup b: c\ngroup c: b x\nx:", "a", "2: Group cycle: A group cannot be a member of itself:\n  b lists c (f:2)\n  c lists b (f:3)\nRemove one of these members."},
		{"member of a group behind depends-on", "group g: nope\nx: >g\ny: >g", "y x", `1: Unknown target: Group "g" lists "nope", but no target or group has that name.`},
		{"platforms", "app[linux/amd64|linux/s390x]: base\nbase[linux/amd64|linux/arm64]:", "app", `1: Platforms do not match: Target "app" is built for linux/amd64, linux/s390x and reads target "base", which is built for linux/amd64, linux/arm64 only: there is no result for linux/s390x. Add that to the platforms of "base", or take it from those of "app".`},
		{"variant that the read target lacks", "api-race@race: base\nbase-prod@prod:\nbase-dev@dev:\ngroup base: base-prod base-dev", "api-race", `1: Unknown variant: Target "api-race" reads "target:base" as context "base", but base has no variant "race". It has prod, dev.`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, diags := mustNew(t, tt.in).Select(strings.Fields(tt.names)...)
			if g != nil {
				t.Error("got a graph beside the error")
			}
			if diff := cmp.Diff(tt.want, showDiags(diags)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSelectDeferred(t *testing.T) {
	cfg := parse(t, "orphan:\napp: orphan\nfree:")
	cfg.Targets[0].Deferred = append(cfg.Targets[0].Deferred, problem("Unknown parent", nil, "x"))
	g, _ := New(cfg)
	if _, diags := g.Select("app"); showDiags(diags) != "-: Unknown parent: x" {
		t.Errorf("app: %s", showDiags(diags))
	}
	if _, diags := g.Select("free"); diags.HasErrors() {
		t.Errorf("free: %s", showDiags(diags))
	}
}

func TestSelectGroupOfItsOwnTarget(t *testing.T) {
	g, diags := mustNew(t, "group app: app docs\napp:\ndocs:").Select("app")
	if diags.HasErrors() {
		t.Fatal(showDiags(diags))
	}
	if got, want := show(g), "app; docs"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSelectDotsBecomeUnderscores(t *testing.T) {
	g, diags := mustNew(t, "web_1:").Select("web.1")
	if diags.HasErrors() || show(g) != "web_1" || showGroups(g) != "default=web_1" {
		t.Errorf("got %s, %s, %s", show(g), showGroups(g), showDiags(diags))
	}
}

func TestSelectPlatformsThatMatch(t *testing.T) {
	for _, in := range []string{
		"app[linux/amd64|linux/arm64]: base\nbase[linux/arm64/v8|linux/x86_64|linux/s390x]:",
		"app[linux/amd64,linux/arm64]: base\nbase[linux/arm64|linux/amd64]:",
		"app[linux/amd64|linux/arm64]: base\nbase[linux/s390x]:",
		"app[linux/amd64]: base\nbase[linux/s390x|linux/arm64]:",
		"app: base\nbase[linux/s390x|linux/arm64]:",
	} {
		if _, diags := mustNew(t, in).Select("app"); diags.HasErrors() {
			t.Errorf("%s\n%s", in, showDiags(diags))
		}
	}
}

func TestSelectVariant(t *testing.T) {
	const in = `
		group api: api-prod api-dev
		group base: base-prod base-dev
		group all: api docs
		api-prod@prod: base >base
		api-dev@dev: base
		base-prod@prod:
		base-dev@dev:
		docs:`
	for _, tt := range []struct {
		variant, names, want, groups string
	}{
		{"", "api", "(base-dev); base-prod; api-prod base-prod >base-prod; api-dev base-dev", "default=api api=api-prod,api-dev"},
		{"prod", "api", "base-prod; api-prod base-prod >base-prod", "default=api api=api-prod"},
		{"dev", "all", "(base-dev); api-dev base-dev; docs", "default=all api=api-dev all=api,docs"},
		{"prod", "*-prod docs", "base-prod; api-prod base-prod >base-prod; docs", "default=api-prod,base-prod,docs"},
		{"dev", "api-prod api-dev", "(base-dev); api-dev base-dev", "default=api-dev"},
	} {
		g, diags := mustNew(t, in).SelectVariant(tt.variant, strings.Fields(tt.names)...)
		if diags.HasErrors() {
			t.Errorf("%+v: %s", tt, showDiags(diags))
			continue
		}
		// Which of two independent needs comes first is a matter of the declaration.
		if got := show(g); sorted(got) != sorted(tt.want) {
			t.Errorf("%s of %s:\ngot  %s\nwant %s", tt.variant, tt.names, got, tt.want)
		}
		if got := showGroups(g); got != tt.groups {
			t.Errorf("%s of %s: groups\ngot  %s\nwant %s", tt.variant, tt.names, got, tt.groups)
		}
	}
	for _, tt := range []struct{ variant, names, want string }{
		{"race", "api docs", `-: Unknown variant: Nothing that was asked for has a variant "race". There are: dev, prod.`},
		{"prd", "api", `-: Unknown variant: Nothing that was asked for has a variant "prd". Did you mean "prod"? There are: dev, prod.`},
		{"prod", "docs", `-: Unknown variant: Nothing that was asked for has variants, so there is no variant "prod" to choose.`},
	} {
		if _, diags := mustNew(t, in).SelectVariant(tt.variant, strings.Fields(tt.names)...); showDiags(diags) != tt.want {
			t.Errorf("got  %s\nwant %s", showDiags(diags), tt.want)
		}
	}
}

func sorted(s string) string {
	parts := strings.Split(s, "; ")
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

// A node that nobody asked for loses its outputs and nothing else; the file's
// own target stays as it is; a reader takes over the entitlements.
func TestSelectCopies(t *testing.T) {
	cfg := parse(t, "app: mid\nmid: base\nbase:\nvar-x@x: own\nown-x@x:")
	out := []config.Export{{Type: "docker"}}
	for _, tgt := range cfg.Targets {
		tgt.Outputs = out
		tgt.Tags = []string{"t"}
	}
	cfg.Targets[0].Entitlements = []string{"network.host"}
	cfg.Targets[2].Entitlements = []string{"security.insecure", "network.host"}
	g, _ := New(cfg)
	sel, diags := g.Select("app", "var-x")
	if diags.HasErrors() {
		t.Fatal(showDiags(diags))
	}
	for _, tt := range []struct {
		name         string
		outputs      []config.Export
		entitlements []string
	}{
		{"app", out, []string{"network.host", "security.insecure"}},
		{"mid", []config.Export{{Type: "cacheonly"}}, []string{"security.insecure", "network.host"}},
		{"base", []config.Export{{Type: "cacheonly"}}, []string{"security.insecure", "network.host"}},
	} {
		tgt := sel.Node(tt.name).Target
		if diff := cmp.Diff(tt.outputs, tgt.Outputs); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.entitlements, tgt.Entitlements); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if len(tgt.Tags) != 1 {
			t.Errorf("%s lost its tags", tt.name)
		}
	}
	if from := sel.Node("var-x").Target.Contexts[0].From; from != (config.FromTarget{Target: "own-x"}) {
		t.Errorf("var-x reads %v, want own-x", from)
	}
	if cfg.Targets[3].Contexts[0].From != (config.FromTarget{Target: "own"}) || len(cfg.Targets[0].Entitlements) != 1 || cfg.Targets[1].Outputs[0].Type != "docker" {
		t.Error("the Config was changed")
	}
}
