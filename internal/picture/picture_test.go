package picture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// shop has every kind of node and edge.
func shop() Picture {
	return Picture{
		Title: "build.hcl",
		Roots: []string{"default"},
		Groups: []Group{
			{Name: "default", Description: "all that is sold", Members: []string{"apps", "tests", "gone"}},
			{Name: "apps", Members: []string{"api", "web"}},
		},
		Nodes: []Node{
			{Name: "docker.io/library/alpine:3.22", Image: true},
			{Name: "tools", File: "build.hcl", Line: 5, Edges: []Edge{{To: 0, Kind: Base, File: "tools/Dockerfile", Line: 1}}},
			{Name: "base", File: "build.hcl", Line: 9, Edges: []Edge{{To: 0, Kind: Base, File: "base/Dockerfile", Line: 1}}},
			{Name: "db", File: "build.hcl", Line: 14, Requested: true},
			{
				Name: "api", Description: "the shop's API", Requested: true, File: "build.hcl", Line: 20,
				Edges: []Edge{
					{To: 2, Kind: Context, Name: "runtime", File: "build.hcl", Line: 23},
					{To: 1, Kind: Context, Name: "tools", File: "build.hcl", Line: 22},
					{To: 3, Kind: DependsOn, File: "build.hcl", Line: 24},
				},
				Attrs: json.RawMessage(`{"context": ".", "dockerfile": "api.Dockerfile", "tags": ["shop/api:1"]}`),
			},
			{Name: "web", Variant: "prod", Requested: true, File: "build.hcl", Line: 28, Edges: []Edge{
				{To: 2, Kind: Context, Name: "base", File: "build.hcl", Line: 30},
				{To: 2, Kind: Context, Name: "again", File: "build.hcl", Line: 30},
			}},
			{Name: "tests", Requested: true, File: "build.hcl", Line: 40, Edges: []Edge{
				{To: 4, Kind: DependsOn, File: "build.hcl", Line: 41},
				{To: 5, Kind: DependsOn, File: "build.hcl", Line: 41},
			}},
		},
	}
}

// nasty has text that means something to each of the formats.
func nasty() Picture {
	return Picture{
		Title:  `</title><b>"{{data}}"`,
		Roots:  []string{"evil"},
		Groups: []Group{{Name: "all", Description: `<img src=x onerror="broken=1">`, Members: []string{"evil"}}},
		Nodes: []Node{
			{Name: "end", Line: 1},
			{
				Name: "evil", Description: "</script><script>broken=1</script> \"quoted\" \\N \\ `tick` #35; | ] \n<img src=x onerror=\"broken=1\">",
				Edges: []Edge{{To: 0, Kind: Context, Name: `al"pine:3|x]\` + "\n" + `-->#`}},
				Attrs: json.RawMessage(`{"args": {"</script><b>": "<!--<script>\u2028{{script}}"}}`),
			},
		},
	}
}

// thousand is a graph of a large repository: layers of targets, each of which
// needs up to three of earlier layers.
func thousand() Picture {
	p := Picture{Title: "a thousand", Roots: []string{"t999"}}
	seed := uint32(7)
	next := func(n int) int {
		seed = seed*1664525 + 1013904223
		return int(seed>>8) % n
	}
	for i := range 1000 {
		n := Node{Name: fmt.Sprintf("t%d", i), Description: "one of many", Requested: i >= 500, File: "build.hcl", Line: i + 1}
		for range 3 {
			if i >= 40 {
				n.Edges = append(n.Edges, Edge{To: next(i/5 + 1), Kind: Context, Name: "x", File: "build.hcl", Line: i + 1})
			}
		}
		n.Attrs = json.RawMessage(`{"context":".","dockerfile":"Dockerfile","args":{"A":"1","B":"2"},"tags":["registry.example.com/some/where:latest"],"platforms":["linux/amd64","linux/arm64"]}`)
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

// Every format but the page stands in testdata. KILN_UPDATE=1 rewrites it.
func TestGolden(t *testing.T) {
	for name, p := range map[string]Picture{"shop": shop(), "nasty": nasty(), "empty": {}} {
		for _, f := range Formats() {
			if f == HTML {
				continue
			}
			path := filepath.Join("testdata", name+"."+string(f))
			got := draw(t, p, f)
			if os.Getenv("KILN_UPDATE") == "1" {
				if err := os.WriteFile(path, got, 0o644); err != nil { //nolint:gosec // a golden file
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != string(got) {
				t.Errorf("%s of %s, is in %s:\n%s\nwant:\n%s", f, name, path, got, want)
			}
		}
	}
}

// Text comes back from DOT and Mermaid as it was, whatever is in it.
func TestQuotes(t *testing.T) {
	dot := regexp.MustCompile(`^"(?:[^"\\]|\\["\\])*"$`)
	mermaid := regexp.MustCompile(`^"[^"#&<>\x60\\[\]{}()|;]*(?:#\d+;[^"#&<>\x60\\[\]{}()|;]*)*"$`)
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("ab \"\\#;&<>`[]{}()|-:/.\n\x00\x1b\u00e4\u65e5end")
	for range 5000 {
		var b strings.Builder
		for range random.IntN(12) {
			b.WriteRune(alphabet[random.IntN(len(alphabet))])
		}
		s := b.String()
		q := quoteDOT(s)
		if back := strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(q[1 : len(q)-1]); !dot.MatchString(q) || back != plain(s) {
			t.Fatalf("DOT has %s for %q", q, s)
		}
		q = quoteMermaid(s)
		back := regexp.MustCompile(`#(\d+);`).ReplaceAllStringFunc(q[1:len(q)-1], func(e string) string {
			n, err := strconv.Atoi(e[1 : len(e)-1])
			if err != nil {
				t.Fatal(err)
			}
			return string(rune(n))
		})
		if !mermaid.MatchString(q) || back != plain(s) {
			t.Fatalf("Mermaid has %s for %q", q, s)
		}
	}
}

func TestTreeInColor(t *testing.T) {
	var b strings.Builder
	if err := Draw(&b, Picture{Roots: []string{"a"}, Nodes: []Node{{Name: "a", Requested: true}}}, Options{Color: true}); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[2m\x1b[0m\x1b[1ma\x1b[0m\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestDrawRefuses(t *testing.T) {
	if err := Draw(&strings.Builder{}, Picture{}, Options{Format: "gif"}); err == nil || !strings.Contains(err.Error(), `"gif"`) {
		t.Errorf("an unknown format: %v", err)
	}
	loop := Picture{Nodes: []Node{{Name: "a", Edges: []Edge{{To: 0}}}}}
	if err := Draw(&strings.Builder{}, loop, Options{}); err == nil {
		t.Error("an edge to itself was drawn")
	}
}

// Nothing lies on anything else, needs are to the right of needers, and all is
// within the frame.
func TestLayout(t *testing.T) {
	wide := Picture{Nodes: []Node{{Name: "base"}}}
	for i := range 300 {
		wide.Nodes = append(wide.Nodes, Node{Name: fmt.Sprintf("app-%d", i), Edges: []Edge{{To: 0}}})
	}
	deep := Picture{Nodes: []Node{{Name: "n0"}}}
	for i := 1; i < 400; i++ {
		deep.Nodes = append(deep.Nodes, Node{Name: fmt.Sprintf("n%d", i), Edges: []Edge{{To: i - 1}, {To: i / 2}, {To: 0}}[:1+min(2, i-1)]})
	}
	alone := Picture{}
	for i := range 100 {
		alone.Nodes = append(alone.Nodes, Node{Name: strings.Repeat("x", 1+i%9)})
	}
	for name, p := range map[string]Picture{"shop": shop(), "thousand": thousand(), "wide": wide, "deep": deep, "alone": alone, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			at := lay(p)
			t.Logf("%d nodes in %v: %.0f by %.0f", len(p.Nodes), time.Since(start), at.w, at.h)
			for i, a := range at.boxes {
				if a.x < 0 || a.y < 0 || a.x+a.w > at.w || a.y+a.h > at.h {
					t.Fatalf("%s lies at %v, outside of %.0f by %.0f", p.Nodes[i].Name, a, at.w, at.h)
				}
				for j, b := range at.boxes[:i] {
					if a.x < b.x+b.w && b.x < a.x+a.w && a.y < b.y+b.h && b.y < a.y+a.h {
						t.Fatalf("%s lies on %s: %v, %v", p.Nodes[i].Name, p.Nodes[j].Name, a, b)
					}
				}
				for j, e := range p.Nodes[i].Edges {
					legs, to := at.lines[i][j], at.boxes[e.To]
					if first, last := legs[0].from, legs[len(legs)-1].to; first.x != a.x+a.w || last.x != to.x || first.x >= last.x {
						t.Fatalf("the line from %s to %s goes from %v to %v", p.Nodes[i].Name, p.Nodes[e.To].Name, first, last)
					}
				}
			}
			if len(p.Nodes) > 50 && name != "deep" && (at.w > 12*at.h || at.h > 12*at.w) {
				t.Errorf("%s is %.0f by %.0f", name, at.w, at.h)
			}
		})
	}
}

// The order has few crossings: none, where that can be.
func TestLayoutCrossings(t *testing.T) {
	p := Picture{}
	for i := range 10 {
		p.Nodes = append(p.Nodes, Node{Name: fmt.Sprint("b", i)})
	}
	for i := range 10 { // declared the other way round
		p.Nodes = append(p.Nodes, Node{Name: fmt.Sprint("a", i), Edges: []Edge{{To: 9 - i}, {To: (10 - i) % 10}}[:1+min(1, i)]})
	}
	l := &layers{p: p}
	l.rankNodes()
	l.join()
	l.order()
	if c := l.crossings(); c != 0 {
		t.Errorf("%d lines cross", c)
	}
}

func BenchmarkLayout(b *testing.B) {
	p := thousand()
	for b.Loop() {
		lay(p)
	}
}
