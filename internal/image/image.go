// Package image finds images wherever they are kept, and moves them.
//
// A Resolver takes what a user wrote (a reference, a target's name, the path
// of a layout or an archive) and returns Images. An Image is a descriptor and a way to
// read what it leads to, the same for kiln's store, a registry, an OCI layout
// and the tar files of other tools. What is read is checked against its
// digest. Push, Save, Import and Load write Images to other places, as they
// are: a manifest's bytes are never made anew.
//
//	resolve.go            what a reference means
//	place_*.go            where images are read from
//	tree.go               what an image leads to
//	push.go save.go       where they are written to
//	import.go load_*.go
//
// The package prints nothing, and reads neither flags nor the environment.
package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Place is a kind of home of images, in the words of the transports by
// which skopeo and podman call them.
type Place string

// The places. Those of archives are files, those of layouts directories.
const (
	InStore         Place = "store"
	InRegistry      Place = "docker"
	InLayout        Place = "oci"
	InOCIArchive    Place = "oci-archive"
	InDockerArchive Place = "docker-archive"
)

// An Image is what a reference stands for: an index of platforms, or one
// manifest. Goroutines may share it. It can be read until its Resolver is
// closed.
type Image struct {
	Names  []string           // full references that it has in its place, "docker.io/library/app:latest"; none if it has no name there
	Place  Place              //
	Where  string             // directory, file or registry, for people
	Target string             // the target whose image was asked for; "" if a reference was
	Desc   ocispec.Descriptor // of the index or manifest, without annotations of the place

	from source
	tag  string // what the place calls it, where that is no full reference
}

// A source reads blobs of one place. What it returns need not be checked.
type source interface {
	open(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)
}

// mostManifest is how large a manifest, an index or a configuration may be, in
// bytes. Registries refuse manifests from 4 MiB.
const mostManifest = 8 << 20

// Open returns the content of a blob that the image leads to. Where it is not
// what the descriptor says, reading ends with a *DamagedError instead of
// io.EOF.
func (i *Image) Open(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("%s: digest %q: %w", i, d.Digest, err)
	}
	rc, err := i.from.open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i, err)
	}
	return &checked{ReadCloser: rc, want: d, left: d.Size, sum: d.Digest.Algorithm().Digester(), in: i.String()}, nil
}

// Read returns a manifest, an index, a configuration or another small blob
// that the image leads to, whole and checked.
func (i *Image) Read(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	return i.read(ctx, d, mostManifest)
}

// mostStatement is how large an attestation may be, in bytes: the SBOM of an
// image with many packages has tens of megabytes.
const mostStatement = 512 << 20

// ReadStatement is Read for what an attestation says.
func (i *Image) ReadStatement(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	return i.read(ctx, d, mostStatement)
}

func (i *Image) read(ctx context.Context, d ocispec.Descriptor, most int64) ([]byte, error) {
	if d.Size > most {
		return nil, fmt.Errorf("%s: %s (%s) has %d bytes, and may have %d", i, d.Digest, d.MediaType, d.Size, most)
	}
	rc, err := i.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// decode reads a JSON blob into v.
func (i *Image) decode(ctx context.Context, d ocispec.Descriptor, v any) ([]byte, error) {
	text, err := i.Read(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s: %s is no JSON of type %s: %w", i, d.Digest, d.MediaType, err)
	}
	return text, nil
}

// String names the image for people: by its name, else by its digest, and the
// place unless that is kiln's store.
func (i *Image) String() string {
	name := i.Desc.Digest.String()
	if name == "" { // only what is damaged has none
		name = "an image without a digest"
	}
	if len(i.Names) > 0 {
		name = Familiar(i.Names[0])
	}
	switch i.Place {
	case InStore, InRegistry:
		return name
	}
	return fmt.Sprintf("%s in %s", name, i.Where)
}

// Named returns the image with other names. A name without a tag means the
// tag that the image has where it is, if it has that alone, else latest.
func (i *Image) Named(names []string) (*Image, error) {
	out := *i
	out.Names = nil
	for _, n := range names {
		named, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			return nil, fmt.Errorf("%q is no name of an image: %w", n, err)
		}
		if _, ok := named.(reference.Digested); ok {
			return nil, fmt.Errorf("%q: a name that is given has a tag, not a digest", n)
		}
		if tagged, err := reference.WithTag(named, i.tag); err == nil && reference.IsNameOnly(named) {
			named = tagged
		}
		if full := reference.TagNameOnly(named).String(); !out.hasName(full) {
			out.Names = append(out.Names, full)
		}
	}
	return &out, nil
}

// hasName reports whether the image has the full reference ref.
func (i *Image) hasName(ref string) bool { return slices.Contains(i.Names, ref) }

// A DamagedError says that a blob is not what its descriptor says.
type DamagedError struct {
	In     string // the image
	Digest digest.Digest
	Reason string // "ends after 12 of 100 bytes", …
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s: blob %s is damaged: it %s", e.In, e.Digest, e.Reason)
}

// A checked reader compares what it reads with a descriptor.
type checked struct {
	io.ReadCloser
	want ocispec.Descriptor
	left int64
	sum  digest.Digester
	in   string
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.left -= int64(n)
	c.sum.Hash().Write(p[:n]) // never fails
	damaged := func(format string, args ...any) (int, error) {
		return 0, &DamagedError{In: c.in, Digest: c.want.Digest, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case c.left < 0:
		return damaged("has more than %d bytes", c.want.Size)
	case errors.Is(err, io.EOF) && c.left > 0, errors.Is(err, io.ErrUnexpectedEOF):
		return damaged("ends after %d of %d bytes", c.want.Size-c.left, c.want.Size)
	case errors.Is(err, io.EOF) && c.sum.Digest() != c.want.Digest:
		return damaged("has the content of %s", c.sum.Digest())
	}
	return n, err
}
