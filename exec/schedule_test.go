package exec

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kilnbuild/kiln/graph"
)

// weigh gives nodes of g their weights.
func weigh(g *graph.Graph, weights map[string]int) *graph.Graph {
	for _, n := range g.Nodes() {
		n.Target.Weight = weights[n.Name()]
	}
	return g
}

// A heavy node takes as many slots as it weighs, while it is solved and while
// it is exported.
func TestRunWeights(t *testing.T) {
	for _, tt := range []struct {
		name    string
		graph   string
		weights map[string]int
		jobs    int
		took    time.Duration // each node takes a second to solve and one to export
		begun   string
	}{
		{"without weights, four at once", "a b c d", nil, 4, 2 * time.Second, "+a +b +c +d"},
		{"two halves", "a b c d", map[string]int{"a": 2, "b": 2, "c": 2, "d": 2}, 4, 4 * time.Second, "+a +b +c +d"},
		{"heavier than the limit: alone", "a big b", map[string]int{"big": 100}, 3, 6 * time.Second, "+a +big +b"},
		{"nothing overtakes the next", "a big b c", map[string]int{"big": 2}, 2, 6 * time.Second, "+a +big +b +c"},
		{"without a limit weights are nothing", "a big b", map[string]int{"big": 100}, 0, 2 * time.Second, "+a +big +b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.weights = map[string]int{}
				for name, w := range tt.weights { // what runs alone counts as the limit
					f.weights[name] = min(w, max(tt.jobs, 1))
				}
				began := time.Now()
				if _, err := Run(t.Context(), weigh(parse(t, tt.graph), tt.weights), f, Options{Jobs: tt.jobs}); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				got := slices.DeleteFunc(slices.Clone(f.log), func(s string) bool { return s[0] != '+' })
				if tt.jobs > 0 && f.heaviest > tt.jobs {
					t.Errorf("%d slots in use, limit %d", f.heaviest, tt.jobs)
				}
				want := strings.Fields(tt.begun)
				if tt.jobs != 1 { // what begins at one moment does so in any order
					slices.Sort(got)
					slices.Sort(want)
				}
				if !slices.Equal(got, want) {
					t.Errorf("begun %s, want %s", got, want)
				}
				f.check(t)
			})
		})
	}
}

// In random graphs with weights the limit holds, and all is built.
func TestRunRandomWeights(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		text := randomGraph(t, rnd)
		synctest.Test(t, func(t *testing.T) {
			g := parse(t, text)
			f := newFake()
			f.slow, f.weights = map[string]time.Duration{}, map[string]int{}
			for _, n := range g.Nodes() {
				f.slow[n.Name()] = time.Duration(rnd.IntN(5000)) * time.Millisecond
				f.weights[n.Name()] = rnd.IntN(6)
			}
			o := Options{Jobs: 1 + rnd.IntN(4), Mode: Mode(rnd.IntN(3))}
			for _, n := range g.Nodes() { // what runs alone counts as the limit
				f.weights[n.Name()] = min(f.weights[n.Name()], o.Jobs)
			}
			out, err := Run(t.Context(), weigh(g, f.weights), f, o)
			f.check(t)
			if err != nil || !allBuilt(out) || f.heaviest > o.Jobs {
				t.Fatalf("seed %d, %+v: %v, %d slots in use: %s\n%s", seed, o, err, f.heaviest, text, show(out))
			}
		})
	}
}

// makespan builds a graph in virtual time and says how long that took.
func makespan(t *testing.T, text string, slow map[string]time.Duration, o Options) time.Duration {
	t.Helper()
	var took time.Duration
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.slow = slow
		began := time.Now()
		if _, err := Run(t.Context(), parse(t, text), f, o); err != nil {
			t.Fatal(err)
		}
		took = time.Since(began)
		f.check(t)
	})
	return took
}

// known makes an Expect of what the fake will take.
func known(slow map[string]time.Duration, not ...string) func(*graph.Node) (Estimate, bool) {
	return func(n *graph.Node) (Estimate, bool) {
		return Estimate{Solve: time.Second + slow[n.Name()], Export: time.Second}, !slices.Contains(not, n.Name())
	}
}

// Earlier durations make a run shorter: what begins the longest chain goes
// first, though it has few nodes or stands last.
func TestRunEarlierDurations(t *testing.T) {
	for _, tt := range []struct {
		name          string
		graph         string
		slow          map[string]time.Duration
		not           []string // unknown
		jobs          int
		without, with time.Duration
	}{
		{"the long one stands last", "a b c d long", map[string]time.Duration{"a": 8 * time.Second, "b": 8 * time.Second, "c": 8 * time.Second, "d": 8 * time.Second, "long": 28 * time.Second}, nil, 2,
			50 * time.Second, 40 * time.Second},
		{"two chains and a long one", "a a2:a a3:a2 b b2:b b3:b2 long", map[string]time.Duration{"long": 10 * time.Second}, nil, 2,
			18 * time.Second, 12 * time.Second},
		{"unknown ones are taken for the middle", "a b new long", map[string]time.Duration{"a": 8 * time.Second, "b": 8 * time.Second, "new": 8 * time.Second, "long": 18 * time.Second}, []string{"new"}, 2,
			30 * time.Second, 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			without := makespan(t, tt.graph, tt.slow, Options{Jobs: tt.jobs})
			with := makespan(t, tt.graph, tt.slow, Options{Jobs: tt.jobs, Expect: known(tt.slow, tt.not...)})
			if without != tt.without || with != tt.with {
				t.Errorf("took %v, and %v with durations; want %v and %v", without, with, tt.without, tt.with)
			}
		})
	}
}

// Over random graphs the durations of earlier runs save time.
func TestRunEarlierDurationsRandom(t *testing.T) {
	var without, with time.Duration
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var words []string
		slow := map[string]time.Duration{}
		for i := range 20 {
			word := fmt.Sprintf("n%d:", i)
			if i > 0 && rnd.IntN(2) == 0 {
				word += fmt.Sprint("n", rnd.IntN(i))
			}
			words = append(words, word)
			slow[fmt.Sprint("n", i)] = time.Duration(rnd.ExpFloat64() * float64(20*time.Second)).Truncate(time.Millisecond)
		}
		text := strings.Join(words, " ")
		without += makespan(t, text, slow, Options{Jobs: 3})
		with += makespan(t, text, slow, Options{Jobs: 3, Expect: known(slow)})
	}
	t.Logf("all graphs: %v without, %v with", without, with)
	if with > without*95/100 {
		t.Errorf("with durations all took %v, without %v: no gain", with, without)
	}
}
