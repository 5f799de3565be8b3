package store

import (
	"context"
	"errors"
	"slices"
	"syscall"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Remove takes out of the list the images of which drop is true, and returns
// them. Their blobs stay until GC. Other writers wait while drop is called. On
// a full disk, where the list cannot be written, garbage makes room for it.
func (s *Store) Remove(ctx context.Context, drop func(Image) bool) ([]Image, error) {
	removed, err := s.remove(ctx, drop)
	if !errors.Is(err, syscall.ENOSPC) {
		return removed, err
	}
	if g, _ := s.GC(ctx, GCOptions{}); len(g.Removed) == 0 {
		return nil, err
	}
	return s.remove(ctx, drop)
}

func (s *Store) remove(ctx context.Context, drop func(Image) bool) ([]Image, error) {
	var removed []Image
	err := s.edit(ctx, func(idx *ocispec.Index) bool {
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d descriptor) bool {
			im := imageOf(d)
			if drop(im) {
				removed = append(removed, im)
				return true
			}
			return false
		})
		return len(removed) > 0
	})
	if err != nil {
		return nil, err
	}
	return removed, nil
}

// Tag gives the image that ref stands for further names, taking each from the
// image that has it now. It stays known which target the image is of.
func (s *Store) Tag(ctx context.Context, ref string, names []string) (ocispec.Descriptor, error) {
	full, err := normalizeAll(names)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	match, err := matcher(ref)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var tagged descriptor
	found := false
	err = s.edit(ctx, func(idx *ocispec.Index) (changed bool) {
		i := slices.IndexFunc(idx.Manifests, match)
		if i < 0 {
			return false
		}
		tagged, found = idx.Manifests[i], true
		c := change{names: full, desc: tagged}
		for _, e := range c.entries(s.now()) {
			changed = setEntry(idx, e) || changed
		}
		return changed
	})
	if err == nil && !found {
		err = notFound(ref)
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return bare(tagged), nil
}

// edit replaces the index by what change makes of it, unless that reports
// that nothing has changed. Other writers wait meanwhile.
func (s *Store) edit(ctx context.Context, change func(*ocispec.Index) bool) error {
	return s.alone(ctx, func() error {
		idx, err := s.index.read()
		if err != nil {
			return err
		}
		idx.Manifests = slices.Clone(idx.Manifests)
		if !change(&idx) {
			return nil
		}
		return s.index.write(idx)
	})
}

// alone calls do while no other goroutine or process changes the index.
func (s *Store) alone(ctx context.Context, do func() error) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	unlock, err := s.lock(ctx)
	if err != nil {
		return s.explain("write", err)
	}
	defer unlock()
	err = do()
	var damaged *blobError
	if err == nil || errors.As(err, &damaged) { // which says it all
		return err
	}
	return s.explain("write", err)
}
