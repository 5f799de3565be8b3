package runs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/runs"
)

// twoSteps is a run of app: a COPY of src onto an image, and a RUN.
func twoSteps(change func(copied, run *exec.Recipe, image *exec.Recipe, t *runs.Target)) *runs.Run {
	app := []string{"app"}
	image := exec.Recipe{Digest: "i", Kind: exec.RecipeImage, Source: "alpine:3@sha256:1", Targets: app}
	local := exec.Recipe{Digest: "l", Kind: exec.RecipeLocal, Source: "/ctx", Targets: app}
	copied := exec.Recipe{Digest: "c", Kind: exec.RecipeFile, Command: "copy /src to /src", Targets: app, Inputs: []exec.RecipeInput{{Step: "i"}, {Step: "l", Paths: []string{"/src"}}}, File: "Dockerfile", Line: 2, Check: "1"}
	run := exec.Recipe{Digest: "r", Kind: exec.RecipeRun, Command: "make", Targets: app, Inputs: []exec.RecipeInput{{Step: "c"}}, Env: []string{"PATH=/bin", "MODE=a"}, Settings: []string{"directory=/"}, File: "Dockerfile", Line: 3, Check: "2"}
	at := time.Now()
	t := &runs.Target{Name: "app", Status: "built", Args: []string{"MODE"}, Times: runs.Times{Started: at}, Steps: []*runs.Step{
		{Digest: "c", Name: "[2/3] COPY src /src", Started: at, Ended: at.Add(time.Second)},
		{Digest: "r", Name: "[3/3] RUN make", Started: at, Ended: at.Add(time.Second)},
	}}
	if change != nil {
		change(&copied, &run, &image, t)
	}
	return &runs.Run{ID: "x", Builders: []string{"kiln"}, Targets: []*runs.Target{t}, Recipes: []exec.Recipe{image, local, copied, run}}
}

func cachedCopy(_, _, _ *exec.Recipe, t *runs.Target) { t.Steps[0].Cached = true }

func file(check uint32, at int64) []exec.ListedFile {
	return []exec.ListedFile{{Path: "src", Mode: 1 << 31, Time: at}, {Path: "src/a", Size: 1, Time: at, Check: check}, {Path: "other", Size: at}}
}

func TestCompare(t *testing.T) {
	type change = func(copied, run, image *exec.Recipe, t *runs.Target)
	for _, c := range []struct {
		name          string
		before, now   change
		was, is       []exec.ListedFile
		root          string
		want          runs.Cause
		beforeMissing bool
	}{
		{name: "first", beforeMissing: true, root: "[2/3] COPY src /src", want: runs.Cause{Kind: runs.CauseFirst}},
		{name: "file", was: file(1, 1), is: file(2, 2), root: "[2/3] COPY src /src", want: runs.Cause{Kind: runs.CauseFile, Name: "src/a", Before: "1B, mode 0, checksum 00000001", Now: "1B, mode 0, checksum 00000002"}},
		{name: "touched", was: file(1, 1), is: file(0, 2), root: "[2/3] COPY src /src", want: runs.Cause{Kind: runs.CauseTouched, Name: "src/a"}},
		{name: "touched, but the same", was: file(1, 1), is: file(1, 2), root: "[2/3] COPY src /src", want: runs.Cause{Kind: runs.CauseCache}},
		{name: "no list", root: "[2/3] COPY src /src", want: runs.Cause{Kind: runs.CauseCache}},
		{name: "base", now: func(_, _, image *exec.Recipe, _ *runs.Target) { image.Source = "alpine:3@sha256:2" }, root: "[2/3] COPY src /src",
			want: runs.Cause{Kind: runs.CauseBase, Name: "alpine:3", Before: "alpine:3@sha256:1", Now: "alpine:3@sha256:2"}},
		{name: "argument", now: func(c, r, i *exec.Recipe, t *runs.Target) {
			r.Env = []string{"PATH=/bin", "MODE=b"}
			cachedCopy(c, r, i, t)
		}, root: "[3/3] RUN make", want: runs.Cause{Kind: runs.CauseArgument, Name: "MODE", Before: "a", Now: "b"}},
		{name: "variable", now: func(c, r, i *exec.Recipe, t *runs.Target) {
			r.Env = []string{"PATH=/sbin", "MODE=a"}
			cachedCopy(c, r, i, t)
		}, root: "[3/3] RUN make", want: runs.Cause{Kind: runs.CauseEnvironment, Name: "PATH", Before: "/bin", Now: "/sbin"}},
		{name: "setting", now: func(c, r, i *exec.Recipe, t *runs.Target) {
			r.Settings = []string{"directory=/src"}
			cachedCopy(c, r, i, t)
		}, root: "[3/3] RUN make", want: runs.Cause{Kind: runs.CauseSetting, Name: "directory", Before: "/", Now: "/src"}},
		{name: "hidden", now: func(c, r, i *exec.Recipe, t *runs.Target) { r.Check = "3"; cachedCopy(c, r, i, t) }, root: "[3/3] RUN make", want: runs.Cause{Kind: runs.CauseHidden}},
		{name: "no cache", now: func(c, _, _ *exec.Recipe, _ *runs.Target) { c.NoCache = true }, root: "[2/3] COPY src /src", want: runs.Cause{Kind: runs.CauseNoCache}},
		{name: "unfinished", before: func(_, _, _ *exec.Recipe, t *runs.Target) { t.Steps[0].Ended = time.Time{} }, root: "[2/3] COPY src /src", want: runs.Cause{Kind: runs.CauseUnfinished}},
		{name: "builder", now: func(_, _, _ *exec.Recipe, t *runs.Target) { t.Builders = []string{"b"} }, root: "[2/3] COPY src /src", want: runs.Cause{Kind: runs.CauseBuilder, Before: "kiln", Now: "b"}},
		{name: "earlier step", was: file(1, 1), is: file(2, 2), now: cachedCopy, root: "[3/3] RUN make",
			want: runs.Cause{Kind: runs.CauseFile, Name: "src/a", Before: "1B, mode 0, checksum 00000001", Now: "1B, mode 0, checksum 00000002", Step: "[2/3] COPY src /src"}},
	} {
		now, before := twoSteps(c.now), twoSteps(c.before)
		if c.beforeMissing {
			before = nil
		}
		why := runs.Compare(now, before, "app", func(r *runs.Run, _ string) ([]exec.ListedFile, bool) {
			if r == now {
				return c.is, c.is != nil
			}
			return c.was, c.was != nil
		})
		if len(why.Roots) != 1 || why.Roots[0].Step != c.root {
			t.Errorf("%s: roots %+v, want %s", c.name, why.Roots, c.root)
			continue
		}
		if diff := cmp.Diff([]runs.Cause{c.want}, why.Roots[0].Causes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if chain := len(why.Chain); chain != 1 && c.root == "[2/3] COPY src /src" {
			t.Errorf("%s: %d steps follow, want 1", c.name, chain)
		}
	}
}

// A step in the midst that is gone is told as that; bookkeeping, which is never
// cached, is told only as part of a step that was done again for it.
func TestCompareSteps(t *testing.T) {
	app := []string{"app"}
	step := func(digest, command string, cached, internal bool, inputs ...string) (exec.Recipe, *runs.Step) {
		r := exec.Recipe{Digest: digest, Kind: exec.RecipeRun, Command: command, Targets: app}
		for _, in := range inputs {
			r.Inputs = append(r.Inputs, exec.RecipeInput{Step: in})
		}
		return r, &runs.Step{Digest: digest, Name: command, Cached: cached, Internal: internal, Started: time.Unix(1, 0), Ended: time.Unix(2, 0)}
	}
	run := func(steps ...func() (exec.Recipe, *runs.Step)) *runs.Run {
		target := &runs.Target{Name: "app", Status: "built", Times: runs.Times{Started: time.Unix(1, 0)}}
		r := &runs.Run{ID: "x", Builders: []string{"kiln"}, Targets: []*runs.Target{target}}
		for i, s := range steps {
			recipe, step := s()
			if !step.Internal {
				step.Name = fmt.Sprintf("[%d/%d] RUN %s", i+1, len(steps), step.Name)
			}
			r.Recipes, target.Steps = append(r.Recipes, recipe), append(target.Steps, step)
		}
		return r
	}
	a := func() (exec.Recipe, *runs.Step) { return step("a", "one", true, false) }
	gone := func() (exec.Recipe, *runs.Step) { return step("g", "gone", true, false, "a") }
	b := func() (exec.Recipe, *runs.Step) { return step("b", "two", false, false, "g") }
	afterA := func() (exec.Recipe, *runs.Step) { return step("b2", "two", false, false, "a") }
	doc := func() (exec.Recipe, *runs.Step) { return step("d", "write 1", false, true) }
	other := func() (exec.Recipe, *runs.Step) { return step("d2", "write 2", false, true) }
	copied := func() (exec.Recipe, *runs.Step) { return step("c", "copy", true, false, "d") }
	again := func() (exec.Recipe, *runs.Step) { return step("c2", "copy", false, false, "d2") }
	for _, c := range []struct {
		name        string
		now, before *runs.Run
		want        []runs.Cause
	}{
		{"a step is gone", run(a, afterA), run(a, gone, b), []runs.Cause{{Kind: runs.CauseInput, Before: "[2/3] RUN gone", Now: "[1/2] RUN one"}}},
		{"bookkeeping", run(doc, copied), run(doc, copied), nil},
		{"another document", run(other, again), run(doc, copied), []runs.Cause{{Kind: runs.CauseCommand, Before: "write 1", Now: "write 2", Step: "write 2"}}},
	} {
		why := runs.Compare(c.now, c.before, "app", nil)
		var got []runs.Cause
		for _, r := range why.Roots {
			got = append(got, r.Causes...)
		}
		if diff := cmp.Diff(c.want, got); diff != "" || len(why.Chain) != 0 {
			t.Errorf("%s: %+v\n%s", c.name, why, diff)
		}
	}
}

// Of a target that was stopped, the step that was going on was not cached, and
// what nobody came to is not counted.
func TestCompareStopped(t *testing.T) {
	r := twoSteps(func(c, r, i *exec.Recipe, t *runs.Target) {
		t.Status, t.Finished = "cancelled", t.Started.Add(3*time.Second)
		t.Steps[0].Ended, t.Steps[1].Started, t.Steps[1].Ended = time.Time{}, time.Time{}, time.Time{}
	})
	why := runs.Compare(r, nil, "app", nil)
	if len(why.Roots) != 1 || why.Roots[0].Step != "[2/3] COPY src /src" || why.Roots[0].Seconds != 3 || why.Steps != 1 || why.Cached != 0 {
		t.Errorf("%+v", why)
	}
}

// Where the daemon's frontend has kept the steps to itself, what was done is
// told at least.
func TestCompareWithoutRecipes(t *testing.T) {
	r := twoSteps(nil)
	r.Recipes = nil
	why := runs.Compare(r, nil, "app", nil)
	if !why.Unknown || len(why.Chain) != 2 || len(why.Roots) != 0 {
		t.Errorf("%+v", why)
	}
	if why = runs.Compare(r, nil, "other", nil); why.Steps != 0 {
		t.Errorf("of a target that is not there: %+v", why)
	}
}
