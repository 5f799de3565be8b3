package runs_test

import (
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
