// Package store is kiln's image store: what was built is kept in a standard
// OCI image layout, so that other tools can read it as it stands.
//
//	DIR/oci-layout      the layout's version
//	DIR/index.json      the names, each with the manifest or index it stands for
//	DIR/blobs/          manifests, configurations and layers, by digest
//	DIR/ingest/         blobs that are being written
//	DIR/kiln.lock       held while index.json changes
//	DIR/kiln.owners     locked in part by each process that writes blobs, or needs them
//	DIR/kiln.guard      held for the moment in which a blob is removed, or found to be there
//	DIR/kiln.facts      what is known of images without reading them
//	DIR/kiln.records/   what was told of the builds that made them
//
// Blobs come in through Content, names through Put. A name is written only
// when every blob it leads to is there, and index.json is replaced as a whole,
// under a lock that all processes respect: a reader never sees half of it, and
// writers lose nothing to each other, wherever one of them is killed.
//
// Images go when they are removed, blobs when nothing leads to them and nobody
// may be about to need them: Remove, then GC.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/distribution/reference"
	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// lockFile is never removed: a lock on a file that another process removes
// and makes anew would be held twice.
const lockFile = "kiln.lock"

// lockRetry is how often a lock that another process holds is tried again.
const lockRetry = 5 * time.Millisecond

// ErrNotFound is returned by Resolve for a name that the store does not have.
var ErrNotFound = errors.New("no such image in the store")

// A Store is an open image store. Goroutines may share it, and any number of
// processes may have the same directory open.
type Store struct {
	dir     string
	blobs   *ownContent
	index   indexFile
	now     func() time.Time
	commit  sync.Mutex // held by the goroutine that changes the index
	pending queue      // changes that wait for commit
}

// An Image is one entry of the store.
type Image struct {
	Name    string // full reference, "docker.io/library/app:latest"; "" for an image that was put without one
	Target  ocispec.Descriptor
	Created time.Time // as its annotation tells; zero if it has none
	Stored  time.Time // when Put wrote the entry; zero if another tool did
	Origin            // of what built it, if kiln did
}

// An Origin says which target an image is of. It is handed to Put in the
// annotations of the descriptor, and returned by List alone.
type Origin struct {
	BuiltAs    string // name of the target; "" if it was not built, or by an earlier kiln
	Definition string // directory or URL of the definition; likewise
	Untagged   bool   // the target has no tags, and its image has its name from it
}

// The annotations of an Origin.
const (
	AnnotationTarget     = "io.github.kilnbuild.target"
	AnnotationDefinition = "io.github.kilnbuild.definition"
	AnnotationUntagged   = "io.github.kilnbuild.untagged" // "true"
)

// Open opens the store in dir, and makes it if it is not there. Temporary
// files that a killed process left are removed. A store
// on a read-only file system opens, and only Put fails.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, index: indexFile{path: filepath.Join(dir, ocispec.ImageIndexFile)}, now: time.Now}
	if err := s.create(); err != nil {
		return nil, s.explain("open", err)
	}
	s.sweep()
	blobs, err := openContent(dir)
	if err != nil {
		return nil, s.explain("open", err)
	}
	s.blobs = blobs
	if _, err := s.index.read(); err != nil {
		return nil, s.explain("open", err)
	}
	return s, nil
}

// Dir returns the directory of the layout.
func (s *Store) Dir() string { return s.dir }

// Content returns the blobs: where exporters write to, and where images that
// serve as a base are read from. All builds of a process share one.
func (s *Store) Content() content.Store { return s.blobs }

// Put gives desc the names refs, taking each from the image that has it now.
// Without names the image is kept under its digest alone. It is an error, and
// nothing changes, unless all that desc leads to is in the store, whole.
func (s *Store) Put(ctx context.Context, refs []string, desc ocispec.Descriptor) error {
	names, err := normalizeAll(refs)
	if err != nil {
		return err
	}
	c := &change{names: names, desc: desc}
	if err := s.put(ctx, c); err != nil {
		return err
	}
	if c.fresh {
		s.note(desc)
	}
	return nil
}

// put has the change written, with those of others that wait.
func (s *Store) put(ctx context.Context, c *change) error {
	s.pending.add(c)
	s.commit.Lock()
	defer s.commit.Unlock()
	if c.done { // by a goroutine that held the lock before us
		return c.err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		s.pending.drop(c)
		return s.explain("write", err)
	}
	defer unlock()
	s.apply(context.WithoutCancel(ctx), s.pending.take())
	return c.err
}

// List returns all images, by name.
func (s *Store) List(context.Context) ([]Image, error) {
	idx, err := s.index.read()
	if err != nil {
		return nil, s.explain("read", err)
	}
	images := make([]Image, 0, len(idx.Manifests))
	for _, d := range idx.Manifests {
		images = append(images, imageOf(d))
	}
	return images, nil
}

// Resolve returns the manifest or index that ref stands for: a name with or
// without tag, a name with a digest, or a digest alone. Where there is none
// the error is ErrNotFound.
func (s *Store) Resolve(_ context.Context, ref string) (ocispec.Descriptor, error) {
	match, err := matcher(ref)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	idx, err := s.index.read()
	if err != nil {
		return ocispec.Descriptor{}, s.explain("read", err)
	}
	i := slices.IndexFunc(idx.Manifests, match)
	if i < 0 {
		return ocispec.Descriptor{}, notFound(ref)
	}
	return bare(idx.Manifests[i]), nil
}

func notFound(ref string) error { return fmt.Errorf("%q: %w", ref, ErrNotFound) }

// Match returns what tells whether ref stands for the image of a full name and
// a digest: as a name with or without tag, a name with a digest, or a digest.
func Match(ref string) (func(name string, d digest.Digest) bool, error) {
	if want, err := digest.Parse(ref); err == nil {
		return func(_ string, d digest.Digest) bool { return d == want }, nil
	}
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", ref, err)
	}
	if want, ok := named.(reference.Digested); ok {
		return func(name string, d digest.Digest) bool {
			return d == want.Digest() && repositoryOf(name) == named.Name()
		}, nil
	}
	full := named.String()
	return func(name string, _ digest.Digest) bool { return name == full }, nil
}

// matcher returns what tells the entries that ref stands for.
func matcher(ref string) (func(ocispec.Descriptor) bool, error) {
	match, err := Match(ref)
	if err != nil {
		return nil, err
	}
	return func(e ocispec.Descriptor) bool { return match(nameOf(e), e.Digest) }, nil
}

// lock takes the lock between processes; the caller holds s.commit.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	l := flock.New(filepath.Join(s.dir, lockFile))
	if _, err := l.TryLockContext(ctx, lockRetry); err != nil {
		return nil, err
	}
	return func() { _ = l.Close() }, nil // closing lets go of the lock; nothing was written to the file
}

// create makes what a layout must have, where it is missing.
func (s *Store) create() error {
	layout, index := filepath.Join(s.dir, ocispec.ImageLayoutFile), s.index.path
	if exists(layout) && exists(index) {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(s.dir, ocispec.ImageBlobsDir, digest.Canonical.String()), 0o755); err != nil {
		return err
	}
	unlock, err := s.lock(context.Background()) // held for moments only, and Open takes no context
	if err != nil {
		return err
	}
	defer unlock()
	if !exists(layout) {
		if err := replaceFile(layout, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`)); err != nil {
			return err
		}
	}
	if exists(index) {
		return nil
	}
	return s.index.write(ocispec.Index{})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
