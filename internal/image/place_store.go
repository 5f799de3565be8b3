package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A blobStore reads from kiln's own store.
type blobStore struct{ content content.Provider }

func (s blobStore) open(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	at, err := s.content.ReaderAt(ctx, ocispec.Descriptor{Digest: d.Digest, Size: d.Size})
	if errors.Is(err, errdefs.ErrNotFound) {
		return nil, &missingError{d.Digest}
	}
	if err != nil {
		return nil, err
	}
	return &sectionCloser{io.NewSectionReader(at, 0, at.Size()), at}, nil
}

type sectionCloser struct {
	*io.SectionReader
	io.Closer
}

// A missingError says that a place has not all of an image.
type missingError struct{ digest digest.Digest }

func (e *missingError) Error() string {
	return fmt.Sprintf("blob %s is missing: the image is not complete", e.digest)
}

// made are blobs that were made here, before a source with the others.
type made struct {
	source
	text map[digest.Digest][]byte
}

func (m *made) open(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if text, ok := m.text[d.Digest]; ok {
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	return m.source.open(ctx, d)
}
