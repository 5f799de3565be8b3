package graph

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// parse makes a Config of lines such as
//
//	app: base lib >db      target app reads base and lib, and depends on db
//	group all: app docs    group all
//	api-prod@prod: base    target api-prod is in variant prod
//	app[a,b]: base         target app has platforms a and b
//
// Line numbers become ranges in the file "f".
func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg := &config.Config{Files: map[string]*hcl.File{"f": nil}}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		head, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			t.Fatalf("line %q has no colon", line)
		}
		rng := hcl.Range{Filename: "f", Start: hcl.Pos{Line: i + 1, Column: 1}, End: hcl.Pos{Line: i + 1, Column: 2}}
		if name, ok := strings.CutPrefix(head, "group "); ok {
			g := &config.Group{Name: name, DeclRange: rng, Members: strings.Fields(rest)}
			for range g.Members {
				g.MemberRange = append(g.MemberRange, rng)
			}
			cfg.Groups = append(cfg.Groups, g)
			continue
		}
		cfg.Targets = append(cfg.Targets, parseTarget(head, rest, rng))
	}
	return cfg
}

func parseTarget(head, rest string, rng hcl.Range) *config.Target {
	tgt := &config.Target{DeclRange: rng}
	head, platforms, _ := strings.Cut(head, "[")
	if platforms = strings.TrimSuffix(platforms, "]"); platforms != "" {
		tgt.Platforms = strings.Split(platforms, "|")
	}
	tgt.Name, tgt.Variant, _ = strings.Cut(head, "@")
	for _, word := range strings.Fields(rest) {
		if after, ok := strings.CutPrefix(word, ">"); ok {
			tgt.DependsOn = append(tgt.DependsOn, config.Ref{Name: after, Range: rng})
			continue
		}
		tgt.Contexts = append(tgt.Contexts, config.NamedSource{Name: word, From: config.ParseSource("target:" + word), Range: rng})
	}
	return tgt
}

func mustNew(t *testing.T, text string) *Graph {
	t.Helper()
	g, diags := New(parse(t, text))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return g
}

// show writes a graph as the lines that parse reads, in its order. A node
// that nobody asked for is in parentheses.
func show(g *Graph) string {
	if g == nil {
		return ""
	}
	var out []string
	for _, n := range g.Nodes() {
		s := n.Name()
		if !n.Requested {
			s = "(" + s + ")"
		}
		for _, m := range n.Needs {
			s += " " + m.Name()
		}
		for _, m := range n.After {
			s += " >" + m.Name()
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func showDiags(diags hcl.Diagnostics) string {
	var out []string
	for _, d := range diags {
		at := "-"
		if d.Subject != nil {
			at = fmt.Sprint(d.Subject.Start.Line)
		}
		out = append(out, fmt.Sprintf("%s: %s: %s", at, d.Summary, d.Detail))
	}
	return strings.Join(out, "\n")
}

func TestNewOrder(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"as declared", "b:\na:\nc:", "b; a; c"},
		{"needs first", "app: lib base\nbase:\nlib: base", "base; lib base; app lib base"},
		{"contexts before depends-on", "app: >db base\nbase:\ndb:", "base; db; app base >db"},
		{"each need once", "app: base base >base >base\nbase:", "base; app base >base"},
		{"a group as depends-on", "app: >g\ngroup g: x h\ngroup h: y x\nx:\ny:", "x; y; app >x >y"},
		{"a broken link is left out", "app: nope base >nope\nbase:", "base; app base"},
		{"the edge that closes a cycle is left out", "a: b\nb: a", "b; a b"},
		{"own variant", "api-prod@prod: base plain\nbase-prod@prod:\nbase-dev@dev:\nplain:", "base-prod; plain; api-prod base-prod plain; base-dev"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := show(mustNew(t, tt.in)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Many links are compared by a map, few one by one; each need is there once.
func TestNewManyLinks(t *testing.T) {
	line := "app:"
	text := ""
	want := ""
	for i := range 20 {
		line += fmt.Sprintf(" t%d t%d >t%d", i, i, i)
		text += fmt.Sprintf("\nt%d:", i)
		want += fmt.Sprintf(" t%d", i)
	}
	n := mustNew(t, line+text).Node("app")
	got := ""
	for _, m := range n.Needs {
		got += " " + m.Name()
	}
	if got != want || len(n.After) != 20 {
		t.Errorf("got %s and %d after; want %s and 20", got, len(n.After), want)
	}
}

func TestNewRefusesTwoTargetsOfOneName(t *testing.T) {
	g, diags := New(parse(t, "a:\na:"))
	want := `2: Duplicate target: There is a target "a" already, at f:1. Target names must differ.`
	if g != nil || showDiags(diags) != want {
		t.Errorf("got %v, %s\nwant nil, %s", g, showDiags(diags), want)
	}
}

func TestNeeders(t *testing.T) {
	g := mustNew(t, "app: base\nother: base >app\nbase:")
	var got []string
	for _, n := range g.Node("base").Needers {
		got = append(got, n.Name())
	}
	if diff := cmp.Diff([]string{"app", "other"}, got); diff != "" {
		t.Error(diff)
	}
	if n := g.Node("app"); len(n.Needers) != 0 {
		t.Errorf("app has needers %v; who only waits for it is none", n.Needers)
	}
}

func TestCheckReportsAllOnce(t *testing.T) {
	g := mustNew(t, `
		group g: nope app
		group h: g
		app: bse >g
		other: >g
		base:
		self: self
		a: b
		b: c >d
		c: a
		d: b`)
	want := strings.Join([]string{
		`3: Unknown target: Target "app" reads "target:bse" as context "bse", but no target has that name. Did you mean "base"?`,
		`1: Unknown target: Group "g" lists "nope", but no target or group has that name.`,
		"3: Dependency cycle: This target waits for itself, so that it cannot be built:\n  app depends on app (f:3)\nRemove one of these links.",
		"6: Dependency cycle: This target waits for itself, so that it cannot be built:\n  self reads self (f:6)\nRemove one of these links.",
		"7: Dependency cycle: These targets wait for each other, so that none can be built:\n  a reads b (f:7)\n  b reads c (f:8)\n  c reads a (f:9)\nRemove one of these links.",
		"8: Dependency cycle: These targets wait for each other, so that none can be built:\n  b depends on d (f:8)\n  d reads b (f:10)\nRemove one of these links.",
	}, "\n")
	if diff := cmp.Diff(want, showDiags(g.Check())); diff != "" {
		t.Error(diff)
	}
}

// A chain is walked without a call a link, and time grows with the links.
func TestLongChain(t *testing.T) {
	const n = 30_000
	cfg := &config.Config{}
	for i := range n {
		tgt := &config.Target{Name: fmt.Sprint("t", i)}
		if i+1 < n {
			from := config.FromTarget{Target: fmt.Sprint("t", i+1)}
			tgt.Contexts = []config.NamedSource{{Name: "base", From: from}}
		}
		cfg.Targets = append(cfg.Targets, tgt)
	}
	g, diags := New(cfg)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if got := g.Nodes()[0].Name(); got != "t29999" {
		t.Errorf("first is %s", got)
	}
	sel, diags := g.Select("t15000")
	if diags.HasErrors() || len(sel.Nodes()) != n/2 {
		t.Errorf("selected %d nodes, %v", len(sel.Nodes()), diags)
	}
	// The same closed to a ring is one cycle, told whole.
	cfg.Targets[n-1].Contexts = []config.NamedSource{{Name: "base", From: config.FromTarget{Target: "t0"}}}
	g, _ = New(cfg)
	if diags := g.Check(); len(diags) != 1 || strings.Count(diags[0].Detail, " reads ") != n {
		t.Errorf("got %d diagnostics", len(diags))
	}
}

func BenchmarkNewAndSelect(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000, 30_000} {
		cfg := &config.Config{Groups: []*config.Group{{Name: "default"}}}
		for i := range n {
			tgt := &config.Target{Name: fmt.Sprint("t", i)}
			for j := 1; j <= 3 && i >= j*7; j++ {
				from := config.FromTarget{Target: fmt.Sprint("t", i-j*7)}
				tgt.Contexts = append(tgt.Contexts, config.NamedSource{Name: fmt.Sprint("c", j), From: from})
			}
			cfg.Targets = append(cfg.Targets, tgt)
			cfg.Groups[0].Members = append(cfg.Groups[0].Members, tgt.Name)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				g, _ := New(cfg)
				if _, diags := g.Select(); diags.HasErrors() {
					b.Fatal(diags)
				}
			}
		})
	}
}
