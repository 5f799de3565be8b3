package image

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Format is a kind of archive.
type Format string

const (
	// OCI is a tar file with an OCI layout: all platforms, attestations, and
	// the digests that the images have.
	OCI Format = "oci"
	// Docker is what `docker save` writes, for any Docker and Podman: one
	// platform of each image, without attestations. The image's ID stays.
	Docker Format = "docker"
)

// Formats are all there are.
func Formats() []Format { return []Format{OCI, Docker} }

// Save writes images to w as one tar file. The same images under the same
// names, in any order, give the same bytes. Images for Docker have one
// platform: see [Image.ForPlatform].
func Save(ctx context.Context, w io.Writer, images []*Image, f Format, t Tell) error {
	return save(ctx, w, images, saving{format: f, tell: t})
}

// saving says how images are written.
type saving struct {
	format  Format
	without map[digest.Digest]bool // blobs that the reader has
	full    bool                   // names of Docker archives are written in full
	tell    Tell
}

func save(ctx context.Context, w io.Writer, images []*Image, how saving) error {
	a := &archiver{saving: how, ctx: ctx, tar: tar.NewWriter(w), from: map[string]item{}}
	write := a.layout
	if how.format == Docker {
		write = a.docker
	}
	if err := write(images); err != nil {
		return err
	}
	return a.tar.Close()
}

// An archiver writes a tar file.
type archiver struct {
	saving
	ctx  context.Context // of the one call of save
	tar  *tar.Writer
	from map[string]item // the files that are still to be written, by name
}

// An item is a blob of an image.
type item struct {
	image *Image
	desc  ocispec.Descriptor
}

// layout writes an OCI layout.
func (a *archiver) layout(images []*Image) error {
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	for _, i := range images {
		all, err := i.blobs(a.ctx)
		if err != nil {
			return err
		}
		for _, d := range all {
			if !isForeign(d) {
				a.plan(blobName(d.Digest), i, d)
			}
		}
		idx.Manifests = append(idx.Manifests, entriesOf(i)...)
	}
	slices.SortFunc(idx.Manifests, func(x, y ocispec.Descriptor) int {
		return cmp.Or(strings.Compare(x.Annotations[annotationRef], y.Annotations[annotationRef]), strings.Compare(x.Digest.String(), y.Digest.String()))
	})
	idx.Manifests = slices.CompactFunc(idx.Manifests, func(x, y ocispec.Descriptor) bool {
		return x.Digest == y.Digest && x.Annotations[annotationRef] == y.Annotations[annotationRef]
	})
	text, err := json.MarshalIndent(idx, "", "  ")
	if err != nil {
		return err
	}
	if err := a.text(ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`)); err != nil {
		return err
	}
	if err := a.text(ocispec.ImageIndexFile, append(text, '\n')); err != nil {
		return err
	}
	return a.write()
}

// entriesOf returns what a layout's index says of an image: one entry a name.
func entriesOf(i *Image) []ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: i.Desc.MediaType, Digest: i.Desc.Digest, Size: i.Desc.Size}
	if len(i.Names) == 0 {
		if i.tag != "" {
			d.Annotations = map[string]string{annotationRef: i.tag}
		}
		return []ocispec.Descriptor{d}
	}
	var out []ocispec.Descriptor
	for _, n := range i.Names {
		d.Annotations = map[string]string{annotationName: n, annotationRef: n}
		out = append(out, d)
	}
	return out
}

// docker writes what `docker save` would.
func (a *archiver) docker(images []*Image) error {
	var table []dockerEntry
	for _, i := range images {
		m, err := i.manifest(a.ctx, i.Desc)
		if err != nil {
			return err
		}
		if m.Config.RootFS.Type != "layers" {
			return fmt.Errorf("%s is no image of a file system (%s), and Docker's archives hold only those", i, m.Manifest.Config.MediaType)
		}
		e := dockerEntry{Config: m.Manifest.Config.Digest.Encoded() + ".json", RepoTags: []string{}, Layers: []string{}}
		a.plan(e.Config, i, m.Manifest.Config)
		for _, l := range m.Manifest.Layers {
			if isForeign(l) {
				return fmt.Errorf("%s has a layer that is kept elsewhere (%s), which Docker's archives cannot say", i, l.URLs[0])
			}
			e.Layers = append(e.Layers, blobName(l.Digest))
			a.plan(blobName(l.Digest), i, l)
		}
		for _, n := range i.Names {
			if !a.full {
				n = Familiar(n)
			}
			e.RepoTags = append(e.RepoTags, n)
		}
		table = addEntry(table, e)
	}
	for n := range table {
		slices.Sort(table[n].RepoTags)
		table[n].RepoTags = slices.Compact(table[n].RepoTags)
	}
	slices.SortFunc(table, func(x, y dockerEntry) int {
		return cmp.Or(slices.Compare(x.RepoTags, y.RepoTags), strings.Compare(x.Config, y.Config))
	})
	text, err := json.Marshal(table)
	if err != nil {
		return err
	}
	if err := a.text(dockerTable, text); err != nil {
		return err
	}
	return a.write()
}

// addEntry appends an image, or its names to the entry that is the same one.
func addEntry(table []dockerEntry, e dockerEntry) []dockerEntry {
	for n, have := range table {
		if have.Config == e.Config && slices.Equal(have.Layers, e.Layers) {
			table[n].RepoTags = append(have.RepoTags, e.RepoTags...)
			return table
		}
	}
	return append(table, e)
}

func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// plan notes a file, once.
func (a *archiver) plan(name string, i *Image, d ocispec.Descriptor) {
	if _, ok := a.from[name]; !ok && a.without[d.Digest] {
		i.skipped([]ocispec.Descriptor{d}, a.tell)
	} else if !ok {
		a.from[name] = item{i, d}
		a.tell.tell(Event{Kind: Found, Ref: i.String(), Bytes: d.Size})
	}
}

// write writes the files that were noted, by name.
func (a *archiver) write() error {
	for _, name := range slices.Sorted(maps.Keys(a.from)) {
		s := a.from[name]
		rc, err := s.image.counted(a.ctx, s.desc, a.tell, s.image.String())
		if err != nil {
			return err
		}
		err = a.file(name, s.desc.Size, rc)
		rc.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *archiver) text(name string, text []byte) error {
	return a.file(name, int64(len(text)), strings.NewReader(string(text)))
}

func (a *archiver) file(name string, size int64, r io.Reader) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if err := a.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(a.tar, r)
	return err
}
