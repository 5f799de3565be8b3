package store

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// GCOptions say what GC removes. The zero value removes all that is garbage.
type GCOptions struct {
	DryRun bool          // remove nothing, only tell
	MinAge time.Duration // spare what was written or needed more lately than this
	Of     []Image       // only what these images led to; nil is no limit
}

// Garbage is what GC found: blobs to which no image leads, by digest.
type Garbage struct {
	Removed []Blob // or to be removed, with DryRun
	Spared  []Blob // that something that runs may need, or that are too young
}

// Size is how many bytes were removed.
func (g Garbage) Size() int64 { return sizeOf(g.Removed) }

// GC removes the blobs that no image leads to, except those that a running
// process may need: see rely.go. Names are never removed. Images are neither
// added nor removed meanwhile. Where an image is damaged so that it cannot be
// told what it leads to, nothing is removed. What was removed before an error
// is returned with it.
func (s *Store) GC(ctx context.Context, o GCOptions) (Garbage, error) {
	var g Garbage
	if o.DryRun {
		return g, s.collect(ctx, o, &g)
	}
	s.sweep()
	err := s.alone(ctx, func() error { return s.collect(ctx, o, &g) })
	return g, err
}

// collect is GC once nobody changes the index.
func (s *Store) collect(ctx context.Context, o GCOptions, g *Garbage) error {
	idx, err := s.index.read()
	if err != nil {
		return err
	}
	needed, err := s.reached(ctx, idx.Manifests)
	if err != nil {
		return err
	}
	blobs, err := s.garbage(ctx, needed, o.Of)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		gone, err := s.discard(b, o)
		if err != nil {
			return err
		}
		if gone {
			g.Removed = append(g.Removed, b)
		} else {
			g.Spared = append(g.Spared, b)
		}
	}
	if o.DryRun {
		return nil
	}
	s.dropRecords(idx)
	s.compactFacts(idx)
	return nil
}

// garbage returns the blobs that nobody needs; only those that the images of
// led to, unless that is nil.
func (s *Store) garbage(ctx context.Context, needed reach, of []Image) ([]Blob, error) {
	blobs, err := s.list()
	if err != nil {
		return nil, err
	}
	var wanted reach
	if of != nil {
		wanted = reach{}
		for _, im := range of {
			_ = s.follow(ctx, im.Target, wanted) // what a damaged one led to is left to a GC of all
		}
	}
	return slices.DeleteFunc(blobs, func(b Blob) bool {
		_, isNeeded := needed[b.Digest]
		_, isWanted := wanted[b.Digest]
		return isNeeded || wanted != nil && !isWanted
	}), ctx.Err()
}

// discard removes a blob unless somebody may need it, and reports whether it
// has, or would have.
func (s *Store) discard(b Blob, o GCOptions) (bool, error) {
	if !o.DryRun {
		unlock, err := s.blobs.guarded()
		if err != nil {
			return false, err
		}
		defer unlock()
	}
	path := s.blobs.path(b.Digest)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	since, any, err := oldestOwner(s.dir)
	if err != nil || any && !st.ModTime().Before(since) || o.MinAge > 0 && s.now().Sub(st.ModTime()) < o.MinAge {
		return false, err
	}
	if o.DryRun {
		return true, nil
	}
	return true, os.Remove(path)
}

// A Usage says what takes up space in the store.
type Usage struct {
	Images   int   `json:"images"`   // entries of the list
	Blobs    int   `json:"blobs"`    // that images lead to
	Size     int64 `json:"size"`     // of these, in bytes
	Garbage  int   `json:"garbage"`  // blobs that no image leads to
	Free     int64 `json:"free"`     // their size: what GC frees when nothing runs
	Spared   int64 `json:"spared"`   // of that, what GC would spare now
	Partial  int   `json:"partial"`  // blobs that are being written
	Pending  int64 `json:"pending"`  // their size, so far
	Absent   int   `json:"absent"`   // blobs that images lead to and that are not there
	Damaged  int   `json:"damaged"`  // entries that do not tell what they lead to; while there are any, GC removes nothing
	Overhead int64 `json:"overhead"` // of the list, the records and what is known of images
}

// Usage measures the store.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	var u Usage
	idx, err := s.index.read()
	if err != nil {
		return u, s.explain("read", err)
	}
	u.Images = len(idx.Manifests)
	needed := reach{}
	for _, e := range idx.Manifests {
		if s.follow(ctx, e, needed) != nil {
			u.Damaged++
		}
	}
	if err := ctx.Err(); err != nil {
		return u, err
	}
	blobs, err := s.list()
	if err != nil {
		return u, s.explain("read", err)
	}
	for _, b := range blobs {
		if _, ok := needed[b.Digest]; ok {
			u.Blobs++
			u.Size += b.Size
			continue
		}
		u.Garbage++
		u.Free += b.Size
		if gone, err := s.discard(b, GCOptions{DryRun: true}); u.Damaged > 0 || err == nil && !gone {
			u.Spared += b.Size
		}
	}
	u.Absent = len(needed) - u.Blobs
	for _, path := range s.glob("ingest/*/data") {
		u.Partial++
		u.Pending += fileSize(path)
	}
	for _, pattern := range []string{ocispec.ImageIndexFile, factsFile, recordsDir + "/*/*"} {
		for _, path := range s.glob(pattern) {
			u.Overhead += fileSize(path)
		}
	}
	return u, nil
}

func fileSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

// rootsOf are the digests that entries stand for.
func rootsOf(idx ocispec.Index) map[digest.Digest]bool {
	roots := make(map[digest.Digest]bool, len(idx.Manifests))
	for _, d := range idx.Manifests {
		roots[d.Digest] = true
	}
	return roots
}

// recordsDir holds a directory for each image, with a file for each target
// that it was built as.
const recordsDir = "kiln.records"

func (s *Store) recordDir(d digest.Digest) string {
	return filepath.Join(s.dir, recordsDir, url.PathEscape(strings.Replace(string(d), ":", "-", 1)))
}
