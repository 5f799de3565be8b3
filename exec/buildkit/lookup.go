package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An attested is an image in a registry with its attestation: an index of the
// two.
type attested struct {
	desc      ocispec.Descriptor // of the index
	index     ocispec.Index
	manifest  ocispec.Manifest // of the attestation
	statement []byte           // the attestation itself
}

var errNotAttested = errors.New("it is not one image with one attestation")

const (
	lookUpLimit  = 5 * time.Second // for a registry to say what it has; else the image is sent
	mostManifest = 4 << 20         // bytes of what is read from a registry
)

// lookUp reads from its registry what has the name ref. It writes nothing.
func (c *credentials) lookUp(ctx context.Context, ref string) (*attested, error) {
	ctx, cancel := context.WithTimeout(ctx, lookUpLimit)
	defer cancel()
	tag, err := name.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(remote.WithAuthFromKeychain(c.logins), remote.WithRetryStatusCodes(), remote.WithRetryPredicate(func(error) bool { return false }))
	if err != nil {
		return nil, err
	}
	top, err := puller.Get(ctx, tag)
	if err != nil {
		return nil, err
	}
	a := &attested{desc: ocispec.Descriptor{MediaType: string(top.MediaType), Digest: digest.Digest(top.Digest.String()), Size: top.Size}}
	if err := json.Unmarshal(top.Manifest, &a.index); err != nil {
		return nil, err
	}
	if top.MediaType != ocispec.MediaTypeImageIndex || len(a.index.Manifests) != 2 {
		return nil, errNotAttested
	}
	second, err := puller.Get(ctx, tag.Context().Digest(a.index.Manifests[1].Digest.String()))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(second.Manifest, &a.manifest); err != nil {
		return nil, err
	}
	if len(a.manifest.Layers) != 1 {
		return nil, errNotAttested
	}
	layer, err := puller.Layer(ctx, tag.Context().Digest(a.manifest.Layers[0].Digest.String()))
	if err != nil {
		return nil, err
	}
	rc, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	a.statement, err = io.ReadAll(io.LimitReader(rc, mostManifest))
	return a, err
}
