package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A tree is the files of a layout: a directory, or what a tar file holds. It
// returns fs.ErrNotExist for what is not there.
type tree interface {
	file(name string) (io.ReadCloser, error)
	size(name string) (int64, error)
}

// A dirTree is a directory.
type dirTree string

func (d dirTree) file(name string) (io.ReadCloser, error) {
	p := filepath.Join(string(d), filepath.FromSlash(name))
	info, err := os.Lstat(p)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a link would lead out of the layout
		return nil, fmt.Errorf("%s is not a regular file", p)
	}
	return os.Open(p)
}

func (d dirTree) size(name string) (int64, error) {
	info, err := os.Lstat(filepath.Join(string(d), filepath.FromSlash(name)))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// A layout reads blobs of an OCI layout.
type layout struct{ tree }

func (l layout) open(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := l.file(path.Join(ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &missingError{d.Digest}
	}
	return rc, err
}

// isLayout reports whether the files are those of an OCI layout.
func isLayout(t tree) bool {
	_, err := t.size(ocispec.ImageLayoutFile)
	if err == nil {
		_, err = t.size(ocispec.ImageIndexFile)
	}
	return err == nil
}

// images returns the entries of a layout's index, those of one image joined.
// Names of the entries that have none come from known, by digest.
func (l layout) images(where string, place Place) ([]*Image, error) {
	var idx ocispec.Index
	if err := readJSON(l, ocispec.ImageIndexFile, &idx); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	var out []*Image
	for _, d := range idx.Manifests {
		ref, tag := entryName(d)
		i := &Image{Place: place, Where: where, Desc: plain(d), from: l, tag: tag}
		if ref != "" {
			i.Names = []string{ref}
		}
		out = join(out, i)
	}
	return out, nil
}

// join appends an image, or its name to the image that is there already.
func join(list []*Image, i *Image) []*Image {
	for _, have := range list {
		if have.Desc.Digest == i.Desc.Digest {
			for _, n := range i.Names {
				if !have.hasName(n) {
					have.Names = append(have.Names, n)
				}
			}
			return list
		}
	}
	return append(list, i)
}

// plain returns a descriptor without what its place says of it.
func plain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: d.Platform, ArtifactType: d.ArtifactType}
}

// readJSON reads a small file of a tree.
func readJSON(t tree, name string, v any) error {
	size, err := t.size(name)
	if err != nil {
		return err
	}
	if size > mostManifest {
		return fmt.Errorf("%s has %d bytes, and may have %d", name, size, mostManifest)
	}
	rc, err := t.file(name)
	if err != nil {
		return err
	}
	defer rc.Close()
	if err := json.NewDecoder(rc).Decode(v); err != nil {
		return fmt.Errorf("%s is no JSON of the right shape: %w", name, err)
	}
	return nil
}
