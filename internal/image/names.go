package image

import (
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The annotations by which entries of a layout's index are named. The first
// holds a full reference, the second that or a tag alone.
const (
	annotationName = "io.containerd.image.name"
	annotationRef  = ocispec.AnnotationRefName
)

// Familiar returns a full reference as people write it: "app:1" for
// "docker.io/library/app:1". What is no reference stays as it is.
func Familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(named)
}

// normalize returns the full form of a name, with the tag latest if it has
// neither tag nor digest.
func normalize(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("%q is no name of an image: %w", name, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

// entryName returns what an entry of a layout's index calls its image: a full
// reference, or, where there is none, a tag.
func entryName(d ocispec.Descriptor) (ref, tag string) {
	if name := d.Annotations[annotationName]; name != "" {
		if full, err := normalize(name); err == nil {
			return full, ""
		}
	}
	name := d.Annotations[annotationRef]
	if strings.ContainsAny(name, "/:") { // a bare word may be a tag
		if full, err := normalize(name); err == nil {
			return full, ""
		}
	}
	return "", name
}

// platformsOf lists the platforms of manifests for people.
func platformsOf(all []ocispec.Descriptor) string {
	var names []string
	for _, d := range all {
		if d.Platform != nil {
			names = append(names, platforms.Format(*d.Platform))
		}
	}
	if len(names) == 0 {
		return "no platform that it tells"
	}
	return strings.Join(names, ", ")
}
