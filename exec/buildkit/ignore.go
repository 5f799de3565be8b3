package buildkit

import (
	"encoding/json"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher"
)

// Ignore files. Targets whose lists of what to leave out differ cannot read
// one upload, unless the difference does not concern the paths that they ask
// for. In a large repository it often does not: each Dockerfile has a list of
// its own, which leaves out everything but what that Dockerfile copies.

// ignoreLists are the lists under which the directories of a run are uploaded.
type ignoreLists struct {
	// mu guards the fields below.
	mu     sync.Mutex
	lists  map[shareKey][]string // as the sources have them, in the order of their coming
	chosen map[string]string     // by list and paths of a source: the list it is uploaded under
}

func newIgnoreLists() *ignoreLists {
	return &ignoreLists{lists: map[shareKey][]string{}, chosen: map[string]string{}}
}

// mostLists is how many lists are looked at for one that fits.
const mostLists = 50

// place returns the source with another list in place of its own: the first
// that leaves out the same of what is at and below the paths that the source
// asks for. A source for which there is none brings its own. The same source
// gets the same list whenever it is asked for in a run.
func (l *ignoreLists) place(src localSource, dir *localDir) localSource {
	own := src.attrs[pb.AttrExcludePatterns]
	key := src.without(pb.AttrExcludePatterns).key(dir)
	id := strings.Join([]string{key.dir, key.attrs, own, src.attrs[pb.AttrFollowPaths]}, "\x00")
	l.mu.Lock()
	defer l.mu.Unlock()
	list, ok := l.chosen[id]
	if !ok {
		list = own
		if known := l.lists[key]; !slices.Contains(known, own) {
			var fits bool
			if list, fits = fitting(known[:min(len(known), mostLists)], src, dir); !fits {
				list = own
				l.lists[key] = append(known, own)
			}
		}
		l.chosen[id] = list
	}
	if list == own {
		return src
	}
	out := src.without(pb.AttrExcludePatterns)
	if list != "" {
		out.attrs[pb.AttrExcludePatterns] = list
	}
	return out
}

// fitting returns the first list that does for a source what its own does.
func fitting(lists []string, src localSource, dir *localDir) (string, bool) {
	if len(lists) == 0 {
		return "", false
	}
	paths, plain := plainPaths(dir.root, src.follow())
	own, ok := patternsIn(src.attrs[pb.AttrExcludePatterns])
	if !plain || !ok {
		return "", false
	}
	want := relevantTo(paths, own)
	for _, list := range lists {
		if patterns, ok := patternsIn(list); ok && slices.Equal(relevantTo(paths, patterns), want) {
			return list, true
		}
	}
	return "", false
}

// patternsIn reads the list of a source; no list is an empty one.
func patternsIn(list string) (patterns []string, ok bool) {
	return patterns, list == "" || json.Unmarshal([]byte(list), &patterns) == nil
}

// without returns the source without an attribute.
func (s localSource) without(attr string) localSource {
	attrs := maps.Clone(s.attrs)
	delete(attrs, attr)
	return localSource{s.mount, attrs}
}

// plainPaths splits the paths that a source asks for into their elements. It
// is not ok if one of them is everything, a pattern, or not there, or leads
// through a symbolic link: that one would ask for further paths.
func plainPaths(root string, follow []string) (paths [][]string, ok bool) {
	if root == "" || len(follow) == 0 {
		return nil, false
	}
	for _, f := range follow {
		f = path.Clean("/" + f)[1:]
		if f == "" || isPattern(f) {
			return nil, false
		}
		elems := strings.Split(f, "/")
		for i := range elems {
			fi, err := os.Lstat(filepath.Join(root, filepath.Join(elems[:i+1]...)))
			if err != nil || fi.Mode()&os.ModeSymlink != 0 {
				return nil, false
			}
		}
		paths = append(paths, elems)
	}
	return paths, true
}

func isPattern(s string) bool { return strings.ContainsAny(s, `*?[\`) }

// relevantTo returns the patterns, in their order, that decide about paths or
// what is below them. Those that only decide about the paths themselves and
// what is above are left out, too, if they let all of them in and come before
// the others.
func relevantTo(paths [][]string, patterns []string) []string {
	var above, below []string
	ordered := true
	for _, p := range patterns {
		at, under := false, false
		for _, f := range paths {
			a, u := mayMatch(p, f)
			at, under = at || a, under || u
		}
		switch {
		case under:
			below = append(below, p)
		case at:
			above = append(above, p)
			ordered = ordered && len(below) == 0
		}
	}
	if ordered && letIn(above, paths) {
		return below
	}
	return slices.DeleteFunc(slices.Clone(patterns), func(p string) bool {
		return !slices.Contains(above, p) && !slices.Contains(below, p)
	})
}

// mayMatch reports whether a pattern may match a path or something above it,
// and whether it may match something below it.
func mayMatch(pattern string, elems []string) (at, below bool) {
	for i, e := range strings.Split(strings.Trim(strings.TrimPrefix(pattern, "!"), "/"), "/") {
		switch {
		case strings.Contains(e, "**"), e == ".", e == "":
			return true, true
		case i == len(elems):
			return false, true
		case e != elems[i] && !isPattern(e):
			return false, false
		}
	}
	return true, false
}

// letIn reports whether patterns leave none of the paths out.
func letIn(patterns []string, paths [][]string) bool {
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return false // the daemon tells of it
	}
	return !slices.ContainsFunc(paths, func(elems []string) bool {
		out, err := m.MatchesOrParentMatches(path.Join(elems...))
		return err != nil || out
	})
}
