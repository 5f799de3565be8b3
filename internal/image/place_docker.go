package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// dockerTable is the file that lists the images of a Docker archive.
const dockerTable = "manifest.json"

// A dockerEntry is an image of a Docker archive, as `docker save` writes it.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// A dockerArchive reads the images of `docker save` and its kin. They have no
// manifests, so that these are made here: of the configuration as it stands,
// whose digest is the image's ID, and of the layers, whose digests the
// configuration tells where they are not packed.
type dockerArchive struct {
	*archive
	made  map[digest.Digest][]byte // the manifests
	files map[digest.Digest]string // names of the other blobs
}

func (d *dockerArchive) open(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if text, ok := d.made[desc.Digest]; ok {
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	name, ok := d.files[desc.Digest]
	if !ok {
		return nil, &missingError{desc.Digest}
	}
	return d.file(name)
}

// readTable returns the entries of manifest.json; fs.ErrNotExist if there is
// none.
func readTable(t tree) ([]dockerEntry, error) {
	var entries []dockerEntry
	err := readJSON(t, dockerTable, &entries)
	return entries, err
}

// dockerImages returns the images of a Docker archive.
func dockerImages(a *archive, where string) ([]*Image, error) {
	entries, err := readTable(a)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no images: neither an OCI layout (index.json) nor what `docker save` writes (manifest.json)", where)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	d := &dockerArchive{archive: a, made: map[digest.Digest][]byte{}, files: map[digest.Digest]string{}}
	var out []*Image
	for _, e := range entries {
		i, err := d.image(e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		i.Place, i.Where, i.from = InDockerArchive, where, d
		out = join(out, i)
	}
	return out, nil
}

// image makes the manifest of an entry.
func (d *dockerArchive) image(e dockerEntry) (*Image, error) {
	var config v1.ConfigFile
	name := path.Clean(e.Config)
	if err := readJSON(d, name, &config); err != nil {
		return nil, incomplete(err)
	}
	if len(config.RootFS.DiffIDs) != len(e.Layers) {
		return nil, fmt.Errorf("%s lists %d layers for the image of %s, whose configuration lists %d", dockerTable, len(e.Layers), e.Config, len(config.RootFS.DiffIDs))
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	var err error
	if m.Config, err = d.packed(name, ocispec.MediaTypeImageConfig); err != nil {
		return nil, err
	}
	for n, l := range e.Layers {
		desc, err := d.layer(path.Clean(l), digest.Digest(config.RootFS.DiffIDs[n].String()))
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, desc)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	i := &Image{Desc: ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}}
	d.made[i.Desc.Digest] = text
	seen := map[string]bool{}
	for _, tag := range e.RepoTags {
		full, err := normalize(tag)
		if err != nil {
			return nil, err
		}
		if !seen[full] {
			seen[full] = true
			i.Names = append(i.Names, full)
		}
	}
	return i, nil
}

// layer describes the file of a layer.
func (d *dockerArchive) layer(name string, diffID digest.Digest) (ocispec.Descriptor, error) {
	size, err := d.size(name)
	if err != nil {
		return ocispec.Descriptor{}, incomplete(err)
	}
	f, err := d.file(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	magic := make([]byte, 6)
	n, _ := io.ReadFull(f, magic) // a layer may be shorter
	switch {
	case unpacker(magic[:n]) == nil:
		d.files[diffID] = name
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID, Size: size}, nil
	case magic[0] == 0x1f:
		return d.packed(name, ocispec.MediaTypeImageLayerGzip)
	case magic[0] == 0x28:
		return d.packed(name, ocispec.MediaTypeImageLayerZstd)
	}
	return ocispec.Descriptor{}, fmt.Errorf("layer %s is packed in a way that images do not have", name)
}

// packed describes a file by its digest, which its name may tell, too.
func (d *dockerArchive) packed(name, mediaType string) (ocispec.Descriptor, error) {
	f, err := d.file(name)
	if err != nil {
		return ocispec.Descriptor{}, incomplete(err)
	}
	sum := digest.Canonical.Digester()
	size, err := io.Copy(sum.Hash(), f)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if want := digest.NewDigestFromEncoded(digest.Canonical, strings.TrimSuffix(path.Base(name), ".json")); want.Validate() == nil && want != sum.Digest() {
		return ocispec.Descriptor{}, &DamagedError{In: name, Digest: want, Reason: fmt.Sprintf("has the content of %s", sum.Digest())}
	}
	d.files[sum.Digest()] = name
	return ocispec.Descriptor{MediaType: mediaType, Digest: sum.Digest(), Size: size}, nil
}

// incomplete words that the archive lacks a file that it lists.
func incomplete(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s lists a file that the archive does not hold: %w", dockerTable, err)
	}
	return err
}
