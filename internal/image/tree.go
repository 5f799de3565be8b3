package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types of Docker, beside OCI's. The first two are schema 1, of
// registries before 2016.
const (
	typeSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	typeSignedSchema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	typeDockerImage   = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerIndex   = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeDockerConfig  = "application/vnd.docker.container.image.v1+json"
)

// What tells an attestation in an index, and what it is about; what it says.
const (
	annotationType      = "vnd.docker.reference.type"
	annotationSubject   = "vnd.docker.reference.digest"
	annotationPredicate = "in-toto.io/predicate-type"
	typeAttestation     = "attestation-manifest"
)

// IsIndex reports whether a media type is that of a list of manifests.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == typeDockerIndex
}

// IsManifest reports whether a media type is that of one image's manifest.
func IsManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == typeDockerImage
}

// checkType says what is wrong with a media type that leads to no image.
func checkType(mediaType string) error {
	switch {
	case IsIndex(mediaType), IsManifest(mediaType):
		return nil
	case mediaType == typeSchema1, mediaType == typeSignedSchema1:
		return fmt.Errorf("it has schema 1, the format of images before 2016 (%s), which kiln does not read; have it pulled and pushed again by the tool that made it", mediaType)
	case mediaType == "":
		return fmt.Errorf("it does not say its media type")
	}
	return fmt.Errorf("its media type %q is not that of an image", mediaType)
}

// A Manifest is the image of one platform.
type Manifest struct {
	Desc         ocispec.Descriptor // with the platform, if index or configuration tell it
	Raw          []byte             // the manifest, as it stands
	Manifest     ocispec.Manifest   // the same, decoded
	RawConfig    []byte             // the configuration, as it stands
	Config       v1.ConfigFile      // the same, decoded; zero where it is not that of an image
	Attestations []Attestation      // about this manifest, in the order of the index
}

// An Attestation is a manifest whose layers are statements about an image.
type Attestation struct {
	Desc       ocispec.Descriptor
	Statements []Statement
}

// A Statement is one in-toto statement.
type Statement struct {
	Desc      ocispec.Descriptor // of the statement's JSON
	Predicate string             // its type, "https://slsa.dev/provenance/v1"
}

// Manifests returns the image's platforms, in the order of its index, each
// with its attestations.
func (i *Image) Manifests(ctx context.Context) ([]Manifest, error) {
	all, err := i.leaves(ctx, i.Desc)
	if err != nil {
		return nil, err
	}
	var out []Manifest
	for _, d := range all {
		if isAttestation(d) {
			continue
		}
		m, err := i.manifest(ctx, d)
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			if isAttestation(a) && a.Annotations[annotationSubject] == d.Digest.String() {
				att, err := i.attestation(ctx, a)
				if err != nil {
					return nil, err
				}
				m.Attestations = append(m.Attestations, att)
			}
		}
		out = append(out, m)
	}
	return out, nil
}

func isAttestation(d ocispec.Descriptor) bool {
	return d.Annotations[annotationType] == typeAttestation
}

// leaves returns the manifests below d, attestations with them.
func (i *Image) leaves(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if !IsIndex(d.MediaType) {
		return []ocispec.Descriptor{d}, nil
	}
	children, err := i.children(ctx, d)
	if err != nil {
		return nil, err
	}
	var out []ocispec.Descriptor
	for _, c := range children {
		below, err := i.leaves(ctx, c)
		if err != nil {
			return nil, err
		}
		out = append(out, below...)
	}
	return out, nil
}

func (i *Image) manifest(ctx context.Context, d ocispec.Descriptor) (Manifest, error) {
	m := Manifest{Desc: d}
	if err := checkType(d.MediaType); err != nil {
		return m, fmt.Errorf("%s: %s: %w", i, d.Digest, err)
	}
	var err error
	if m.Raw, err = i.decode(ctx, d, &m.Manifest); err != nil {
		return m, err
	}
	if err := i.checkDigests(d, append([]ocispec.Descriptor{m.Manifest.Config}, m.Manifest.Layers...)); err != nil {
		return m, err
	}
	if m.RawConfig, err = i.Read(ctx, m.Manifest.Config); err != nil {
		return m, err
	}
	switch m.Manifest.Config.MediaType {
	case ocispec.MediaTypeImageConfig, typeDockerConfig:
		if err := json.Unmarshal(m.RawConfig, &m.Config); err != nil {
			return m, fmt.Errorf("%s: configuration %s: %w", i, m.Manifest.Config.Digest, err)
		}
	}
	if m.Desc.Platform == nil && m.Config.OS != "" {
		m.Desc.Platform = &ocispec.Platform{OS: m.Config.OS, Architecture: m.Config.Architecture, Variant: m.Config.Variant, OSVersion: m.Config.OSVersion, OSFeatures: m.Config.OSFeatures}
	}
	return m, nil
}

func (i *Image) attestation(ctx context.Context, d ocispec.Descriptor) (Attestation, error) {
	a := Attestation{Desc: d}
	var m ocispec.Manifest
	if _, err := i.decode(ctx, d, &m); err != nil {
		return a, err
	}
	for _, l := range m.Layers {
		a.Statements = append(a.Statements, Statement{Desc: l, Predicate: l.Annotations[annotationPredicate]})
	}
	return a, nil
}

// children returns what a manifest or an index names: of a manifest the
// configuration and then the layers, of anything else nothing.
func (i *Image) children(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	all, err := i.listed(ctx, d)
	if err == nil {
		err = i.checkDigests(d, all)
	}
	return all, err
}

// checkDigests refuses what d names by something that is no digest.
func (i *Image) checkDigests(d ocispec.Descriptor, named []ocispec.Descriptor) error {
	for _, c := range named {
		if err := c.Digest.Validate(); err != nil {
			return fmt.Errorf("%s: %s names a blob by %q: %w", i, d.Digest, c.Digest, err)
		}
	}
	return nil
}

// listed is what children returns, as it is written.
func (i *Image) listed(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	switch {
	case IsIndex(d.MediaType):
		var idx ocispec.Index
		_, err := i.decode(ctx, d, &idx)
		return idx.Manifests, err
	case IsManifest(d.MediaType):
		var m ocispec.Manifest
		_, err := i.decode(ctx, d, &m)
		return append([]ocispec.Descriptor{m.Config}, m.Layers...), err
	case d.MediaType == typeSchema1, d.MediaType == typeSignedSchema1:
		return nil, fmt.Errorf("%s: %s: %w", i, d.Digest, checkType(d.MediaType))
	}
	return nil, nil
}

// blobs returns all that the image leads to, each once, what is named before
// what names it, so that who writes in this order never writes a manifest
// whose blobs are not there.
func (i *Image) blobs(ctx context.Context) ([]ocispec.Descriptor, error) {
	if err := checkType(i.Desc.MediaType); err != nil {
		return nil, fmt.Errorf("%s: %w", i, err)
	}
	var out []ocispec.Descriptor
	seen := map[digest.Digest]bool{}
	var walk func(d ocispec.Descriptor) error
	walk = func(d ocispec.Descriptor) error {
		if seen[d.Digest] {
			return nil
		}
		seen[d.Digest] = true
		children, err := i.children(ctx, d)
		if err != nil {
			return err
		}
		for _, c := range children {
			if err := walk(c); err != nil {
				return err
			}
		}
		out = append(out, d)
		return nil
	}
	return out, walk(i.Desc)
}

// isForeign reports whether a layer is kept at addresses of its own, as those
// of Windows' base images are, and is not moved with its image.
func isForeign(d ocispec.Descriptor) bool { return len(d.URLs) > 0 }

// ForPlatforms returns the image with those of its platforms that want names,
// with their attestations. Where that is all of them it is i itself; else an
// index with the entries that are left, which has another digest. A platform
// that the image lacks is an error that lists what there is. What is left out
// is not read.
func (i *Image) ForPlatforms(ctx context.Context, want []string) (*Image, error) {
	if len(want) == 0 {
		return i, nil
	}
	all, err := i.leaves(ctx, i.Desc)
	if err != nil {
		return nil, err
	}
	chosen := map[string]bool{}
	for _, w := range want {
		d, err := i.choose(ctx, all, w)
		if err != nil {
			return nil, err
		}
		chosen[d.Digest.String()] = true
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(d ocispec.Descriptor) bool {
		if isAttestation(d) {
			return !chosen[d.Annotations[annotationSubject]]
		}
		return !chosen[d.Digest.String()]
	})
	if len(kept) == len(all) {
		return i, nil
	}
	return i.narrowed(kept)
}

// present returns an image of a file without the platforms of its index whose
// manifests are not in the file, and these. Where all are there, or none, it is
// i itself; what else is wrong is told by who reads it.
func (i *Image) present(ctx context.Context) (*Image, []ocispec.Descriptor) {
	if i.Place != InLayout && i.Place != InOCIArchive || !IsIndex(i.Desc.MediaType) {
		return i, nil
	}
	all, err := i.leaves(ctx, i.Desc)
	if err != nil {
		return i, nil
	}
	var absent []ocispec.Descriptor
	there := map[string]bool{} // digests; an image's attestations go with it
	for _, d := range all {
		if i.has(ctx, d) {
			there[d.Digest.String()] = true
		} else if !isAttestation(d) {
			absent = append(absent, d)
		}
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(d ocispec.Descriptor) bool {
		return !there[d.Digest.String()] || isAttestation(d) && !there[d.Annotations[annotationSubject]]
	})
	if len(absent) == 0 || !slices.ContainsFunc(kept, func(d ocispec.Descriptor) bool { return !isAttestation(d) }) {
		return i, nil
	}
	out, err := i.narrowed(kept)
	if err != nil {
		return i, nil
	}
	return out, absent
}

// has reports whether a blob is there, or something is wrong with it.
func (i *Image) has(ctx context.Context, d ocispec.Descriptor) bool {
	rc, err := i.Open(ctx, d)
	if err != nil {
		var missing *missingError
		return !errors.As(err, &missing)
	}
	_ = rc.Close() // nothing was read
	return true
}

// ForPlatform returns the manifest of one platform alone, without attestations.
func (i *Image) ForPlatform(ctx context.Context, want string) (*Image, error) {
	all, err := i.leaves(ctx, i.Desc)
	if err != nil {
		return nil, err
	}
	d, err := i.choose(ctx, all, want)
	if err != nil || d.Digest == i.Desc.Digest {
		return i, err
	}
	out := *i
	out.Desc = plain(d)
	return &out, nil
}

// ForMachine returns the manifest for a machine of that platform, as
// ForPlatform, or, where the image has one platform only, that.
func (i *Image) ForMachine(ctx context.Context, machine string) (*Image, error) {
	all, err := i.leaves(ctx, i.Desc)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, isAttestation)
	if len(all) != 1 {
		return i.ForPlatform(ctx, machine)
	}
	out := *i
	out.Desc = plain(all[0])
	return &out, nil
}

// choose returns the manifest for a platform: the one that says just that, or
// the first that runs there.
func (i *Image) choose(ctx context.Context, all []ocispec.Descriptor, want string) (ocispec.Descriptor, error) {
	p, err := platforms.Parse(want)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("platform %q: %w", want, err)
	}
	var there []ocispec.Descriptor
	for _, d := range all {
		if isAttestation(d) {
			continue
		}
		if d.Platform == nil {
			m, err := i.manifest(ctx, d)
			if err != nil {
				return d, err
			}
			d.Platform = m.Desc.Platform
		}
		there = append(there, d)
	}
	for _, match := range []platforms.Matcher{platforms.OnlyStrict(p), platforms.Only(p)} {
		at := slices.IndexFunc(there, func(d ocispec.Descriptor) bool { return d.Platform != nil && match.Match(*d.Platform) })
		if at >= 0 {
			return there[at], nil
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("%s is not there for %s; it is for %s", i, want, platformsOf(there))
}

// narrowed returns the image with an index of these manifests only.
func (i *Image) narrowed(kept []ocispec.Descriptor) (*Image, error) {
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: i.Desc.MediaType, Manifests: kept}
	text, err := json.MarshalIndent(idx, "", "  ")
	if err != nil {
		return nil, err
	}
	out := *i
	out.Desc = ocispec.Descriptor{MediaType: i.Desc.MediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	out.from = &made{source: i.from, text: map[digest.Digest][]byte{out.Desc.Digest: text}}
	return &out, nil
}
