package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/internal/store"
)

// Import writes an image to the store under names, or under its digest if
// there are none, and returns what it is there. An image of a Docker archive
// has its layers packed on the way, as it would be in a registry; all others
// keep their digests. Blobs that the store has are not read. Until all blobs
// are there, and right, the store does not show the image.
func Import(ctx context.Context, i *Image, s *store.Store, names []string, t Tell) (ocispec.Descriptor, error) {
	in := &importer{image: i, store: s, tell: t, ref: i.String()}
	write := in.copyAll
	if i.Place == InDockerArchive {
		write = in.pack
	}
	desc, err := write(ctx)
	if err != nil {
		return desc, fmt.Errorf("import: %w", s.Explain(err)) // what is the image's says so
	}
	if err := s.Put(ctx, names, desc); err != nil {
		return desc, err
	}
	t.tell(Event{Kind: Ended, Ref: in.ref})
	return desc, nil
}

// An importer is one call of Import.
type importer struct {
	image *Image
	store *store.Store
	tell  Tell
	ref   string
}

// copyAll writes the blobs as they are.
func (in *importer) copyAll(ctx context.Context) (ocispec.Descriptor, error) {
	all, err := in.image.blobs(ctx)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, d := range all {
		if isForeign(d) {
			return d, fmt.Errorf("%s: its layer %s is kept elsewhere (%s), which the store cannot say", in.image, d.Digest, d.URLs[0])
		}
		in.tell.tell(Event{Kind: Found, Ref: in.ref, Bytes: d.Size})
	}
	eg, inner := errgroup.WithContext(ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for _, d := range all {
		eg.Go(func() error { return in.copy(inner, d) })
	}
	return plain(in.image.Desc), eg.Wait()
}

// copy writes one blob, unless it is there.
func (in *importer) copy(ctx context.Context, d ocispec.Descriptor) error {
	w, err := in.writer(ctx, ocispec.Descriptor{Digest: d.Digest, Size: d.Size})
	if errors.Is(err, errdefs.ErrAlreadyExists) {
		in.tell.tell(Event{Kind: Skipped, Ref: in.ref, Bytes: d.Size})
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	rc, err := in.image.counted(ctx, d, in.tell, in.ref)
	if err != nil {
		return err
	}
	defer rc.Close()
	if _, err := io.Copy(w, rc); err != nil {
		return err
	}
	return committed(w.Commit(ctx, d.Size, d.Digest))
}

// writer begins a blob. What it has of an earlier attempt is dropped.
func (in *importer) writer(ctx context.Context, d ocispec.Descriptor) (content.Writer, error) {
	ref := "import-" + d.Digest.String()
	w, err := in.store.Content().Writer(ctx, content.WithRef(ref), content.WithDescriptor(d))
	if err != nil {
		return nil, err
	}
	if err := w.Truncate(0); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// committed takes a blob that is there by now for one that was written.
func committed(err error) error {
	if errors.Is(err, errdefs.ErrAlreadyExists) {
		return nil
	}
	return err
}

// pack writes an image of a Docker archive, with its layers packed, which
// gives it a manifest of its own. The configuration, and so the image's ID,
// stays.
func (in *importer) pack(ctx context.Context) (ocispec.Descriptor, error) {
	var m ocispec.Manifest
	if _, err := in.image.decode(ctx, in.image.Desc, &m); err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, l := range m.Layers {
		in.tell.tell(Event{Kind: Found, Ref: in.ref, Bytes: l.Size})
	}
	eg, inner := errgroup.WithContext(ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for n, l := range m.Layers {
		eg.Go(func() (err error) {
			if l.MediaType != ocispec.MediaTypeImageLayer {
				return in.copy(inner, l)
			}
			m.Layers[n], err = in.packLayer(inner, l)
			return err
		})
	}
	eg.Go(func() error { return in.copy(inner, m.Config) })
	if err := eg.Wait(); err != nil {
		return ocispec.Descriptor{}, err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	packed := *in.image
	packed.from = &made{source: in.image.from, text: map[digest.Digest][]byte{d.Digest: text}}
	in.image = &packed
	return d, in.copy(ctx, d)
}

// packLayer writes a layer with gzip.
func (in *importer) packLayer(ctx context.Context, l ocispec.Descriptor) (ocispec.Descriptor, error) {
	rc, err := in.image.counted(ctx, l, in.tell, in.ref)
	if err != nil {
		return l, err
	}
	defer rc.Close()
	w, err := in.store.Content().Writer(ctx, content.WithRef("import-packed-"+l.Digest.String()))
	if err != nil {
		return l, err
	}
	defer w.Close()
	if err := w.Truncate(0); err != nil {
		return l, err
	}
	size := &sizeWriter{w: w}
	packer := gzip.NewWriter(size)
	if _, err := io.Copy(packer, rc); err != nil {
		return l, err
	}
	if err := packer.Close(); err != nil {
		return l, err
	}
	out := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: w.Digest(), Size: size.n}
	return out, committed(w.Commit(ctx, size.n, out.Digest))
}

// A sizeWriter counts what is written.
type sizeWriter struct {
	w io.Writer
	n int64
}

func (s *sizeWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.n += int64(n)
	return n, err
}
