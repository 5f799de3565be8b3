package store

import (
	"fmt"

	"github.com/distribution/reference"
)

// Normalize returns the full form of an image name: "docker.io/library/x:latest"
// for "x". A name with a digest is refused, as a digest cannot be given away.
func Normalize(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", name, err)
	}
	if _, ok := named.(reference.Digested); ok {
		return "", fmt.Errorf("image name %q: a name to store an image under has a tag, not a digest", name)
	}
	return reference.TagNameOnly(named).String(), nil
}

func normalizeAll(refs []string) ([]string, error) {
	var names []string
	for _, ref := range refs {
		name, err := Normalize(ref)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// repositoryOf returns a full reference without its tag; "" for what is none.
func repositoryOf(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	return named.Name()
}
