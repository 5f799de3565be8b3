package store

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/atomicfile"
)

// HasRecord reports whether there is a record of the build of an image as a
// target.
func (s *Store) HasRecord(d digest.Digest, target string) bool {
	return exists(s.recordPath(d, target))
}

// PutRecord keeps what is known of the build of an image as a target, in the
// caller's own format, in place of what there was. It is readable by its
// owner only, and goes when the image is removed.
func (s *Store) PutRecord(d digest.Digest, target string, record []byte) error {
	path := s.recordPath(d, target)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return s.explain("write", err)
	}
	if err := atomicfile.Write(path, record, atomicfile.Options{Prefix: tempPrefix}); err != nil {
		return s.explain("write", err)
	}
	return nil
}

// Record returns what PutRecord kept; nil if there is nothing.
func (s *Store) Record(d digest.Digest, target string) ([]byte, error) {
	record, err := os.ReadFile(s.recordPath(d, target))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.explain("read", err)
	}
	return record, nil
}

func (s *Store) recordPath(d digest.Digest, target string) string {
	return filepath.Join(s.recordDir(d), url.PathEscape(target)+".json")
}

// dropRecords removes the records of images that are no longer in the list.
// A record is written after its image, so that there is none yet whose image
// is still to come.
func (s *Store) dropRecords(idx ocispec.Index) {
	keep := map[string]bool{}
	for d := range rootsOf(idx) { // a set, whose order does not matter
		keep[s.recordDir(d)] = true
	}
	for _, dir := range s.glob(recordsDir + "/*") {
		if !keep[dir] {
			_ = os.RemoveAll(dir)
		}
	}
}
