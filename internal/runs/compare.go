package runs

import (
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
)

// Why a target was built anew. The first step that was not in the cache is
// laid beside the step that had its place in an earlier run; what differs is
// the cause. Where nothing differs, it is the cache.

// A Rebuild says why a target was built anew in a run.
type Rebuild struct {
	Version int       `json:"version"` // 1
	Target  string    `json:"target"`
	Run     string    `json:"run"`    // ID
	Before  string    `json:"before"` // ID of the run that it is compared with; "" if there is none
	Roots   []Root    `json:"roots"`  // none: all was cached, or nothing is known
	Unknown bool      `json:"unknown,omitempty"`
	Steps   int       `json:"steps"`  // that are known of the target
	Cached  int       `json:"cached"` // of them
	Chain   []Rebuilt `json:"chain"`  // what was done again because of the roots, in order
}

// A Root is a step that was not cached, though all it reads was there.
type Root struct {
	Rebuilt
	Causes []Cause `json:"causes"` // at least one
}

// A Rebuilt is a step that was not cached.
type Rebuilt struct {
	Target  string  `json:"target"` // whose Dockerfile it is of
	Step    string  `json:"step"`
	File    string  `json:"file,omitempty"`
	Line    int     `json:"line,omitempty"`
	Seconds float64 `json:"seconds"`
}

// A Cause is why a step was not cached.
type Cause struct {
	Kind   CauseKind `json:"kind"`
	Name   string    `json:"name,omitempty"`   // of the file, argument, image and so on
	Before string    `json:"before,omitempty"` // what it was
	Now    string    `json:"now,omitempty"`    // what it is
	Step   string    `json:"step,omitempty"`   // the step before the root in which it is, if not the root itself
}

// A CauseKind tells causes apart.
type CauseKind string

// The causes.
const (
	CauseFile        CauseKind = "file"        // a file that is copied or mounted has changed; Before is "" if it is new, Now if it is gone
	CauseTouched     CauseKind = "touched"     // a file was written to; whether its content is another is not known
	CauseIgnore      CauseKind = "ignore"      // the list of what is left out of a context
	CauseArgument    CauseKind = "argument"    // a build argument
	CauseEnvironment CauseKind = "environment" // a variable that the Dockerfile or a base sets
	CauseBase        CauseKind = "base"        // an image that is built on or copied from has another digest
	CauseCommand     CauseKind = "command"     // the instruction itself
	CauseSetting     CauseKind = "setting"     // user, directory, mounts, platform
	CauseHidden      CauseKind = "hidden"      // something that is not shown, such as the value of a secret argument
	CauseInput       CauseKind = "input"       // it reads something else than before
	CauseSource      CauseKind = "source"      // what an address serves may have changed
	CauseNew         CauseKind = "new"         // there was no such step
	CauseUnfinished  CauseKind = "unfinished"  // the run before did not come to its end
	CauseNoCache     CauseKind = "no-cache"    // the cache was not to be used
	CauseBuilder     CauseKind = "builder"     // another builder, with another cache
	CauseFirst       CauseKind = "first"       // no run before is recorded
	CauseCache       CauseKind = "cache"       // nothing has changed: the cache no longer has it
)

// Lists gives the list of what a run was sent of a directory, or, where it
// was sent nothing, the last one before; not ok if there is none.
type Lists func(r *Run, dir string) ([]exec.ListedFile, bool)

// Compare says why a target was built anew in a run, compared with an earlier
// one, which may be nil.
func Compare(now, before *Run, target string, lists Lists) *Rebuild {
	c := &comparison{now: side(now, target), target: target, lists: lists}
	out := &Rebuild{Version: Version, Target: target, Run: now.ID, Roots: []Root{}, Chain: []Rebuilt{}}
	if before != nil {
		c.before = side(before, target)
		out.Before = before.ID
	}
	again := map[string]bool{} // digests of steps that were done, or follow from one
	for _, r := range c.now.recipes {
		step := c.now.steps[r.Digest]
		follows := slices.ContainsFunc(r.Inputs, func(in exec.RecipeInput) bool { return again[in.Step] })
		if isSource(r.Kind) || step == nil || step.Internal { // bookkeeping is never cached
			again[r.Digest] = follows && !isSource(r.Kind)
			continue
		}
		if step.Started.IsZero() && step.Error == "" && !c.built() {
			continue // nobody came to it
		}
		out.Steps++
		switch {
		case step.Cached || step.Started.IsZero() && step.Error == "":
			out.Cached++
			continue
		case follows:
			out.Chain = append(out.Chain, c.rebuilt(r, step))
		default:
			out.Roots = append(out.Roots, Root{Rebuilt: c.rebuilt(r, step), Causes: c.causes(r)})
		}
		again[r.Digest] = true
	}
	if out.Steps == 0 {
		c.withoutRecipes(out)
	}
	return out
}

// built reports whether the target was built in the later run.
func (c *comparison) built() bool {
	t := c.now.run.Target(c.target)
	return t != nil && t.Status == exec.Built.String()
}

// withoutRecipes tells what was done where kiln does not know what the steps
// are made of: the daemon's own frontend has made them, and did not finish.
func (c *comparison) withoutRecipes(out *Rebuild) {
	t := c.now.run.Target(c.target)
	if t == nil {
		return
	}
	out.Unknown = true
	for _, s := range t.Steps {
		if !s.Written() || s.Ended.IsZero() {
			continue
		}
		out.Steps++
		if s.Cached {
			out.Cached++
			continue
		}
		out.Chain = append(out.Chain, Rebuilt{Target: t.Name, Step: s.Name, File: s.File, Line: s.Line, Seconds: t.StepTook(s).Seconds()})
	}
}

func isSource(k exec.RecipeKind) bool {
	return k == exec.RecipeImage || k == exec.RecipeLocal || k == exec.RecipeGit || k == exec.RecipeHTTP
}

// A comparison is two runs of a target side by side.
type comparison struct {
	now, before *oneSide
	target      string
	lists       Lists
}

// A oneSide is what a run says of a target.
type oneSide struct {
	run     *Run
	recipes []*exec.Recipe // those of the target, each after what it reads
	byStep  map[string]*exec.Recipe
	steps   map[string]*Step
	owners  map[string]string // of steps: the target that they were told of
	keys    map[string]string // of steps, see key
}

func side(r *Run, target string) *oneSide {
	s := &oneSide{run: r, byStep: map[string]*exec.Recipe{}, steps: map[string]*Step{}, owners: map[string]string{}, keys: map[string]string{}}
	for i := range r.Recipes {
		recipe := &r.Recipes[i]
		s.byStep[recipe.Digest] = recipe
		if slices.Contains(recipe.Targets, target) {
			s.recipes = append(s.recipes, recipe)
		}
	}
	for _, t := range r.Targets {
		for _, step := range t.Steps {
			if old := s.steps[step.Digest]; old == nil || old.Ended.IsZero() {
				s.steps[step.Digest], s.owners[step.Digest] = step, t.Name
			}
		}
	}
	return s
}

// key is the same for steps of two runs that do the same to the same, images
// and directories being known by their names.
func (s *oneSide) key(digest string) string {
	if k, ok := s.keys[digest]; ok {
		return k
	}
	s.keys[digest] = "" // of what reads itself, which there is not
	r := s.byStep[digest]
	if r == nil {
		return ""
	}
	parts := []string{string(r.Kind), r.Command, imageName(r), strings.Join(r.Settings, "\x01")}
	for _, in := range r.Inputs {
		parts = append(parts, s.key(in.Step))
	}
	s.keys[digest] = key(strings.Join(parts, "\x00"))
	return s.keys[digest]
}

// imageName is where a source is read from, without what changes with its content.
func imageName(r *exec.Recipe) string {
	name, _, _ := strings.Cut(r.Source, "@")
	if r.Kind == exec.RecipeImage {
		return name
	}
	return r.Source
}

// rebuilt tells of a step.
func (c *comparison) rebuilt(r *exec.Recipe, s *Step) Rebuilt {
	owner := c.target
	// A step of a target that this one needs is that target's.
	for _, t := range r.Targets {
		if t == c.target || c.needs(c.target, t, map[string]bool{}) {
			owner = t
			break
		}
	}
	took := time.Duration(0)
	if t := c.now.run.Target(c.now.owners[s.Digest]); t != nil {
		took = t.StepTook(s)
	}
	return Rebuilt{Target: owner, Step: s.Name, File: r.File, Line: r.Line, Seconds: took.Seconds()}
}

// needs reports whether a target needs another, directly or not.
func (c *comparison) needs(name, other string, seen map[string]bool) bool {
	t := c.now.run.Target(name)
	if t == nil || seen[name] {
		return false
	}
	seen[name] = true
	return slices.ContainsFunc(t.Needs, func(n string) bool { return n == other || c.needs(n, other, seen) })
}

// causes says why a step was not cached, though all it reads was there.
func (c *comparison) causes(r *exec.Recipe) []Cause {
	if t := c.now.run.Target(c.target); r.NoCache || t != nil && t.NoCache && len(c.now.recipes) == 0 {
		return []Cause{{Kind: CauseNoCache}}
	}
	if c.before == nil {
		return []Cause{{Kind: CauseFirst}}
	}
	old := c.counterpart(r)
	if old == nil {
		return []Cause{{Kind: CauseNew, Now: r.Command}}
	}
	d := differ{c: c, seen: map[string]bool{}}
	d.recipe(r, old, "")
	if len(d.found) > 0 {
		return d.found
	}
	if len(d.touched) > 0 {
		return d.touched
	}
	return c.sameRecipe(r, old)
}

// sameRecipe says why a step of which nothing has changed was not cached.
func (c *comparison) sameRecipe(r, old *exec.Recipe) []Cause {
	if was, is := c.builders(c.before), c.builders(c.now); was != is {
		return []Cause{{Kind: CauseBuilder, Before: was, Now: is}}
	}
	if s := c.before.steps[old.Digest]; s == nil || s.Ended.IsZero() || s.Error != "" {
		return []Cause{{Kind: CauseUnfinished}}
	}
	for _, in := range r.Inputs {
		if src := c.now.byStep[in.Step]; src != nil && (src.Kind == exec.RecipeGit || src.Kind == exec.RecipeHTTP) {
			return []Cause{{Kind: CauseSource, Name: src.Source}}
		}
	}
	return []Cause{{Kind: CauseCache}}
}

// builders are those of the target in a run.
func (c *comparison) builders(s *oneSide) string {
	if t := s.run.Target(c.target); t != nil && len(t.Builders) > 0 {
		return strings.Join(t.Builders, ", ")
	}
	return strings.Join(s.run.Builders, ", ")
}

// counterpart finds the step of the run before that has the place of a step:
// that does the same to the same; or does the same; or has the same number in
// the same stage, and reads the same.
func (c *comparison) counterpart(r *exec.Recipe) *exec.Recipe {
	if old := c.same(r); old != nil {
		return old
	}
	var best *exec.Recipe
	most := 0
	for _, old := range c.before.recipes {
		if n := c.likeness(r, old); n > most {
			best, most = old, n
		}
	}
	return best
}

// same finds the step of the run before that does the same to the same; nil if
// there is none.
func (c *comparison) same(r *exec.Recipe) *exec.Recipe {
	want := c.now.key(r.Digest)
	for _, old := range c.before.recipes {
		if c.before.key(old.Digest) == want {
			return old
		}
	}
	return nil
}

// likeness says how sure it is that two steps have the same place; 0 is not.
func (c *comparison) likeness(r, old *exec.Recipe) int {
	if r.Kind != old.Kind || isSource(r.Kind) || r.Command != old.Command && c.stays(old) {
		return 0
	}
	n := 0
	if stage, number := placeOf(c.now.steps[r.Digest]); number != "" {
		oldStage, oldNumber := placeOf(c.before.steps[old.Digest])
		if stage != oldStage {
			return 0
		}
		if number == oldNumber {
			n += 2
		}
	}
	if r.Command == old.Command { // more than place and inputs together: a step before it may be gone
		n += 8
	}
	if len(r.Inputs) > 0 && len(old.Inputs) > 0 && c.now.key(r.Inputs[0].Step) == c.before.key(old.Inputs[0].Step) {
		n += 2
	}
	if r.File == old.File && r.Line == old.Line {
		n++
	}
	return n
}

// stays reports whether a step of the run before is in this run, too.
func (c *comparison) stays(old *exec.Recipe) bool {
	stage, _ := placeOf(c.before.steps[old.Digest])
	return slices.ContainsFunc(c.now.recipes, func(r *exec.Recipe) bool {
		now, _ := placeOf(c.now.steps[r.Digest])
		return r.Kind == old.Kind && r.Command == old.Command && now == stage
	})
}

// placeOf reads stage and number of "[linux/amd64 build 2/5] RUN make".
func placeOf(s *Step) (stage, number string) {
	if s == nil || !strings.HasPrefix(s.Name, "[") {
		return "", ""
	}
	head, _, _ := strings.Cut(s.Name[1:], "]")
	cut := strings.LastIndexByte(head, ' ')
	number, _, ok := strings.Cut(head[cut+1:], "/")
	if !ok {
		return "", ""
	}
	return head[:max(cut, 0)], number
}
