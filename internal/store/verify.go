package store

import (
	"context"
	_ "crypto/sha256" // go-digest knows the algorithms that are linked in
	_ "crypto/sha512"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// An IncompleteError is returned by Put for an image that is not whole.
type IncompleteError struct {
	Names  []string // that were to be given
	Digest digest.Digest
	Reason string // what is wrong with the blob: "is missing", …
}

func (e *IncompleteError) Error() string {
	name := strings.Join(e.Names, ", ")
	if name == "" {
		name = "image"
	}
	return fmt.Sprintf("%s is not complete: blob %s %s", name, e.Digest, e.Reason)
}

// verify walks from the change's descriptor to every blob. Blobs were written
// through Content, which checks their digests; so layers are looked at for
// presence and size only, and manifests, which are read anyway, whole.
func (s *Store) verify(ctx context.Context, c *change) error {
	check := func(ctx context.Context, d descriptor) ([]descriptor, error) {
		reason, err := s.fault(ctx, d)
		if err != nil {
			return nil, s.explain("read", err)
		}
		if reason != "" {
			return nil, &IncompleteError{Names: c.names, Digest: d.Digest, Reason: reason}
		}
		return images.Children(ctx, s.blobs, stripData(d))
	}
	return images.Walk(ctx, images.HandlerFunc(check), stripData(c.desc))
}

// fault tells what is wrong with a blob; "" if nothing is.
func (s *Store) fault(ctx context.Context, d descriptor) (string, error) {
	info, err := s.blobs.Info(ctx, d.Digest)
	switch {
	case errors.Is(err, errdefs.ErrNotFound):
		return "is missing", nil
	case err != nil:
		return "", err
	case info.Size != d.Size:
		return fmt.Sprintf("has %d bytes instead of %d", info.Size, d.Size), nil
	case !images.IsManifestType(d.MediaType) && !images.IsIndexType(d.MediaType):
		return "", nil
	}
	text, err := content.ReadBlob(ctx, s.blobs, stripData(d))
	if err != nil {
		return "", err
	}
	if got := d.Digest.Algorithm().FromBytes(text); got != d.Digest {
		return fmt.Sprintf("has the content of %s", got), nil
	}
	return "", nil
}

// stripData takes the embedded copy of a blob from its descriptor, so that
// what is read is the file.
func stripData(d descriptor) descriptor {
	d.Data = nil
	return d
}
