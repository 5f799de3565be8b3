package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomConfig returns lines for parse: targets with links of both kinds,
// some to nowhere, some in circles, and groups of targets and groups.
func randomConfig(rnd *rand.Rand) string {
	var lines []string
	n := 2 + rnd.IntN(12)
	for i := range n {
		line := fmt.Sprintf("t%d:", i)
		for range rnd.IntN(4) {
			mark := []string{"", ">"}[rnd.IntN(2)]
			// Mostly backwards, so that not everything is a knot.
			to := rnd.IntN(i + 1)
			if rnd.IntN(12) == 0 {
				to = rnd.IntN(n + 1)
			}
			line += fmt.Sprintf(" %st%d", mark, to)
		}
		lines = append(lines, line)
	}
	for i := range rnd.IntN(4) {
		line := fmt.Sprintf("group g%d:", i)
		for range 1 + rnd.IntN(3) {
			line += fmt.Sprintf(" %c%d", "ttg"[rnd.IntN(3)], rnd.IntN(n))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// Whatever the links are: New's graph has every target once, each node is
// after all it needs, Select never gives less than what is needed, and it
// fails if and only if Check, of the whole, has something to say of it.
func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(200) {
		text := randomConfig(rand.New(rand.NewPCG(seed, 2)))
		cfg := parse(t, text)
		g, diags := New(cfg)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		if len(g.Nodes()) != len(cfg.Targets) {
			t.Errorf("%d nodes of %d targets", len(g.Nodes()), len(cfg.Targets))
		}
		checkOrder(t, g)
		known := showDiags(g.Check())
		failed := false
		for _, tgt := range cfg.Targets {
			sel, diags := g.Select(tgt.Name)
			again, _ := g.Select(tgt.Name)
			if show(sel) != show(again) {
				t.Errorf("%s: %s and then %s", tgt.Name, show(sel), show(again))
			}
			for _, d := range diags {
				failed = true
				// A cycle may be told from another edge on, if entered elsewhere.
				if d.Summary != "Dependency cycle" && !strings.Contains(known, d.Detail) {
					t.Errorf("%s: Check does not know of %s", tgt.Name, d.Detail)
				}
			}
			if sel != nil {
				checkOrder(t, sel)
			}
		}
		if strings.Contains(known, "Dependency cycle") && !failed {
			t.Errorf("Check tells of a cycle, but every target can be selected:\n%s", known)
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, text)
		}
	}
}

// checkOrder checks that nodes come after what they need, and that the links
// back are right.
func checkOrder(t *testing.T, g *Graph) {
	t.Helper()
	seen := map[*Node]bool{}
	for _, n := range g.Nodes() {
		for _, m := range append(slices.Clone(n.Needs), n.After...) {
			if !seen[m] {
				t.Errorf("%s is before %s, which it needs", n.Name(), m.Name())
			}
		}
		for _, m := range n.After {
			if !m.Requested {
				t.Errorf("%s waits for the export of %s, which has none", n.Name(), m.Name())
			}
		}
		for _, m := range n.Needs {
			if !slices.Contains(m.Needers, n) {
				t.Errorf("%s does not know of its reader %s", m.Name(), n.Name())
			}
		}
		if seen[n] || g.Node(n.Name()) != n {
			t.Errorf("%s is there twice, or not by its name", n.Name())
		}
		seen[n] = true
	}
}
