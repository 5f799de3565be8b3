package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Relying on blobs. A build is told that a blob is there long before a name
// leads to it, and a push reads blobs whose name may be gone meanwhile. Who
// relies on a blob is an owner first, and then sets the blob's time to now.
// The garbage collection spares what is not older than the oldest living
// owner. Both look and act under a lock of their own, shared by those who rely
// on blobs, held alone for each removal: whoever comes second sees what the
// first did. See docs/decisions/0017-what-the-store-keeps.md.

// guardFile is locked for moments; it is never removed, as lockFile.
const guardFile = "kiln.guard"

// Use returns what ref stands for, as Resolve does, and keeps it, as Hold.
func (s *Store) Use(ctx context.Context, ref string) (ocispec.Descriptor, error) {
	if err := s.enroll(); err != nil {
		return ocispec.Descriptor{}, err
	}
	d, err := s.Resolve(ctx, ref)
	if err != nil {
		return d, err
	}
	return d, s.Hold(ctx, d)
}

// Hold keeps all that d leads to from GC, until the process ends or the
// store is closed. It is called before what d leads to is read, by whoever
// may still read when another has removed the image. What is not there is
// left out, but if d itself is not, the error is ErrNotFound.
func (s *Store) Hold(ctx context.Context, d ocispec.Descriptor) error {
	if err := s.enroll(); err != nil {
		return err
	}
	hold := func(ctx context.Context, d descriptor) ([]descriptor, error) {
		damaged, there, err := s.blobs.touch(d)
		if err != nil {
			return nil, s.explain("read", err)
		}
		if damaged || !there { // who reads it is told
			return nil, images.ErrSkipDesc
		}
		next, err := s.children(d)
		var wrong *blobError
		if errors.As(err, &wrong) {
			return nil, images.ErrSkipDesc // likewise
		}
		return next, err
	}
	if !exists(s.blobs.path(d.Digest)) {
		return fmt.Errorf("%s: %w", d.Digest, ErrNotFound)
	}
	return images.Walk(ctx, images.HandlerFunc(hold), stripData(d))
}

// enroll makes the store an owner. Where it may not write, it is none.
func (s *Store) enroll() error {
	if _, err := s.blobs.owned(); err != nil && !isReadOnly(err) {
		return s.explain("read", err)
	}
	return nil
}

func isReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}

// Close lets go of what Hold and the writing of blobs have kept, and ends the
// use of the store. The end of the process does, too.
func (s *Store) Close() error {
	if !s.blobs.owner.Load() {
		return nil
	}
	f, err := s.blobs.owned()
	if err != nil {
		return err
	}
	return f.Close()
}

// path returns the file of a blob. For a digest that is none, as another
// tool's list may hold, it is one that is never there.
func (o *ownContent) path(d digest.Digest) string {
	if d.Validate() != nil {
		return filepath.Join(o.dir, ocispec.ImageBlobsDir, "none")
	}
	return filepath.Join(o.dir, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// checkedSize is up to where a blob's content is compared before it is relied
// on: manifests and configurations, and no more than a moment.
const checkedSize = 64 << 10

// rely reports whether a blob is there, and if so keeps it. One that is not
// what its digest says is removed, where that is seen: it has not the size that
// d tells, or is small. But where d tells a wrong size of a blob that is right,
// nothing is to be done: whoever names it by d is told. The caller is an owner.
func (o *ownContent) rely(d descriptor) (there bool, err error) {
	damaged, there, err := o.touch(d)
	if err != nil || !damaged {
		return there, err
	}
	path := o.path(d.Digest)
	was, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if isWhole(path, d.Digest) {
		_, there, err := o.touch(descriptor{Digest: d.Digest})
		return there, err
	}
	unlock, err := o.guarded()
	if err != nil {
		return false, err
	}
	defer unlock()
	st, err := os.Stat(path)
	if err == nil {
		if !os.SameFile(was, st) { // another has written it anew meanwhile
			return true, nil
		}
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return false, err
}

// isWhole reports whether a file has the content that a digest stands for.
func isWhole(path string, d digest.Digest) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	sum := d.Verifier()
	_, err = io.Copy(sum, f)
	return err == nil && sum.Verified()
}

// touch sets a blob's time to now, if it is there and not seen to be damaged.
func (o *ownContent) touch(d descriptor) (damaged, there bool, err error) {
	if err := d.Digest.Validate(); err != nil {
		return false, false, fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	l := flock.New(o.guard)
	if err := l.RLock(); err != nil && !isReadOnly(err) {
		return false, false, err
	}
	defer func() { _ = l.Close() }()
	path, now := o.path(d.Digest), time.Now()
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, false, nil
	case err != nil:
		return false, false, err
	case o.differs(d, st.Size()):
		return true, false, nil
	}
	if err := os.Chtimes(path, now, now); err != nil && !isReadOnly(err) {
		return false, false, err
	}
	return false, true, nil
}

// differs reports whether a blob that is there, with a size, is seen at a
// glance not to be what d says.
func (o *ownContent) differs(d descriptor, size int64) bool {
	if d.Size > 0 && size != d.Size {
		return true
	}
	if size > checkedSize || !d.Digest.Algorithm().Available() {
		return false
	}
	text, err := os.ReadFile(o.path(d.Digest))
	return err == nil && d.Digest.Algorithm().FromBytes(text) != d.Digest
}

// guarded takes the lock under which blobs are removed.
func (o *ownContent) guarded() (unlock func(), err error) {
	l := flock.New(o.guard)
	if err := l.Lock(); err != nil {
		return nil, err
	}
	return func() { _ = l.Close() }, nil
}
