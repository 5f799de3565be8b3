package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Blob is a file of the store.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // in bytes
}

// A reach is a set of blobs, with their sizes as the descriptors tell that
// lead to them.
type reach map[digest.Digest]int64

// children returns what a descriptor's blob leads to. The blob is compared
// with its digest; where it is not that, or is not there, the error is a
// *blobError.
func (s *Store) children(d descriptor) ([]descriptor, error) {
	if !images.IsManifestType(d.MediaType) && !images.IsIndexType(d.MediaType) {
		return nil, nil
	}
	text, err := s.read(d)
	if err != nil {
		return nil, err
	}
	var list struct {
		Config    *descriptor  `json:"config"`
		Layers    []descriptor `json:"layers"`
		Manifests []descriptor `json:"manifests"`
		Blobs     []descriptor `json:"blobs"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, &blobError{d.Digest, "is no JSON of a manifest: " + err.Error()}
	}
	out := slices.Concat(list.Manifests, list.Layers, list.Blobs)
	if list.Config != nil && list.Config.Digest != "" {
		out = append(out, *list.Config)
	}
	return out, nil
}

// isList reports whether a descriptor is that of an index.
func isList(d descriptor) bool { return images.IsIndexType(d.MediaType) }

// mostManifest is how large a manifest or a configuration may be, in bytes.
const mostManifest = 16 << 20

// read returns a small blob, whole and compared with its digest. The error is
// a *blobError where it is not as it should be.
func (s *Store) read(d descriptor) ([]byte, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, &blobError{d.Digest, "is named by what is no digest"}
	}
	path := s.blobs.path(d.Digest)
	if st, err := os.Stat(path); err == nil && st.Size() > mostManifest {
		return nil, &blobError{d.Digest, fmt.Sprintf("has %d bytes, too many for a manifest", st.Size())}
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &blobError{d.Digest, missing}
	case err != nil:
		return nil, err
	}
	if got := d.Digest.Algorithm().FromBytes(text); got != d.Digest {
		return nil, &blobError{d.Digest, fmt.Sprintf("has the content of %s", got)}
	}
	return text, nil
}

const missing = "is missing"

// A blobError says what is wrong with a blob.
type blobError struct {
	digest digest.Digest
	reason string
}

func (e *blobError) Error() string {
	return fmt.Sprintf("blob %s %s", cmp.Or(e.digest, `""`), e.reason)
}

// reached returns all that the entries lead to. What is not there leads
// nowhere: a layout may hold some platforms of an index only. What is there
// and damaged is an error, for nobody knows what it should lead to.
func (s *Store) reached(ctx context.Context, entries []descriptor) (reach, error) {
	all := reach{}
	for _, e := range entries {
		if err := s.follow(ctx, e, all); err != nil {
			return nil, fmt.Errorf("image %s is damaged: %w; build it again, or remove it", labelOf(e), err)
		}
	}
	return all, nil
}

// follow adds to all what d leads to, and d itself.
func (s *Store) follow(ctx context.Context, d descriptor, all reach) error {
	if _, known := all[d.Digest]; known {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	all[d.Digest] = d.Size
	next, err := s.children(d)
	var damaged *blobError
	if errors.As(err, &damaged) && damaged.reason == missing {
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range next {
		if err := s.follow(ctx, c, all); err != nil {
			return err
		}
	}
	return nil
}

// labelOf names an entry for people.
func labelOf(d descriptor) string {
	return cmp.Or(nameOf(d), d.Digest.String(), "without a name and a digest")
}

// list returns the blobs that are there, by digest. Files that are named for
// no digest belong to others.
func (s *Store) list() ([]Blob, error) {
	root := filepath.Join(s.dir, ocispec.ImageBlobsDir)
	algorithms, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var blobs []Blob
	for _, a := range algorithms {
		files, err := os.ReadDir(filepath.Join(root, a.Name()))
		if err != nil && a.IsDir() {
			return nil, err
		}
		for _, f := range files {
			d := digest.NewDigestFromEncoded(digest.Algorithm(a.Name()), f.Name())
			info, err := f.Info()
			if err != nil || !info.Mode().IsRegular() || d.Validate() != nil {
				continue // removed meanwhile, or not ours
			}
			blobs = append(blobs, Blob{d, info.Size()})
		}
	}
	slices.SortFunc(blobs, func(a, b Blob) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return blobs, nil
}

// sizeOf adds up blobs.
func sizeOf(blobs []Blob) int64 {
	var n int64
	for _, b := range blobs {
		n += b.Size
	}
	return n
}
