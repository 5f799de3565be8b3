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
// does. What several targets read is walked once: by upload, and where
// uploads differ in their paths only, by path.

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
	known map[string]*counted
	total int64
}

// counted are the files of an upload.
type counted struct {
	files, bytes int64
	atLeast      bool
	dirs         map[string]Weight // by directory, with all that is below it
	list         []File
	err          error
}

// errEnough ends a walk.
var errEnough = errors.New("enough was counted")

// tickEvery is after how many files Tick is called.
const tickEvery = 1000

// of counts the files of an upload.
func (c *counter) of(ctx context.Context, u *buildkit.Upload) *counted {
	if known := c.known[u.ID]; known != nil {
		return known
	}
	parts := u.Parts()
	if len(parts) == 1 {
		return c.walk(ctx, parts[0], false)
	}
	out := &counted{dirs: map[string]Weight{}}
	for _, p := range parts {
		out.add(c.of(ctx, p))
	}
	c.known[u.ID] = out
	return out
}

// walk counts, and keeps the names if it is to.
func (c *counter) walk(ctx context.Context, u *buildkit.Upload, keep bool) *counted {
	if known := c.known[u.ID]; known != nil {
		return known
	}
	out := &counted{dirs: map[string]Weight{}}
	err := u.Walk(ctx, func(name string, size int64) error {
		if c.Most > 0 && out.files >= c.Most {
			out.atLeast = true
			return errEnough
		}
		out.file(name, size)
		if keep {
			out.list = append(out.list, File{name, size})
		}
		if c.total++; c.total%tickEvery == 0 && c.Tick != nil {
			c.Tick(c.total)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		out.err = fmt.Errorf("count the files of %s: %w", c.Name(u.Dir), err)
	}
	c.known[u.ID] = out
	return out
}

// file takes a file.
func (n *counted) file(name string, size int64) {
	n.files++
	n.bytes += size
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		w := n.dirs[dir]
		n.dirs[dir] = Weight{dir, w.Files + 1, w.Bytes + size}
	}
}

// add takes the files of another upload, which are others.
func (n *counted) add(o *counted) {
	n.files += o.files
	n.bytes += o.bytes
	n.atLeast = n.atLeast || o.atLeast
	n.err = cmp.Or(n.err, o.err)
	for dir, w := range o.dirs {
		have := n.dirs[dir]
		n.dirs[dir] = Weight{dir, have.Files + w.Files, have.Bytes + w.Bytes}
	}
}

// under returns the files with their directories in another.
func (n *counted) under(dir string) *counted {
	if dir == "." {
		return n
	}
	out := *n
	out.dirs = map[string]Weight{dir: {dir, n.files, n.bytes}}
	for name, w := range n.dirs {
		w.Dir = path.Join(dir, name)
		out.dirs[w.Dir] = w
	}
	return &out
}

func (n *counted) amount() Amount {
	return Amount{Files: n.files, Bytes: n.bytes, AtLeast: n.atLeast, Heaviest: n.heaviest()}
}

// mostHeavy is how many directories are named.
const mostHeavy = 3

// heaviest returns the directories with most of the bytes. None lies in
// another; one that has nearly all of its bytes in a directory of its own is
// told as that.
func (n *counted) heaviest() []Weight {
	var tops []Weight
	inner := map[string][]Weight{}
	for _, dir := range slices.Sorted(maps.Keys(n.dirs)) {
		parent := path.Dir(dir)
		if _, ok := n.dirs[parent]; ok {
			inner[parent] = append(inner[parent], n.dirs[dir])
		} else {
			tops = append(tops, n.dirs[dir])
		}
	}
	var out []Weight
	for _, w := range tops {
		for {
			i := slices.IndexFunc(inner[w.Dir], func(in Weight) bool { return in.Bytes*10 >= w.Bytes*9 })
			if i < 0 {
				break
			}
			w = inner[w.Dir][i]
		}
		if w.Bytes*50 >= n.bytes && w.Bytes > 0 { // else it does not matter
			out = append(out, w)
		}
	}
	slices.SortStableFunc(out, func(a, b Weight) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return out[:min(len(out), mostHeavy)]
}

// together returns what several uploads of one directory come to: a file that
// is in two of them is sent once.
func together(all []*counted) *counted {
	if len(all) == 1 {
		return all[0]
	}
	out := &counted{dirs: map[string]Weight{}}
	seen := map[string]bool{}
	for _, n := range all {
		out.atLeast = out.atLeast || n.atLeast
		for _, f := range n.list {
			if !seen[f.Path] {
				seen[f.Path] = true
				out.file(f.Path, f.Bytes)
			}
		}
	}
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
