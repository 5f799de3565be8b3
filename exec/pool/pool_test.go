package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
)

const (
	amd = "linux/amd64"
	arm = "linux/arm64"
	z   = "linux/s390x"
)

// TestPlaces says where the nodes of a graph are built: by platform, then by
// links.
func TestPlaces(t *testing.T) {
	for _, tt := range []struct {
		name, graph string
		fakes       []*fake
		want        map[string]string // digests say it all
	}{
		{
			"native before emulated", "a@arm64 b@amd64",
			[]*fake{newFake("x", amd, arm), newFake("y", arm)},
			map[string]string{"a": "y:a@linux/arm64", "b": "x:b@linux/amd64"},
		},
		{
			"emulated before unclaimed", "a@s390x",
			[]*fake{newFake("x", amd), newFake("y", arm, z)},
			map[string]string{"a": "y:a@linux/s390x"},
		},
		{
			"unclaimed is better than nothing", "a@s390x",
			[]*fake{newFake("x", amd)},
			map[string]string{"a": "x:a@linux/s390x"},
		},
		{
			"32 bits are native where they are claimed", "a@arm/v7",
			[]*fake{newFake("x", amd, "linux/arm/v7"), newFake("y", arm, "linux/arm/v7")},
			map[string]string{"a": "y:a@linux/arm/v7"},
		},
		{
			"no platform is that of the first", "a b c d e f g h",
			[]*fake{newFake("x", amd), newFake("y", arm)},
			map[string]string{"a": "x:a", "b": "x:b", "c": "x:c", "d": "x:d", "e": "x:e", "f": "x:f", "g": "x:g", "h": "x:h"},
		},
		{
			"two platforms, two daemons", "a@amd64,arm64",
			[]*fake{newFake("x", amd, arm), newFake("y", arm, amd)},
			map[string]string{"a": "x:a@linux/amd64+y:a@linux/arm64"},
		},
		{
			"in the order of the target", "a@arm64,amd64",
			[]*fake{newFake("x", amd, arm), newFake("y", arm, amd)},
			map[string]string{"a": "y:a@linux/arm64+x:a@linux/amd64"},
		},
		{
			"emulated stays with native", "a@arm64,s390x b@arm64,s390x c@arm64,s390x",
			[]*fake{newFake("x", arm, z), newFake("y", arm, z)},
			map[string]string{"a": "y:a@linux/arm64,linux/s390x", "b": "x:b@linux/arm64,linux/s390x", "c": "x:c@linux/arm64,linux/s390x"},
		},
		{
			"links for each platform", "base@amd64,arm64 app@amd64,arm64:base",
			[]*fake{newFake("x", amd), newFake("y", arm)},
			map[string]string{"base": "x:base@linux/amd64+y:base@linux/arm64", "app": "x:app@linux/amd64+y:app@linux/arm64"},
		},
		{
			"what one platform reads is whole", "base@amd64,arm64 app@arm64:base",
			[]*fake{newFake("x", amd), newFake("y", arm, amd)},
			map[string]string{"base": "y:base@linux/amd64,linux/arm64", "app": "y:app@linux/arm64"},
		},
		{
			"what reads one platform is whole", "tool@amd64 app@amd64,arm64:tool",
			[]*fake{newFake("x", arm), newFake("y", amd, arm)},
			map[string]string{"tool": "y:tool@linux/amd64", "app": "y:app@linux/amd64,linux/arm64"},
		},
		{
			"what cannot be joined is whole", "!a@amd64,arm64",
			[]*fake{newFake("x", arm), newFake("y", amd, arm)},
			map[string]string{"a": "y:a@linux/amd64,linux/arm64"},
		},
		{
			"links without a platform", "base lib:base app:lib other:base",
			[]*fake{newFake("x", amd)},
			map[string]string{"base": "x:base", "lib": "x:lib", "app": "x:app", "other": "x:other"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &session{fakes: tt.fakes}
				got, err := s.run(t, t.Context(), parse(t, tt.graph))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// chains is a graph of n pairs that are linked.
func chains(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "base%d app%d:base%d ", i, i, i)
	}
	return b.String()
}

// where counts the nodes that each fake has built.
func where(fakes []*fake) map[string]int {
	out := map[string]int{}
	for _, f := range fakes {
		for _, l := range f.log {
			if strings.HasPrefix(l, "+") {
				out[f.name]++
			}
		}
	}
	return out
}

// TestLoad checks that members of one kind share the work, and that what is
// heavy counts for more.
func TestLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fakes := []*fake{newFake("x", amd), newFake("y", amd), newFake("z", amd)}
		s := &session{fakes: fakes}
		if _, err := s.run(t, t.Context(), parse(t, chains(30))); err != nil {
			t.Fatal(err)
		}
		for name, n := range where(fakes) {
			if n < 12 || n > 26 { // 60 nodes; a quarter more than a third of them is 25
				t.Errorf("%s has built %d of 60: %v", name, n, where(fakes))
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		fakes := []*fake{newFake("x", amd), newFake("y", amd)}
		s := &session{fakes: fakes, opt: Options{Weight: func(t *config.Target) int {
			if t.Name == "heavy" {
				return 10
			}
			return 1
		}}}
		out, err := s.run(t, t.Context(), parse(t, "heavy a b c d e f"))
		if err != nil {
			t.Fatal(err)
		}
		heavy, _, _ := strings.Cut(out["heavy"], ":")
		if n := where(fakes)[heavy]; n != 1 {
			t.Errorf("%s has built %d nodes beside the heavy one: %v", heavy, n-1, out)
		}
	})
}

// TestSamePlaceNextTime checks that a target built alone goes to where the
// whole build has left its cache, and that another member moves few.
func TestSamePlaceNextTime(t *testing.T) {
	places := func(t *testing.T, text string, fakes ...*fake) map[string]string {
		s := &session{fakes: fakes}
		out, err := s.run(t, t.Context(), parse(t, text))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range out {
			out[k], _, _ = strings.Cut(v, ":")
		}
		return out
	}
	synctest.Test(t, func(t *testing.T) {
		all := places(t, chains(40), newFake("x", amd), newFake("y", amd))
		if again := places(t, chains(40), newFake("x", amd), newFake("y", amd)); !maps.Equal(all, again) {
			t.Error("the same build was placed otherwise")
		}
		same := 0
		for i := range 40 {
			name := fmt.Sprintf("app%d", i)
			alone := places(t, fmt.Sprintf("base%d app%d:base%d", i, i, i), newFake("x", amd), newFake("y", amd))
			if alone[name] == all[name] {
				same++
			}
		}
		if same < 34 {
			t.Errorf("only %d of 40 go where they were built before", same)
		}
	})
}

// TestEvents checks that it is told where nodes are built.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{fakes: []*fake{newFake("x", amd), newFake("y", arm)}}
		if _, err := s.run(t, t.Context(), parse(t, "a@amd64,arm64 b@arm64")); err != nil {
			t.Fatal(err)
		}
		want := map[string][]string{"a": {"x (linux/amd64)", "y (linux/arm64)"}, "b": {"y"}}
		if diff := cmp.Diff(want, s.placed); diff != "" {
			t.Error(diff)
		}
	})
}

// TestLoss kills a daemon in a solve or an export: all that is linked moves,
// results that are read again are built again, and what is out stays.
func TestLoss(t *testing.T) {
	for _, tt := range []struct {
		name, graph, dies string
		want              map[string]string
		log               []string // of the survivor, sorted
	}{
		{"in a solve", "a", "a", map[string]string{"a": "y:a@linux/amd64"}, []string{"+a@", ">a"}},
		{
			"with links", "base app:base top:app", "app",
			map[string]string{"base": "x:base", "app": "y:app@linux/amd64", "top": "y:top@linux/amd64"},
			[]string{"+app@", "+base@", "+top@", ">app", ">top"}, // base is out
		},
		{
			"in an export", "base app:base", ">app",
			map[string]string{"base": "x:base", "app": "y:app@linux/amd64"},
			[]string{"+app@", "+base@", ">app"},
		},
		{
			"while others read it", "base a:base b:base c:base", "b",
			map[string]string{"base": "x:base", "a": "y:a@linux/amd64", "b": "y:b@linux/amd64", "c": "y:c@linux/amd64"},
			[]string{"+a@", "+b@", "+base@", "+c@", ">a", ">b", ">c"},
		},
		{
			"after an export that is waited for", "base late:>base top:base,late", "top",
			map[string]string{"base": "x:base", "late": "x:late", "top": "y:top@linux/amd64"},
			[]string{"+base@", "+late@", "+top@", ">top"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// The one that dies is the only one of the platform of the
				// first, so that all is placed there.
				x, y := newFake("x", amd), newFake("y", arm)
				x.dies = tt.dies
				s := &session{fakes: []*fake{x, y}}
				got, err := s.run(t, t.Context(), parse(t, tt.graph))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
				for i, l := range y.log { // named for y, which is of another platform
					y.log[i] = strings.TrimSuffix(l, amd)
				}
				slices.Sort(y.log)
				if diff := cmp.Diff(tt.log, y.log); diff != "" {
					t.Error(diff)
				}
				if len(s.warnings) != 1 || !strings.Contains(s.warnings[0], "builder x was lost: x: the daemon is gone\n") || !strings.HasSuffix(s.warnings[0], "now on y") {
					t.Errorf("warnings are %q", s.warnings)
				}
			})
		})
	}
}

// TestLossOfAPart moves one platform of two.
func TestLossOfAPart(t *testing.T) {
	for _, dies := range []string{"base", "app", ">base", ">app"} {
		t.Run(dies, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, y := newFake("x", amd, arm), newFake("y", arm)
				y.dies = dies
				s := &session{fakes: []*fake{x, y}}
				got, err := s.run(t, t.Context(), parse(t, "base@amd64,arm64 app@amd64,arm64:base"))
				if err != nil {
					t.Fatal(err)
				}
				if want := "x:app@linux/amd64+x:app@linux/arm64"; got["app"] != want {
					t.Errorf("app is %s, want %s", got["app"], want)
				}
				if strings.Count(strings.Join(x.log, " "), "+app@linux/amd64") != 1 {
					t.Errorf("what was not lost is built again: %q", x.log)
				}
			})
		})
	}
}

// TestNobodyLeft says of each when and why it was lost.
func TestNobodyLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := newFake("x", amd), newFake("y", amd)
		x.dies, y.dies = "a", "a"
		s := &session{fakes: []*fake{x, y}, exec: exec.Options{Mode: exec.KeepGoing}}
		out, err := s.run(t, t.Context(), parse(t, "a"))
		if err == nil || len(out) > 0 || !errors.Is(err, errLost) {
			t.Fatalf("built %v, error is %v", out, err)
		}
		for _, want := range []string{"no builder is left:\n", "\nx was lost at ", "\ny was lost at ", "y: the daemon is gone"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %q", want, err)
			}
		}
	})
}

// TestOpenFails moves on where the one that takes over cannot be used.
func TestOpenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y, u := newFake("x", amd), newFake("y", arm), newFake("u", z)
		x.dies = "a"
		y.noOpen = fmt.Errorf("y: %w", errLost)
		s := &session{fakes: []*fake{x, y, u}}
		out, err := s.run(t, t.Context(), parse(t, "a b c d e f g h"))
		if err != nil {
			t.Fatal(err)
		}
		if out["a"] != "u:a@linux/amd64" {
			t.Errorf("outputs are %v", out)
		}
	})
}

// TestNotRepeated fails a target whose output may be half written.
func TestNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := newFake("x", amd), newFake("y", arm)
		x.dies = ">a"
		s := &session{fakes: []*fake{x, y}, exec: exec.Options{Mode: exec.KeepGoing}}
		out, err := s.run(t, t.Context(), parse(t, "!a b:>a c"))
		if err == nil || !strings.Contains(err.Error(), "cannot be taken back") || !errors.Is(err, errLost) {
			t.Errorf("error is %v", err)
		}
		if _, ok := out["a"]; ok || out["c"] == "" {
			t.Errorf("built %v", out)
		}
	})
}

// TestFailure is no loss: it is not tried elsewhere, and stops the part of
// another platform.
func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := newFake("x", amd), newFake("y", arm)
		x.fails["a"] = errors.New("exit code 1")
		s := &session{fakes: []*fake{x, y}, exec: exec.Options{Mode: exec.KeepGoing}}
		out, err := s.run(t, t.Context(), parse(t, "a@amd64,arm64 b@amd64,arm64:a"))
		if err == nil || err.Error() != "target a: exit code 1" || len(out) > 0 || len(s.warnings) > 0 {
			t.Errorf("built %v, error is %v, warnings %q", out, err, s.warnings)
		}
	})
}

// TestCacheError: what was exported without its cache is there, whole or in
// parts.
func TestCacheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := newFake("x", amd), newFake("y", arm)
		y.fails[">a"] = &exec.CacheError{Err: errors.New("denied")}
		y.fails[">b"] = y.fails[">a"]
		s := &session{fakes: []*fake{x, y}}
		out, err := s.run(t, t.Context(), parse(t, "a@amd64,arm64 b@arm64"))
		if err != nil || out["a"] != "x:a@linux/amd64+y:a@linux/arm64" || out["b"] != "y:b@linux/arm64" {
			t.Errorf("built %v, error is %v", out, err)
		}
	})
}

// TestStop ends all daemons' work with the run.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		s := &session{fakes: []*fake{newFake("x", amd), newFake("y", arm)}}
		_, err := s.run(t, ctx, parse(t, "a@amd64,arm64 b@amd64,arm64:a c@amd64,arm64:b"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
	})
}

// TestRandom builds random graphs while daemons die at random moments. All is
// built, each node's output is of one node and all its platforms, and no
// result is read on another daemon or after it was closed.
func TestRandom(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		text := randomGraph(rnd)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fakes := []*fake{newFake("w", amd, arm), newFake("x", arm), newFake("y", amd), newFake("z", arm, amd)}
				s := &session{fakes: fakes, exec: exec.Options{Jobs: rnd.IntN(6)}}
				for _, f := range fakes[1:] {
					at := time.Duration(rnd.IntN(30000)) * time.Millisecond
					go func() {
						select {
						case <-time.After(at):
							f.kill()
						case <-t.Context().Done():
						}
					}()
				}
				g := parse(t, text)
				out, err := s.run(t, t.Context(), g)
				if err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				for _, n := range g.Nodes() {
					var have []string
					for part := range strings.SplitSeq(out[n.Name()], "+") {
						_, platforms, _ := strings.Cut(part, "@")
						have = append(have, strings.Split(platforms, ",")...)
					}
					want := n.Target.Platforms
					if len(want) == 0 && len(have) == 1 && (have[0] == "" || have[0] == amd) {
						continue
					}
					if slices.Sort(have); !slices.Equal(have, want) {
						t.Errorf("%s is %s\n%s", n.Name(), out[n.Name()], text)
					}
				}
			})
		})
	}
}

func randomGraph(rnd *rand.Rand) string {
	var b strings.Builder
	kinds := []string{"", "@amd64", "@arm64", "@amd64,arm64", "@amd64,arm64"}
	for i := range 6 + rnd.IntN(14) {
		fmt.Fprintf(&b, "t%d%s:", i, kinds[rnd.IntN(len(kinds))])
		for range rnd.IntN(3) {
			if i > 0 {
				fmt.Fprintf(&b, "t%d,", rnd.IntN(i))
			}
		}
		if i > 0 && rnd.IntN(4) == 0 {
			fmt.Fprintf(&b, ">t%d", rnd.IntN(i))
		}
		b.WriteByte(' ')
	}
	return b.String()
}
