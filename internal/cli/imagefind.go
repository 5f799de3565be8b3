package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/internal/image"
	"github.com/kilnbuild/kiln/internal/store"
)

// find returns the entries that text stands for: the one of that name, those
// of a digest under any name, or those of an ID or its beginning.
func (l *imageList) find(text string) ([]storedImage, error) {
	found := l.named(text)
	if len(found) > 0 {
		return found, nil
	}
	for _, im := range l.images {
		if !im.HasID(im.facts, text) {
			continue
		}
		if len(found) > 0 && found[0].Target.Digest != im.Target.Digest {
			return nil, usagef("%q is the beginning of several IDs, of %s and of %s; write more of it", text, found[0].label, im.label)
		}
		found = append(found, im)
	}
	if len(found) == 0 {
		return nil, &exitError{code: codeFailed, err: fmt.Errorf("no image in the store is called %q%s", text, l.nearName(text))}
	}
	return found, nil
}

// named returns the entries of a name or a digest.
func (l *imageList) named(text string) []storedImage {
	if _, err := digest.Parse(text); err != nil {
		if full, err := store.Normalize(text); err == nil {
			if i := slices.IndexFunc(l.images, func(im storedImage) bool { return im.Name == full }); i >= 0 {
				return l.images[i : i+1]
			}
		}
	}
	return l.byDigest(text)
}

// findBuilt is find, and where nothing has the name text, the entries of the
// image that a target of that name last built. IDs come last, as a target may
// be called as one begins.
func (a *app) findBuilt(ctx context.Context, l *imageList, text string) ([]storedImage, error) {
	found := l.named(text)
	if l.store == nil || len(found) > 0 {
		return l.find(text)
	}
	r := &image.Resolver{Store: l.store, Definition: func() string { return a.hereDefined().place }}
	defer r.Close()
	built, err := r.Built(ctx, text)
	if err != nil {
		return nil, &exitError{code: codeFailed, err: err}
	}
	for _, im := range l.images {
		if built != nil && im.BuiltAs == text && im.Image.Target.Digest == built.Desc.Digest {
			found = append(found, im)
		}
	}
	if len(found) == 0 {
		return l.find(text)
	}
	return found, nil
}

// byDigest returns the entries of "NAME@sha256:…".
func (l *imageList) byDigest(text string) []storedImage {
	match, err := store.Match(text)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(l.images), func(im storedImage) bool { return !match(im.Name, im.Target.Digest) })
}
