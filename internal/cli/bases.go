package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/hashicorp/hcl/v2"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/store"
)

// bases are the images of earlier builds, for a run that may build on them.
// They implement [buildkit.BaseStore].
type bases struct {
	*store.Store
	began map[string]store.Image // by name, as they were when the run began
}

// openBases opens the image store to read from; nil where there is none, or
// none that can be read: a build that needs it says why.
func (a *app) openBases(ctx context.Context) *bases {
	o, err := a.engineOptions()
	if err != nil {
		return nil
	}
	dir := filepath.Join(o.StateDir, "images")
	if _, err := os.Stat(filepath.Join(dir, ocispec.ImageIndexFile)); err != nil {
		return nil
	}
	s, err := store.Open(dir)
	if err != nil {
		return nil
	}
	b := &bases{Store: s}
	if b.began, err = b.tags(ctx); err != nil {
		_ = s.Close() // it was only read
		return nil
	}
	return b
}

// tags are the images that somebody named, by name.
func (b *bases) tags(ctx context.Context) (map[string]store.Image, error) {
	list, err := b.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]store.Image, len(list))
	for _, img := range list {
		if img.Name != "" && !img.Untagged {
			out[img.Name] = img
		}
	}
	return out, nil
}

// Base implements buildkit.BaseStore.
func (b *bases) Base(ctx context.Context, ref string) (ocispec.Descriptor, error) {
	d, err := b.Use(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return d, fmt.Errorf("%s: %w", ref, buildkit.ErrNoBase)
	}
	return d, err
}

// Tagged implements buildkit.BaseStore.
func (b *bases) Tagged(ctx context.Context, name string, wanted []string, fresh bool) (ocispec.Descriptor, bool) {
	tags := b.began
	if fresh {
		now, err := b.tags(ctx)
		if err != nil {
			return ocispec.Descriptor{}, false
		}
		tags = now
	}
	img, ok := tags[name]
	if !ok {
		img, ok = pinned(tags, name)
	}
	if !ok || !b.isFor(ctx, img, wanted) || b.Hold(ctx, img.Target) != nil {
		return ocispec.Descriptor{}, false
	}
	return img.Target, true
}

// pinned finds the image of a name with a digest.
func pinned(tags map[string]store.Image, name string) (store.Image, bool) {
	match, err := store.Match(name)
	if err != nil || !strings.Contains(name, "@") {
		return store.Image{}, false
	}
	for _, img := range tags { // all that match are the same image
		if match(img.Name, img.Target.Digest) {
			return img, true
		}
	}
	return store.Image{}, false
}

// Platforms implements buildkit.BaseStore.
func (b *bases) Platforms(ctx context.Context, digest string) ([]ocispec.Platform, error) {
	d, err := b.Resolve(ctx, digest)
	if err != nil {
		return nil, err
	}
	return images.Platforms(ctx, b.Content(), d)
}

// isFor reports whether an image is for all of the platforms.
func (b *bases) isFor(ctx context.Context, img store.Image, wanted []string) bool {
	have, err := images.Platforms(ctx, b.Content(), img.Target)
	if err != nil {
		return false
	}
	for _, w := range wanted {
		p, err := platforms.Parse(w)
		if err != nil || !slices.ContainsFunc(have, platforms.OnlyStrict(p).Match) {
			return false
		}
	}
	return true
}

// storedOf says which images of kiln's store that t reads are not there.
func storedOf(ctx context.Context, t *config.Target, b *bases) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, c := range t.Contexts {
		from, ok := c.From.(config.Stored)
		if !ok {
			continue
		}
		ref, err := buildkit.StoredRef(from.Ref)
		if err != nil {
			continue // told when it is lowered
		}
		var names []string
		if b != nil {
			if _, err = b.Base(ctx, ref); err == nil {
				continue
			}
			names = b.familiar(ctx)
		}
		detail := fmt.Sprintf("Target %q reads %s as %q, and kiln's image store has no such image%s. `kiln images` lists what it has; build it first, or link its target (target:NAME).",
			t.Name, from, c.Name, didYouMean(from.Ref, names))
		if err != nil && !errors.Is(err, buildkit.ErrNoBase) {
			detail = fmt.Sprintf("Target %q reads %s as %q: %v.", t.Name, from, c.Name, err)
		}
		rng := c.Range
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Missing image", Subject: &rng, Detail: detail})
	}
	return diags
}

// familiar are the names in the store as people write them, sorted.
func (b *bases) familiar(ctx context.Context) []string {
	list, err := b.List(ctx)
	if err != nil {
		return nil
	}
	var out []string
	for _, img := range list {
		if named, err := reference.ParseNormalizedNamed(img.Name); err == nil {
			out = append(out, reference.FamiliarString(named))
		}
	}
	return out
}
