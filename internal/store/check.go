package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// A Fault is a blob that is not as it should be.
type Fault struct {
	Digest  digest.Digest `json:"digest"`
	Reason  string        `json:"reason"`            // "is missing", "has the content of sha256:…"
	Images  []string      `json:"images"`            // that lead to it: names, or digests of those without one
	Removed bool          `json:"removed,omitempty"` // by Repair
}

// A Checkup is what Check found.
type Checkup struct {
	Images int     `json:"images"`
	Blobs  int     `json:"blobs"`
	Size   int64   `json:"size"` // of the blobs that were read, in bytes
	Faults []Fault `json:"faults"`
}

// Check reads every blob and compares it with its digest, and looks whether
// all that the images lead to is there. Images that are put or removed
// meanwhile are left to the next time. The error says that the list cannot be
// read, or that ctx has ended.
func (s *Store) Check(ctx context.Context) (Checkup, error) {
	c := Checkup{Faults: []Fault{}}
	blobs, err := s.list()
	if err != nil {
		return c, s.explain("read", err)
	}
	found, err := s.hashAll(ctx, blobs)
	if err != nil {
		return c, s.explain("read", err)
	}
	for _, b := range blobs {
		if found[b.Digest] != missing { // removed meanwhile
			c.Blobs++
			c.Size += b.Size
		}
	}
	images, err := s.List(ctx)
	if err != nil {
		return c, err
	}
	c.Images = len(images)
	by := map[digest.Digest][]string{}
	for _, im := range images {
		for d, reason := range s.lacking(im.Target) {
			if found[d] == "" || found[d] == missing {
				found[d] = reason
			}
		}
		reached := reach{}
		_ = s.follow(ctx, im.Target, reached) // what cannot be read was found above
		for d := range reached {
			if found[d] != "" {
				by[d] = append(by[d], labelFor(im))
			}
		}
	}
	for d, reason := range found {
		if reason == missing && len(by[d]) == 0 {
			continue // garbage that was collected
		}
		slices.Sort(by[d])
		c.Faults = append(c.Faults, Fault{Digest: d, Reason: reason, Images: append([]string{}, by[d]...)})
	}
	slices.SortFunc(c.Faults, func(a, b Fault) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return c, ctx.Err()
}

func labelFor(im Image) string {
	if im.Name != "" {
		return im.Name
	}
	return im.Target.Digest.String()
}

// hashAll compares blobs with their digests and returns what is wrong with
// those that differ.
func (s *Store) hashAll(ctx context.Context, blobs []Blob) (map[digest.Digest]string, error) {
	reasons := make([]string, len(blobs))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for i, b := range blobs {
		eg.Go(func() (err error) {
			reasons[i], err = s.hash(ctx, b.Digest)
			return err
		})
	}
	err := eg.Wait()
	found := map[digest.Digest]string{}
	for i, b := range blobs {
		if reasons[i] != "" {
			found[b.Digest] = reasons[i]
		}
	}
	return found, err
}

// hash tells what is wrong with the content of a blob; "" if nothing is.
func (s *Store) hash(ctx context.Context, d digest.Digest) (string, error) {
	f, err := os.Open(s.blobs.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return missing, nil
	}
	if err != nil {
		return fmt.Sprintf("cannot be read: %v", err), nil
	}
	defer func() { _ = f.Close() }()
	sum := d.Algorithm().Digester()
	if _, err := io.Copy(sum.Hash(), &interruptible{ctx, f}); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return fmt.Sprintf("cannot be read: %v", err), nil
	}
	if got := sum.Digest(); got != d {
		return fmt.Sprintf("has the content of %s", got), nil
	}
	return "", nil
}

// An interruptible reader ends with its context.
type interruptible struct {
	ctx context.Context
	io.Reader
}

func (r *interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// lacking returns what an image leads to and is not there, or has not the size
// that it should have. Of an index, platforms may be absent, but not all.
func (s *Store) lacking(d descriptor) map[digest.Digest]string {
	out := map[digest.Digest]string{}
	s.lack(d, out, 0)
	return out
}

func (s *Store) lack(d descriptor, out map[digest.Digest]string, depth int) (there bool) {
	st, err := os.Stat(s.blobs.path(d.Digest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		out[d.Digest] = missing
		return false
	case err == nil && st.Size() != d.Size:
		out[d.Digest] = fmt.Sprintf("has %d bytes instead of %d", st.Size(), d.Size)
		return true
	}
	next, err := s.children(d)
	if err != nil || depth > mostNested {
		return true // its content was found wrong, or will be
	}
	absent, some := map[digest.Digest]string{}, false
	for _, c := range next {
		if isList(d) && !exists(s.blobs.path(c.Digest)) {
			absent[c.Digest] = missing
			continue
		}
		some = s.lack(c, out, depth+1) || some
	}
	if !some {
		for c, reason := range absent { // a set, whose order does not matter
			out[c] = reason
		}
	}
	return true
}

// Repair removes the blobs of faults that are still not as they should be, so
// that the next build, pull or import writes them anew; what is damaged on
// the disk keeps others from doing so. It notes in the faults which it removed.
func (s *Store) Repair(ctx context.Context, faults []Fault) error {
	return s.alone(ctx, func() error {
		for i, f := range faults {
			if f.Reason == missing || f.Digest.Validate() != nil {
				continue
			}
			removed, err := s.repair(ctx, f)
			if err != nil {
				return err
			}
			faults[i].Removed = removed
		}
		return nil
	})
}

func (s *Store) repair(ctx context.Context, f Fault) (bool, error) {
	unlock, err := s.blobs.guarded()
	if err != nil {
		return false, err
	}
	defer unlock()
	reason, err := s.hash(ctx, f.Digest)
	if err != nil || reason == "" || reason == missing {
		return false, err
	}
	return true, os.Remove(s.blobs.path(f.Digest))
}
