package graph

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
)

func names(nodes []*Node) string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name())
	}
	return strings.Join(out, " ")
}

func named(t *testing.T, g *Graph, list string) []*Node {
	t.Helper()
	nodes, diags := g.Named(strings.Fields(list)...)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return nodes
}

// showEdge writes "app>base(context) line", or ">>" for depends-on.
func showEdge(e Edge) string {
	if e.After {
		return fmt.Sprintf("%s>>%s:%d", e.From.Name(), e.To.Name(), e.Range.Start.Line)
	}
	return fmt.Sprintf("%s>%s(%s):%d", e.From.Name(), e.To.Name(), e.Context, e.Range.Start.Line)
}

const market = `
tools:
base: tools
db:
api: base tools >db
web: base
tests: web >apps
group apps: api web
group default: apps tests`

func TestEdges(t *testing.T) {
	g := mustNew(t, market)
	for name, want := range map[string]string{
		"tools": "",
		"api":   "api>base(base):4 api>tools(tools):4 api>>db:4",
		"tests": "tests>web(web):6 tests>>api:6 tests>>web:6",
	} {
		var got []string
		for _, e := range g.Edges(g.Node(name)) {
			got = append(got, showEdge(e))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("edges of %s: %s, want %s", name, s, want)
		}
	}
	narrow, diags := g.Select("web")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if got := narrow.Edges(g.Node("api")); got != nil {
		t.Errorf("edges of a node that is not in the graph: %v", got)
	}
}

// Contexts that lead to a node by two names are two edges; what was left out
// of the graph is none.
func TestEdgesTwiceAndLeftOut(t *testing.T) {
	cfg := parse(t, "base:\napp: base\na: b\nb: a")
	two := cfg.Target("app")
	two.Contexts = append(two.Contexts, two.Contexts[0])
	two.Contexts[1].Name = "again"
	g, diags := New(cfg)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	edges := g.Edges(g.Node("app"))
	if len(edges) != 2 || showEdge(edges[0]) != "app>base(base):2" || showEdge(edges[1]) != "app>base(again):2" {
		t.Errorf("edges: %v", edges)
	}
	if n := len(g.Edges(g.Node("a"))) + len(g.Edges(g.Node("b"))); n != 1 {
		t.Errorf("a cycle of two has %d edges in the graph, want 1", n)
	}
}

func TestNamed(t *testing.T) {
	g := mustNew(t, market)
	for asked, want := range map[string]string{
		"tests api tests": "tests api",
		"apps":            "api web",
		"*s":              "api web tools tests",
		"":                "api web tests",
	} {
		if got := names(named(t, g, asked)); got != want {
			t.Errorf("%q means %q, want %q", asked, got, want)
		}
	}
	if _, diags := g.Named("wob"); !diags.HasErrors() || !strings.Contains(showDiags(diags), `"web"`) {
		t.Errorf("an unknown name: %s", showDiags(diags))
	}
	narrow, _ := g.Select("web")
	if got := names(named(t, narrow, "apps")); got != "web" {
		t.Errorf("of a group in a narrow graph: %q", got)
	}
}

func TestReach(t *testing.T) {
	g := mustNew(t, market)
	show := func(far map[*Node]int) string {
		var out []string
		for _, n := range g.Nodes() {
			if d, ok := far[n]; ok {
				out = append(out, fmt.Sprint(n.Name(), d))
			}
		}
		return strings.Join(out, " ")
	}
	if got, want := show(Reach(named(t, g, "tests"), Needs)), "tools2 base2 db2 api1 web1 tests0"; got != want {
		t.Errorf("needs of tests: %s, want %s", got, want)
	}
	if got, want := show(Reach(named(t, g, "tools web"), g.Needers())), "tools0 base1 api1 web0 tests1"; got != want {
		t.Errorf("needers of tools and web: %s, want %s", got, want)
	}
}

func TestWays(t *testing.T) {
	g := mustNew(t, market)
	tests := []struct {
		name, from, to string
		most           int
		want           []string
		total          int64
	}{
		{"one", "web", "tools", 9, []string{"web>base(base):5 base>tools(tools):2"}, 1},
		{"shortest first", "api", "tools", 9, []string{"api>tools(tools):4", "api>base(base):4 base>tools(tools):2"}, 2},
		{"cut", "tests", "tools", 2, []string{"tests>>api:6 api>tools(tools):4", "tests>>api:6 api>base(base):4 base>tools(tools):2"}, 4},
		{"by depends-on only", "tests", "db", 9, []string{"tests>>api:6 api>>db:4"}, 1},
		{"the other way", "tools", "api", 9, nil, 0},
		{"itself", "api", "api", 9, nil, 0},
		{"a group", "apps", "db", 9, []string{"api>>db:4"}, 1},
		{"to a group, no further than its first", "tests", "apps", 9, []string{"tests>web(web):6", "tests>>api:6", "tests>>web:6"}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := g.Ways(named(t, g, tt.from), named(t, g, tt.to), tt.most)
			var got []string
			for _, p := range w.Paths {
				var way []string
				for _, e := range p {
					way = append(way, showEdge(e))
				}
				got = append(got, strings.Join(way, " "))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || w.Total != tt.total {
				t.Errorf("%d in all, want %d; (-want +got):\n%s", w.Total, tt.total, diff)
			}
		})
	}
}

// More paths than anybody could count are told as such, and the first of them
// come at once.
func TestWaysOfAKnot(t *testing.T) {
	var text strings.Builder
	text.WriteString("t0a:\nt0b:\n")
	for i := 1; i < 100; i++ {
		fmt.Fprintf(&text, "t%da: t%da t%db\nt%db: t%da t%db\n", i, i-1, i-1, i, i-1, i-1)
	}
	g := mustNew(t, text.String())
	w := g.Ways(named(t, g, "t99a"), named(t, g, "t0a"), 50)
	if len(w.Paths) != 50 || w.Total != math.MaxInt64 {
		t.Errorf("%d paths of %d", len(w.Paths), w.Total)
	}
	for _, p := range w.Paths {
		if len(p) != 99 || p[0].From.Name() != "t99a" || p[98].To.Name() != "t0a" ||
			slices.ContainsFunc(p, func(e Edge) bool { return e.Range == (hcl.Range{}) }) {
			t.Fatalf("a path of %d edges from %s to %s", len(p), p[0].From.Name(), p[len(p)-1].To.Name())
		}
	}
}
