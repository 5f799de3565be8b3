package runs

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/patternmatcher"

	"github.com/kilnbuild/kiln/exec"
)

// A differ gathers what differs between two steps, and between what they read.
type differ struct {
	c       *comparison
	seen    map[string]bool // steps that were compared
	found   []Cause
	touched []Cause // of which it is not sure that they are one
}

// recipe compares two steps; where names the step if it is not the root.
func (d *differ) recipe(r, old *exec.Recipe, where string) {
	if d.seen[r.Digest] {
		return
	}
	d.seen[r.Digest] = true
	before := len(d.found)
	d.itself(r, old, where)
	d.sources(r, old, where)
	if len(d.found) == before { // what comes before was there, so it tells only where nothing else does
		d.steps(r, old, where)
	}
	if len(d.found) == before && len(d.touched) == 0 && r.Check != old.Check && r.Check != "" && old.Check != "" && r.Kind != exec.RecipeImage && r.Kind != exec.RecipeLocal {
		d.add(Cause{Kind: CauseHidden, Step: where})
	}
}

func (d *differ) add(c Cause) { d.found = append(d.found, c) }

// itself compares what is written in the Dockerfile, and its settings.
func (d *differ) itself(r, old *exec.Recipe, where string) {
	if r.Command != old.Command {
		d.add(Cause{Kind: CauseCommand, Before: old.Command, Now: r.Command, Step: where})
	}
	args := d.arguments()
	d.pairs(r.Env, old.Env, func(name, was, is string) {
		kind := CauseEnvironment
		if args[name] {
			kind = CauseArgument
		}
		d.add(Cause{Kind: kind, Name: name, Before: was, Now: is, Step: where})
	})
	d.pairs(r.Settings, old.Settings, func(name, was, is string) {
		d.add(Cause{Kind: CauseSetting, Name: name, Before: was, Now: is, Step: where})
	})
}

// arguments are the names of the build arguments of the target, and of those
// that it needs, in both runs.
func (d *differ) arguments() map[string]bool {
	out := map[string]bool{}
	for _, s := range []*oneSide{d.c.now, d.c.before} {
		for _, t := range s.run.Targets {
			for _, a := range t.Args {
				out[a] = true
			}
		}
	}
	return out
}

// pairs tells of the names that have another value in two lists of
// "name=value".
func (d *differ) pairs(now, before []string, tell func(name, was, is string)) {
	is, was := valuesOf(now), valuesOf(before)
	names := maps.Clone(is)
	maps.Copy(names, was)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if is[name] != was[name] {
			tell(name, was[name], is[name])
		}
	}
}

func valuesOf(list []string) map[string]string {
	out := map[string]string{}
	for _, e := range list {
		name, value, _ := strings.Cut(e, "=")
		if old, ok := out[name]; ok { // devices
			value = old + ", " + value
		}
		out[name] = value
	}
	return out
}

// sources compares the directories, images and addresses that two steps read.
func (d *differ) sources(r, old *exec.Recipe, where string) {
	if len(r.Inputs) != len(old.Inputs) && r.Command == old.Command {
		d.add(Cause{Kind: CauseInput, Step: where})
		return
	}
	d.each(r, old, func(in exec.RecipeInput, from, was *exec.Recipe) {
		switch {
		case from.Kind != was.Kind:
			d.add(Cause{Kind: CauseInput, Before: nameOf(d.c.before, was), Now: nameOf(d.c.now, from), Step: where})
		case from.Kind == exec.RecipeLocal:
			d.files(in, from, was, where)
		case from.Source == was.Source:
		case from.Kind == exec.RecipeImage:
			d.add(Cause{Kind: CauseBase, Name: imageName(from), Before: was.Source, Now: from.Source, Step: where})
		case isSource(from.Kind):
			d.add(Cause{Kind: CauseSource, Name: from.Source, Before: was.Source, Now: from.Source, Step: where})
		}
	})
}

// steps compares the steps that two steps read.
func (d *differ) steps(r, old *exec.Recipe, where string) {
	d.each(r, old, func(_ exec.RecipeInput, from, was *exec.Recipe) {
		switch {
		case from.Kind != was.Kind || isSource(from.Kind): // sources have told
		case d.c.now.key(from.Digest) != d.c.before.key(was.Digest) && d.c.same(from) != nil:
			// It is what it was, but something that came between is gone.
			d.add(Cause{Kind: CauseInput, Before: nameOf(d.c.before, was), Now: nameOf(d.c.now, from), Step: where})
		default:
			d.recipe(from, was, nameOf(d.c.now, from))
		}
	})
}

// each calls fn for what both steps read.
func (d *differ) each(r, old *exec.Recipe, fn func(in exec.RecipeInput, from, was *exec.Recipe)) {
	for i := range min(len(r.Inputs), len(old.Inputs)) {
		from, was := d.c.now.byStep[r.Inputs[i].Step], d.c.before.byStep[old.Inputs[i].Step]
		if from != nil && was != nil {
			fn(r.Inputs[i], from, was)
		}
	}
}

// nameOf is what people know a step by.
func nameOf(s *oneSide, r *exec.Recipe) string {
	if step := s.steps[r.Digest]; step != nil {
		return step.Name
	}
	if isSource(r.Kind) {
		return r.Source
	}
	return string(r.Kind) + " " + r.Command
}

// mostFiles is how many files are told of one step.
const mostFiles = 1000

// files compares what a step reads of a directory.
func (d *differ) files(in exec.RecipeInput, from, old *exec.Recipe, where string) {
	if from.Source != old.Source {
		d.add(Cause{Kind: CauseInput, Name: "context", Before: old.Source, Now: from.Source, Step: where})
		return
	}
	now, ok := d.c.lists(d.c.now.run, from.Source)
	before, okBefore := d.c.lists(d.c.before.run, from.Source)
	if ok && okBefore {
		d.listed(selected(now, in.Paths, from.Exclude), selected(before, in.Paths, old.Exclude), where)
	}
	if !slices.Equal(from.Exclude, old.Exclude) && len(d.found) > 0 {
		d.add(Cause{Kind: CauseIgnore, Name: from.Source, Step: where})
	}
}

// listed compares two lists of files.
func (d *differ) listed(now, before []exec.ListedFile, where string) {
	was := map[string]exec.ListedFile{}
	for _, f := range before {
		was[f.Path] = f
	}
	for _, f := range now {
		if len(d.found) > mostFiles {
			return
		}
		old, ok := was[f.Path]
		delete(was, f.Path)
		switch {
		case !ok:
			d.add(Cause{Kind: CauseFile, Name: f.Path, Now: aboutFile(f), Step: where})
		case differs(f, old):
			d.add(Cause{Kind: CauseFile, Name: f.Path, Before: aboutFile(old), Now: aboutFile(f), Step: where})
		case touched(f, old):
			d.touched = append(d.touched, Cause{Kind: CauseTouched, Name: f.Path, Step: where})
		}
	}
	for _, f := range before {
		if _, gone := was[f.Path]; gone && len(d.found) <= mostFiles {
			d.add(Cause{Kind: CauseFile, Name: f.Path, Before: aboutFile(f), Step: where})
		}
	}
}

// differs reports whether a file is surely another than it was: its time is
// no part of a step's place in the cache.
func differs(f, old exec.ListedFile) bool {
	if f.Mode != old.Mode || f.Link != old.Link {
		return true
	}
	if !fs.FileMode(f.Mode).IsRegular() {
		return false
	}
	return f.Size != old.Size || f.Check != 0 && old.Check != 0 && f.Check != old.Check
}

// touched reports whether a file may be another than it was.
func touched(f, old exec.ListedFile) bool {
	return fs.FileMode(f.Mode).IsRegular() && f.Time != old.Time && (f.Check == 0 || old.Check == 0)
}

// aboutFile tells what may be different of a file.
func aboutFile(f exec.ListedFile) string {
	mode := fs.FileMode(f.Mode)
	switch {
	case f.Link != "":
		return "link to " + f.Link
	case mode.IsDir():
		return fmt.Sprintf("directory, mode %o", mode.Perm())
	}
	text := fmt.Sprintf("%s, mode %o", units.HumanSize(float64(f.Size)), mode.Perm())
	if f.Check != 0 { // else nobody has read it
		text += fmt.Sprintf(", checksum %08x", f.Check)
	}
	return text
}

// selected are the files that paths with patterns name, or that are below
// what they name, without those that are left out.
func selected(files []exec.ListedFile, paths, exclude []string) []exec.ListedFile {
	ignored, err := patternmatcher.New(exclude)
	if err != nil || len(exclude) == 0 {
		ignored = nil
	}
	var out []exec.ListedFile
	for _, f := range files {
		if len(paths) > 0 && !slices.ContainsFunc(paths, func(p string) bool { return covers(p, f.Path) }) {
			continue
		}
		if ignored != nil {
			if skip, err := ignored.MatchesOrParentMatches(f.Path); err == nil && skip {
				continue
			}
		}
		out = append(out, f)
	}
	return out
}

// covers reports whether a pattern names a path or something above it.
func covers(pattern, name string) bool {
	pattern = strings.Trim(path.Clean("/"+pattern), "/")
	if pattern == "" || pattern == "." {
		return true
	}
	names := strings.Split(strings.Trim(name, "/"), "/")
	for i, part := range strings.Split(pattern, "/") {
		switch {
		case strings.Contains(part, "**"):
			return true
		case i >= len(names):
			return false
		}
		if ok, err := path.Match(part, names[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
