package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/exec/buildkit"
)

// How much is sent. Files are counted by walking directories as the sender
// does, each upload of the run once. What a target asks for of it is summed up
// from that, where its paths are plain.

// MostFiles is how many files of an upload are counted before counting ends.
const MostFiles = 250_000

// Counting says how files are counted.
type Counting struct {
	Most int64               // files of an upload; 0 is no limit
	List bool                // keep the names
	Tick func(files int64)   // is told now and then how many have been counted; nil is nobody
	Name func(string) string // of an absolute directory, for people
}

// A counter counts for one plan.
type counter struct {
	Counting
	known map[string]*counted // by upload
	total int64
}

// counted are the files of an upload.
type counted struct {
	share
	list  []File
	sizes map[string]int64    // bytes of files, by path
	dirs  map[string]Weight   // directories, with all that is below them
	inner map[string][]Weight // the directories in one, "." is the whole
	err   error
}

// A share is a part of what is sent.
type share struct {
	files, bytes int64
	atLeast      bool
	heavy        []Weight // directories that may be worth telling; none lies in another
}

// errEnough ends a walk.
var errEnough = errors.New("enough was counted")

// tickEvery is after how many files Tick is called.
const tickEvery = 1000

// whole counts the files of an upload.
func (c *counter) whole(ctx context.Context, u *buildkit.Upload) *counted {
	if known := c.known[u.ID]; known != nil {
		return known
	}
	out := &counted{sizes: map[string]int64{}}
	c.known[u.ID] = out
	err := u.Walk(ctx, func(name string, size int64) error {
		if c.Most > 0 && int64(len(out.list)) >= c.Most {
			out.atLeast = true
			return errEnough
		}
		out.list = append(out.list, File{name, size})
		if c.total++; c.total%tickEvery == 0 && c.Tick != nil {
			c.Tick(c.total)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		out.err = fmt.Errorf("count the files of %s: %w", c.Name(u.Dir), err)
	}
	out.sum()
	return out
}

// part counts what a target asks for of an upload of the run.
func (c *counter) part(ctx context.Context, u *buildkit.Upload) share {
	paths, plain := u.Plain()
	if u.In == nil || u.In.ID == u.ID || !plain {
		return c.whole(ctx, u).share
	}
	in := c.whole(ctx, u.In)
	out := share{atLeast: in.atLeast}
	for _, p := range paths {
		if size, ok := in.sizes[p]; ok {
			out.files++
			out.bytes += size
			continue
		}
		w := in.dirs[p] // none: all of it is left out
		out.files += w.Files
		out.bytes += w.Bytes
		if w.Files > 0 {
			out.heavy = append(out.heavy, in.descend(w))
		}
	}
	return out
}

// sum fills in what follows from the list.
func (n *counted) sum() {
	n.dirs, n.inner = map[string]Weight{}, map[string][]Weight{}
	for _, f := range n.list {
		n.sizes[f.Path] = f.Bytes
		n.files++
		n.bytes += f.Bytes
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			w := n.dirs[dir]
			n.dirs[dir] = Weight{dir, w.Files + 1, w.Bytes + f.Bytes}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(n.dirs)) {
		n.inner[path.Dir(dir)] = append(n.inner[path.Dir(dir)], n.dirs[dir])
	}
	for _, w := range n.inner["."] {
		n.heavy = append(n.heavy, n.descend(w))
	}
}

// descend returns the directory in one that has nearly all of its bytes, if
// there is such a one, and else that itself.
func (n *counted) descend(w Weight) Weight {
	for {
		i := slices.IndexFunc(n.inner[w.Dir], func(in Weight) bool { return in.Bytes*10 >= w.Bytes*9 })
		if i < 0 {
			return w
		}
		w = n.inner[w.Dir][i]
	}
}

// together returns what several uploads of one directory come to: a file that
// is in two of them is sent once.
func together(all []*counted) share {
	if len(all) == 1 {
		return all[0].share
	}
	out := &counted{sizes: map[string]int64{}}
	for _, n := range all {
		out.atLeast = out.atLeast || n.atLeast
		for _, f := range n.list {
			if _, ok := out.sizes[f.Path]; !ok {
				out.sizes[f.Path] = f.Bytes
				out.list = append(out.list, f)
			}
		}
	}
	out.sum()
	return out.share
}

// add takes another share, of other files.
func (s *share) add(o share) {
	s.files += o.files
	s.bytes += o.bytes
	s.atLeast = s.atLeast || o.atLeast
	s.heavy = append(s.heavy, o.heavy...)
}

// under returns the share with its directories in another, which is told in
// place of them if it is small.
func (s share) under(dir string) share {
	if dir == "." {
		return s
	}
	heavy := []Weight{{dir, s.files, s.bytes}}
	if len(s.heavy) == 1 && s.heavy[0].Bytes*10 >= s.bytes*9 {
		heavy[0].Dir = path.Join(dir, s.heavy[0].Dir)
	}
	s.heavy = heavy
	return s
}

// mostHeavy is how many directories are named.
const mostHeavy = 3

func (s share) amount() Amount {
	out := Amount{Files: s.files, Bytes: s.bytes, AtLeast: s.atLeast}
	for _, w := range s.heavy {
		if w.Bytes*50 >= s.bytes && w.Bytes > 0 { // else it does not matter
			out.Heaviest = append(out.Heaviest, w)
		}
	}
	slices.SortStableFunc(out.Heaviest, func(a, b Weight) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Dir, b.Dir))
	})
	out.Heaviest = out.Heaviest[:min(len(out.Heaviest), mostHeavy)]
	return out
}

// relative names a directory as people would: relative to dir if it lies in
// it or not far from it.
func relative(dir, name string) string {
	if rel, err := filepath.Rel(dir, name); err == nil && name != "" && strings.Count(filepath.ToSlash(rel), "../") < 3 {
		return filepath.ToSlash(rel)
	}
	return filepath.ToSlash(name)
}
