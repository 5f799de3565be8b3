package cli

import (
	"context"
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An imageFilter is one of --filter.
type imageFilter struct{ key, value string }

var imageFilters = []string{"before", "dangling", "label", "platform", "reference", "since", "target", "until"}

// parseFilters reads KEY=VALUE pairs.
func parseFilters(specs []string) ([]imageFilter, error) {
	var out []imageFilter
	for _, spec := range specs {
		key, value, ok := strings.Cut(spec, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		switch {
		case !slices.Contains(imageFilters, key):
			return nil, usagef("--filter %q: there is no filter %q%s; there are %s", spec, key, didYouMean(key, imageFilters), strings.Join(imageFilters, ", "))
		case !ok || value == "":
			return nil, usagef("--filter %q: write %s=VALUE", spec, key)
		}
		out = append(out, imageFilter{key, strings.TrimSpace(value)})
	}
	return out, nil
}

// A matcher tells whether an image, for one of its platforms, is wanted.
type matcher func(im storedImage, n int) bool

// filter makes matchers of filters: of those with one key, all must match for
// label, before, since and until, else any.
func (l *imageList) filter(ctx context.Context, filters []imageFilter, now time.Time) ([]matcher, error) {
	byKey := map[string][]matcher{}
	for _, f := range filters {
		m, err := l.matcher(ctx, f, now)
		if err != nil {
			return nil, err
		}
		byKey[f.key] = append(byKey[f.key], m)
	}
	var out []matcher
	for _, key := range imageFilters {
		some := byKey[key]
		switch {
		case len(some) == 0:
		case slices.Contains([]string{"label", "before", "since", "until"}, key):
			out = append(out, some...)
		default:
			out = append(out, func(im storedImage, n int) bool {
				return slices.ContainsFunc(some, func(m matcher) bool { return m(im, n) })
			})
		}
	}
	return out, nil
}

func (l *imageList) matcher(ctx context.Context, f imageFilter, now time.Time) (matcher, error) {
	switch f.key {
	case "reference":
		return referenceMatcher("--filter reference="+f.value, f.value)
	case "target":
		if _, err := path.Match(f.value, ""); err != nil {
			return nil, usagef("--filter target=%s: %w", f.value, err)
		}
		return func(im storedImage, _ int) bool {
			ok, _ := path.Match(f.value, im.BuiltAs) // checked above
			return ok
		}, nil
	case "dangling":
		want, err := strconv.ParseBool(f.value)
		if err != nil {
			return nil, usagef("--filter dangling=%s: it is true or false", f.value)
		}
		return func(im storedImage, _ int) bool { return (im.Name == "") == want }, nil
	case "platform":
		p, err := platforms.Parse(f.value)
		if err != nil {
			return nil, usagef("--filter platform=%s: %w", f.value, err)
		}
		only := platforms.OnlyStrict(p)
		return func(im storedImage, n int) bool {
			have, err := platforms.Parse(im.variants()[n].Platform)
			return err == nil && only.Match(have)
		}, nil
	case "label":
		key, value, valued := strings.Cut(f.value, "=")
		return func(im storedImage, n int) bool {
			got, ok := l.labels(ctx, im.variants()[n].ID)[key]
			return ok && (!valued || got == value)
		}, nil
	}
	return l.timeMatcher(f, now)
}

// timeMatcher compares times with that of another image, or with a moment.
func (l *imageList) timeMatcher(f imageFilter, now time.Time) (matcher, error) {
	if f.key == "until" {
		limit, err := time.Parse(time.RFC3339, f.value)
		if d, e := time.ParseDuration(f.value); e == nil {
			limit, err = now.Add(-d), nil
		}
		if err != nil {
			return nil, usagef("--filter until=%s: write how long ago, as 24h, or a time, as 2006-01-02T15:04:05Z", f.value)
		}
		return func(im storedImage, _ int) bool { return im.created().Before(limit) }, nil
	}
	other, err := l.find(f.value)
	if err != nil {
		return nil, err
	}
	at := other[0].created()
	if f.key == "before" {
		return func(im storedImage, _ int) bool { return im.created().Before(at) }, nil
	}
	return func(im storedImage, _ int) bool { return im.created().After(at) }, nil
}

// referenceMatcher matches names as `docker images` does: a pattern is that
// of a repository, or of a repository and a tag.
func referenceMatcher(from, pattern string) (matcher, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, usagef("%s: %w", from, err)
	}
	full := pattern
	if named, err := reference.ParseNormalizedNamed(pattern); err == nil {
		full = reference.FamiliarString(named) // docker.io/library/x is x
	}
	return func(im storedImage, _ int) bool {
		named, err := reference.ParseNormalizedNamed(im.Name)
		if err != nil {
			return false
		}
		ok, _ := reference.FamiliarMatch(full, named) // checked above
		if !ok {
			ok, _ = path.Match(full, reference.FamiliarName(named))
		}
		return ok
	}, nil
}

// labels reads the labels of a configuration.
func (l *imageList) labels(ctx context.Context, id digest.Digest) map[string]string {
	if id == "" {
		return nil
	}
	text, err := content.ReadBlob(ctx, l.store.Content(), ocispec.Descriptor{Digest: id})
	var cfg ocispec.Image
	if err != nil || json.Unmarshal(text, &cfg) != nil {
		return nil
	}
	return cfg.Config.Labels
}
