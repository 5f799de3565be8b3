package buildkit

import (
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/kilnbuild/kiln/config"
)

// Caches of a part. Two builders that write one cache would each write over
// the other's: a part has its own, beside the target's.

// cachePlaces names by type the attributes that say where a cache is read and
// written, and what they are by default.
var cachePlaces = map[string]struct{ read, write, usual string }{
	"registry": {"ref", "ref", ""},
	"local":    {"src", "dest", ""},
	"gha":      {"scope", "scope", "buildkit"},
	"s3":       {"name", "name", "buildkit"},
	"azblob":   {"name", "name", "buildkit"},
}

// partCaches gives a part its own cache destinations, and has it read these
// and those of the whole.
func partCaches(part *config.Target, of []string) {
	suffix := strings.ReplaceAll(strings.Join(of, "_"), "/", "-")
	to := slices.Clone(part.CacheTo)
	for i, c := range to {
		to[i] = partCache(c, cachePlaces[c.Type].write, suffix)
	}
	part.CacheTo = to
	var from []config.Cache
	for _, c := range part.CacheFrom {
		if own := partCache(c, cachePlaces[c.Type].read, suffix); cachePlaces[c.Type].read != "" {
			from = append(from, own)
		}
		from = append(from, c)
	}
	part.CacheFrom = from
}

// partCache returns the cache with the suffix in the attribute; with no
// attribute it is as it was.
func partCache(c config.Cache, attr, suffix string) config.Cache {
	if attr == "" {
		return c
	}
	out := config.Cache{Type: c.Type}
	found := false
	for _, kv := range c.Attrs {
		if kv.Key == attr {
			found = true
			kv.Value = besides(c.Type, kv.Value, suffix)
		}
		out.Attrs = append(out.Attrs, kv)
	}
	if usual := cachePlaces[c.Type].usual; !found && usual != "" {
		out.Attrs = append(out.Attrs, config.KeyValue{Key: attr, Value: besides(c.Type, usual, suffix)})
	}
	return out
}

// besides returns the place of a part's cache: "repo:tag-linux-arm64", a
// directory inside the other, or a name with the suffix.
func besides(typ, place, suffix string) string {
	switch typ {
	case "registry":
		named, err := reference.ParseNormalizedNamed(place)
		if _, digested := named.(reference.Digested); err != nil || digested {
			return place
		}
		tagged, _ := reference.TagNameOnly(named).(reference.Tagged)
		return named.Name() + ":" + tagged.Tag() + "-" + suffix
	case "local":
		return strings.TrimSuffix(place, "/") + "/" + suffix
	}
	names := strings.Split(place, ";") // s3 and azblob take several
	for i, n := range names {
		names[i] = n + "-" + suffix
	}
	return strings.Join(names, ";")
}
