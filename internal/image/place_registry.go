package image

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/registry"
)

// A repository reads from a repository of a registry.
type repository struct {
	name   name.Repository
	puller *remote.Puller
}

func (r *repository) open(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	ref := r.name.Digest(d.Digest.String())
	if IsIndex(d.MediaType) || IsManifest(d.MediaType) {
		m, err := r.puller.Get(ctx, ref)
		if err != nil {
			return nil, r.explain(err)
		}
		return io.NopCloser(bytes.NewReader(m.Manifest)), nil
	}
	layer, err := r.puller.Layer(ctx, ref)
	if err != nil {
		return nil, r.explain(err)
	}
	rc, err := layer.Compressed()
	if err != nil {
		return nil, r.explain(err)
	}
	return &explainedReader{rc, r}, nil
}

func (r *repository) explain(err error) error {
	return registry.Explain(r.name.RegistryStr(), err)
}

// An explainedReader words errors that come while a blob is read.
type explainedReader struct {
	io.ReadCloser
	r *repository
}

func (e *explainedReader) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = e.r.explain(err)
	}
	return n, err
}

// ask returns the image that a registry has under a reference.
func (r *Resolver) ask(ctx context.Context, text string) (*Image, error) {
	ref, err := r.Registries.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	if r.remote == nil {
		r.remote = r.Registries.Remote()
	}
	puller, err := remote.NewPuller(r.remote...)
	if err != nil {
		return nil, err
	}
	repo := &repository{name: ref.Context(), puller: puller}
	top, err := puller.Get(ctx, ref)
	if registry.IsNotFound(err) {
		return nil, &NotFoundError{Ref: text, Where: "registry " + ref.Context().RegistryStr()}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, repo.explain(err))
	}
	full, err := normalize(text)
	if err != nil {
		return nil, err
	}
	i := &Image{
		Names: []string{full}, Place: InRegistry, Where: ref.Context().RegistryStr(), from: repo,
		Desc: ocispec.Descriptor{MediaType: string(top.MediaType), Digest: digest.Digest(top.Digest.String()), Size: top.Size},
	}
	if err := checkType(i.Desc.MediaType); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return i, nil
}
