package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/registry"
)

// PushOptions say how images are sent to registries.
type PushOptions struct {
	Registries registry.Options
	Retries    exec.Retries // of each blob, and of each manifest
	Tell       Tell
}

const (
	pushBlobs  = 6 // sent at once
	pushImages = 8 // on their way at once; they wait for each other's blobs
)

// A Pushed is an image that was sent to a registry, under one name.
type Pushed struct {
	Ref   string // as it was given
	Desc  ocispec.Descriptor
	There bool  // the registry had it, under this name; nothing was sent
	Err   error // why it is not there; nil if it is
}

// A Parcel is an image and a reference in a registry that it is to have.
type Parcel struct {
	Image *Image
	Ref   string
}

// Push sends images to registries: blobs that are not there, then what names
// them, the whole index with its attestations, at last the name itself. A blob that
// another repository of the registry has is mounted from there. Each parcel
// has its Pushed; what fails does not keep the others. The error is that of
// ctx, or the first of the parcels.
func Push(ctx context.Context, parcels []Parcel, o PushOptions) ([]Pushed, error) {
	p := &pusher{o: o, remote: o.Registries.Remote(), blobs: semaphore.NewWeighted(pushBlobs), repos: map[string]*remote.Pusher{}, flights: map[string]*flight{}}
	out := make([]Pushed, len(parcels))
	eg := errgroup.Group{}
	eg.SetLimit(pushImages)
	for n, parcel := range parcels {
		eg.Go(func() error {
			out[n] = Pushed{Ref: parcel.Ref, Desc: parcel.Image.Desc}
			out[n].There, out[n].Err = p.push(ctx, parcel)
			if out[n].Err == nil {
				o.Tell.tell(Event{Kind: Ended, Ref: parcel.Ref})
			}
			return nil
		})
	}
	_ = eg.Wait() // the parcels have the errors
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	for _, p := range out {
		if p.Err != nil {
			return out, p.Err
		}
	}
	return out, nil
}

// A pusher is one call of Push.
type pusher struct {
	o      PushOptions
	remote []remote.Option // with one transport for all
	blobs  *semaphore.Weighted

	mu      sync.Mutex                // guards what follows
	repos   map[string]*remote.Pusher // by repository
	flights map[string]*flight        // by registry and digest
}

// A flight is a blob on its way to a repository of a registry, from where the
// registry's other repositories take it.
type flight struct {
	repo  name.Repository
	ended chan struct{} // closed when it is there, or failed
	err   error         // set then
}

// push sends one parcel, and reports whether nothing was to be done.
func (p *pusher) push(ctx context.Context, parcel Parcel) (there bool, err error) {
	ref, err := p.o.Registries.Parse(parcel.Ref)
	if err != nil {
		return false, fmt.Errorf("push to %q: %w", parcel.Ref, err)
	}
	if d, ok := ref.(name.Digest); ok && d.DigestStr() != parcel.Image.Desc.Digest.String() {
		return false, fmt.Errorf("push to %s: the image has the digest %s", parcel.Ref, parcel.Image.Desc.Digest)
	}
	all, err := parcel.Image.blobs(ctx)
	if err != nil {
		return false, fmt.Errorf("push %s: %w", parcel.Ref, err)
	}
	c := &consignment{p: p, image: parcel.Image, text: parcel.Ref, ref: ref}
	for _, d := range all {
		if !isForeign(d) {
			p.o.Tell.tell(Event{Kind: Found, Ref: c.text, Bytes: d.Size})
		}
	}
	if c.isThere(ctx) {
		for _, d := range all {
			c.skipped(d)
		}
		return true, nil
	}
	if err := c.send(ctx, all); err != nil {
		return false, fmt.Errorf("push %s: %w", parcel.Ref, err)
	}
	return false, nil
}

// A consignment is an image on its way to a name.
type consignment struct {
	p     *pusher
	image *Image
	text  string // the name, as it was given
	ref   name.Reference
}

func (c *consignment) skipped(d ocispec.Descriptor) {
	if !isForeign(d) {
		c.p.o.Tell.tell(Event{Kind: Skipped, Ref: c.text, Bytes: d.Size})
	}
}

// isThere reports whether the registry has the image under the name. A
// registry has all that its names lead to.
func (c *consignment) isThere(ctx context.Context) bool {
	puller, err := remote.NewPuller(c.p.remote...)
	if err != nil {
		return false
	}
	have, err := puller.Head(ctx, c.ref)
	return err == nil && have.Digest.String() == c.image.Desc.Digest.String()
}

// send sends blobs, all at once, and then manifests, one after the other.
func (c *consignment) send(ctx context.Context, all []ocispec.Descriptor) error {
	eg, inner := errgroup.WithContext(ctx)
	for _, d := range all {
		if isForeign(d) || IsManifest(d.MediaType) || IsIndex(d.MediaType) {
			continue
		}
		eg.Go(func() error { return c.sendBlob(inner, d) })
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	for _, d := range all {
		if !IsManifest(d.MediaType) && !IsIndex(d.MediaType) {
			continue
		}
		ref := name.Reference(c.ref.Context().Digest(d.Digest.String()))
		if d.Digest == c.image.Desc.Digest {
			ref = c.ref
		}
		if err := c.sendManifest(ctx, d, ref); err != nil {
			return err
		}
	}
	return nil
}

func (c *consignment) sendManifest(ctx context.Context, d ocispec.Descriptor, ref name.Reference) error {
	text, err := c.image.Read(ctx, d)
	if err != nil {
		return err
	}
	err = c.try(ctx, d, func(to *remote.Pusher) error { return to.Put(ctx, ref, manifestText{text, d.MediaType}) })
	if err == nil {
		c.p.o.Tell.tell(Event{Kind: Sent, Ref: c.text, Bytes: d.Size})
	}
	return err
}

// manifestText is a manifest for go-containerregistry.
type manifestText struct {
	text      []byte
	mediaType string
}

func (m manifestText) RawManifest() ([]byte, error)        { return m.text, nil }
func (m manifestText) MediaType() (types.MediaType, error) { return types.MediaType(m.mediaType), nil }

// sendBlob sends a blob, unless it is there. Where it is on its way to another
// repository of the registry, that is waited for.
func (c *consignment) sendBlob(ctx context.Context, d ocispec.Descriptor) error {
	repo := c.ref.Context()
	f, mine := c.p.flight(repo, d.Digest)
	if mine {
		err := c.upload(ctx, d, c.origin(repo))
		f.err = err
		close(f.ended)
		return err
	}
	select {
	case <-f.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch {
	case f.err != nil:
		return c.upload(ctx, d, nil)
	case f.repo == repo:
		c.skipped(d)
		return nil
	}
	return c.upload(ctx, d, &f.repo)
}

// origin returns the repository that the image is read from, if it is another
// one of the same registry; else nil.
func (c *consignment) origin(to name.Repository) *name.Repository {
	r, ok := c.image.from.(*repository)
	if !ok || r.name.RegistryStr() != to.RegistryStr() || r.name == to {
		return nil
	}
	return &r.name
}

// flight returns the flight of a blob to a registry, and whether it is the
// caller who has to make it.
func (p *pusher) flight(repo name.Repository, d digest.Digest) (*flight, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := repo.RegistryStr() + " " + d.String()
	if f, ok := p.flights[key]; ok {
		return f, false
	}
	f := &flight{repo: repo, ended: make(chan struct{})}
	p.flights[key] = f
	return f, true
}

// upload sends a blob, or has it mounted from another repository.
func (c *consignment) upload(ctx context.Context, d ocispec.Descriptor, from *name.Repository) error {
	if err := c.p.blobs.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer c.p.blobs.Release(1)
	b := &blob{ctx: ctx, c: c, desc: d}
	layer, err := partial.CompressedToLayer(b)
	if err != nil {
		return err
	}
	if from != nil {
		layer = &remote.MountableLayer{Layer: layer, Reference: from.Digest(d.Digest.String())}
	}
	err = c.try(ctx, d, func(to *remote.Pusher) error {
		b.rewind()
		return to.Upload(ctx, c.ref.Context(), layer)
	})
	if err == nil && !b.wasOpened() {
		c.skipped(d)
	}
	return err
}

// try does something with a repository until it is done, or has failed as
// often as it may.
func (c *consignment) try(ctx context.Context, d ocispec.Descriptor, do func(*remote.Pusher) error) error {
	tell := func(r exec.Retry) { c.p.o.Tell.tell(Event{Kind: Retrying, Ref: c.text, Retry: &r}) }
	return c.p.o.Retries.Do(ctx, c.text+" "+d.Digest.String(), tell, func() error {
		to, err := c.p.repo(c.ref.Context())
		if err != nil {
			return err
		}
		err = do(to)
		var damaged *DamagedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &damaged):
			return damaged
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		c.p.forget(c.ref.Context(), to)
		return registry.Explain(c.ref.Context().RegistryStr(), err)
	})
}

// repo returns what sends to a repository. Its first request asks who may.
func (p *pusher) repo(r name.Repository) (*remote.Pusher, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to, ok := p.repos[r.String()]; ok {
		return to, nil
	}
	to, err := remote.NewPusher(p.remote...)
	if err == nil {
		p.repos[r.String()] = to
	}
	return to, err
}

// forget has the next attempt ask anew: go-containerregistry would keep the
// error of a first request.
func (p *pusher) forget(r name.Repository, to *remote.Pusher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.repos[r.String()] == to {
		delete(p.repos, r.String())
	}
}

// A blob is a layer or another blob for go-containerregistry.
type blob struct {
	ctx  context.Context
	c    *consignment
	desc ocispec.Descriptor

	mu      sync.Mutex // guards what follows
	attempt int        // number of the one that counts
	opened  bool
	sent    int64 // by that attempt
}

// rewind takes back what was told of an attempt that failed, and returns the
// number of the next. Of one whose answer comes before its end, net/http may
// read on for a while: that is told no more.
func (b *blob) rewind() (attempt int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sent > 0 {
		b.c.p.o.Tell.tell(Event{Kind: Sent, Ref: b.c.text, Bytes: -b.sent})
	}
	b.sent = 0
	b.attempt++
	return b.attempt
}

// count tells of what an attempt has sent.
func (b *blob) count(attempt int, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if attempt == b.attempt {
		b.sent += n
		b.c.p.o.Tell.tell(Event{Kind: Sent, Ref: b.c.text, Bytes: n})
	}
}

func (b *blob) wasOpened() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

// Digest implements partial.CompressedLayer, as the others do.
func (b *blob) Digest() (v1.Hash, error) { return v1.NewHash(b.desc.Digest.String()) }

// Size returns the bytes of the blob.
func (b *blob) Size() (int64, error) { return b.desc.Size, nil }

// MediaType returns the type of the blob.
func (b *blob) MediaType() (types.MediaType, error) { return types.MediaType(b.desc.MediaType), nil }

// Compressed opens the blob, as it is.
func (b *blob) Compressed() (io.ReadCloser, error) {
	attempt := b.rewind()
	b.mu.Lock()
	b.opened = true
	b.mu.Unlock()
	rc, err := b.c.image.Open(b.ctx, b.desc)
	if err != nil {
		return nil, err
	}
	return &countedReader{rc, func(n int64) { b.count(attempt, n) }}, nil
}
