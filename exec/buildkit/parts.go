package buildkit

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"

	"github.com/kilnbuild/kiln/config"
)

// Images says how a target is built in parts by several daemons, and joins
// the parts (join.go). Goroutines may share it. It implements what package
// exec/pool asks for.
type Images struct {
	Lower        LowerOptions // as in Options
	DockerConfig string       // likewise
	AuthFiles    []string     // likewise
}

// Platforms returns the platforms that t names, in their normal form; none is
// the daemon's own.
func (i *Images) Platforms(t *config.Target) []string {
	l := &lowering{t: t, o: i.Lower}
	return l.platforms() // what is none was told before
}

// Joins reports whether the outputs of t may come from several daemons: an
// image that is pushed, or nothing at all. Files, directories and answers are
// made by one.
func (i *Images) Joins(t *config.Target) bool {
	if t.Call != "" && t.Call != "build" {
		return false
	}
	images := 0
	for _, e := range t.Outputs {
		switch {
		case e.Type == "cacheonly":
		case isPush(e) && pairs(e.Attrs)["name"] != "*":
			images++
		default:
			return false
		}
	}
	return images <= 1 // of several, the daemon tells the digest of one only
}

// isPush reports whether an output is an image that goes to a registry.
func isPush(e config.Export) bool {
	if e.Type == "registry" {
		return true
	}
	push, ok := pairs(e.Attrs)["push"]
	yes, err := strconv.ParseBool(push)
	return e.Type == client.ExporterImage && ok && (push == "" || err == nil && yes)
}

// multiPlatform has a frontend name the platform of its result, so that the
// exporter makes an index, though there is only one.
const multiPlatform = "BUILDKIT_MULTI_PLATFORM"

// Part returns the target that builds t for some of its platforms. An image
// is pushed by digest, as an index; caches are written beside those of t.
func (i *Images) Part(t *config.Target, of []string) *config.Target {
	part := *t
	part.Platforms = of
	part.Args = append(slices.DeleteFunc(slices.Clone(t.Args), func(kv config.KeyValue) bool { return kv.Key == multiPlatform }),
		config.KeyValue{Key: multiPlatform, Value: "1"})
	part.Annotations = slices.DeleteFunc(slices.Clone(t.Annotations), func(a string) bool { return !concerns(a, of) })
	partCaches(&part, of)
	part.Outputs = nil
	for _, e := range t.Outputs {
		if isPush(e) {
			e = byDigest(t, e)
			part.Tags = nil
		}
		part.Outputs = append(part.Outputs, e)
	}
	return &part
}

// byDigest returns the output that pushes to the same repositories without a tag.
func byDigest(t *config.Target, e config.Export) config.Export {
	attrs := pairs(e.Attrs)
	var repos []string
	for _, ref := range pushNames(t, e) {
		if named, err := reference.ParseNormalizedNamed(ref); err == nil && !slices.Contains(repos, named.Name()) {
			repos = append(repos, named.Name())
		}
	}
	attrs["push"], attrs["push-by-digest"], attrs["name"] = "true", "true", strings.Join(repos, ",")
	out := config.Export{Type: client.ExporterImage}
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		out.Attrs = append(out.Attrs, config.KeyValue{Key: k, Value: attrs[k]})
	}
	return out
}

// pushNames returns the full references that an image output is pushed under.
func pushNames(t *config.Target, e config.Export) []string {
	if len(t.Tags) > 0 {
		return names(strings.Join(t.Tags, ","))
	}
	return names(pairs(e.Attrs)["name"])
}

// annotationPlatform finds the platform in "manifest[linux/amd64]:key=value".
var annotationPlatform = regexp.MustCompile(`^[^=:]*\[([^\]]+)\][^=]*:`)

// concerns reports whether an annotation is for some of the platforms.
func concerns(annotation string, of []string) bool {
	m := annotationPlatform.FindStringSubmatch(annotation)
	if m == nil {
		return true
	}
	p, err := platforms.Parse(m[1])
	return err == nil && slices.Contains(of, platforms.FormatAll(platforms.Normalize(p)))
}

// Repeats reports whether t may be exported again when nobody knows how far
// an export has come. What went to standard output cannot be taken back; all
// other outputs are written over.
func (i *Images) Repeats(t *config.Target) bool {
	return !slices.ContainsFunc(t.Outputs, func(e config.Export) bool {
		return e.Dest == "-" || e.Dest == "" && (e.Type == client.ExporterTar || e.Type == client.ExporterOCI)
	})
}
