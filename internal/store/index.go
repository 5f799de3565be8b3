package store

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The annotations of an entry. Both name annotations hold the full reference:
// with the tag alone in the first, as BuildKit writes it, a/app:latest and
// b/app:latest could not be told apart by tools that know only that one.
const (
	annotationRef     = ocispec.AnnotationRefName // org.opencontainers.image.ref.name
	annotationName    = "io.containerd.image.name"
	annotationCreated = ocispec.AnnotationCreated
	annotationStored  = "io.github.kilnbuild.stored" // time of Put
)

// tempPrefix begins the names of files that wait to be renamed.
const tempPrefix = ".kiln-tmp-"

type descriptor = ocispec.Descriptor

// An indexFile reads and replaces index.json. Goroutines may share it.
type indexFile struct {
	path string
	mu   sync.Mutex // guards last and from
	last ocispec.Index
	// from is the file that last was read from. It is nil if none was, or if
	// that was young: the next may have its number, its size and, within a tick
	// of the system's clock, its time.
	from os.FileInfo
}

// read returns the index as it is on disk. The caller must not change it.
func (f *indexFile) read() (ocispec.Index, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.Open(f.path)
	if err != nil {
		return ocispec.Index{}, err
	}
	defer func() { _ = file.Close() }()
	stat, err := file.Stat()
	if err != nil {
		return ocispec.Index{}, err
	}
	if f.from != nil && sameFile(f.from, stat) {
		return f.last, nil
	}
	var idx ocispec.Index
	if err := json.NewDecoder(file).Decode(&idx); err != nil {
		return ocispec.Index{}, &damagedError{path: f.path, err: err}
	}
	f.last, f.from = idx, nil
	if time.Since(stat.ModTime()) > clockSlack {
		f.from = stat
	}
	return idx, nil
}

// sameFile reports whether nobody replaced or rewrote the file between a and b.
func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// write replaces the file, with its entries by name.
func (f *indexFile) write(idx ocispec.Index) error {
	idx.Versioned = specs.Versioned{SchemaVersion: 2}
	idx.MediaType = ocispec.MediaTypeImageIndex
	if idx.Manifests == nil {
		idx.Manifests = []descriptor{} // the specification wants a list, even an empty one
	}
	slices.SortStableFunc(idx.Manifests, func(a, b descriptor) int {
		return cmp.Or(strings.Compare(nameOf(a), nameOf(b)), strings.Compare(a.Digest.String(), b.Digest.String()))
	})
	text, err := json.MarshalIndent(idx, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(f.path, append(text, '\n'))
}

// replaceFile writes a file so that whoever looks sees the old one or the
// new one, whole, also after a power cut.
func replaceFile(path string, text []byte) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(text); err != nil {
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// entries returns what the change adds: one entry a name, or a single one
// without name.
func (c *change) entries(now time.Time) []descriptor {
	names := c.names
	if len(names) == 0 {
		names = []string{""}
	}
	var entries []descriptor
	for _, name := range names {
		entries = append(entries, c.entry(name, now))
	}
	return entries
}

func (c *change) entry(name string, now time.Time) descriptor {
	e := c.desc
	e.Data = nil
	e.Annotations = maps.Clone(e.Annotations)
	if e.Annotations == nil {
		e.Annotations = make(map[string]string)
	}
	delete(e.Annotations, annotationRef)
	delete(e.Annotations, annotationName)
	if name != "" {
		e.Annotations[annotationRef], e.Annotations[annotationName] = name, name
	}
	stamp := now.UTC().Format(time.RFC3339)
	if e.Annotations[annotationCreated] == "" {
		e.Annotations[annotationCreated] = stamp
	}
	e.Annotations[annotationStored] = stamp
	return e
}

// setEntry puts e in the place of the entry of its name, or of its digest if
// it has no name, and reports whether that made a difference.
func setEntry(idx *ocispec.Index, e descriptor) bool {
	name := nameOf(e)
	i := slices.IndexFunc(idx.Manifests, func(o descriptor) bool {
		return nameOf(o) == name && (name != "" || o.Digest == e.Digest)
	})
	switch {
	case i < 0:
		idx.Manifests = append(idx.Manifests, e)
	case idx.Manifests[i].Digest == e.Digest && idx.Manifests[i].Annotations[annotationStored] != "" &&
		(originOf(e) == Origin{} || originOf(e) == originOf(idx.Manifests[i])):
		return false
	default:
		idx.Manifests[i] = e
	}
	return true
}

// nameOf returns the reference of an entry, normalised where another tool
// wrote it in a shorter form; "" if it has none.
func nameOf(d descriptor) string {
	if d.Annotations[annotationStored] != "" { // kiln wrote it, in full
		return d.Annotations[annotationName]
	}
	for _, key := range []string{annotationName, annotationRef} {
		if name := d.Annotations[key]; name != "" {
			if full, err := Normalize(name); err == nil {
				return full
			}
			return name
		}
	}
	return ""
}

// bare returns d without what the store itself noted.
func bare(d descriptor) descriptor {
	d.Annotations = maps.Clone(d.Annotations)
	for _, key := range []string{annotationName, annotationRef, annotationStored, AnnotationTarget, AnnotationDefinition, AnnotationUntagged} {
		delete(d.Annotations, key)
	}
	return d
}

func imageOf(d descriptor) Image {
	return Image{
		Name:    nameOf(d),
		Target:  bare(d),
		Created: timeOf(d, annotationCreated),
		Stored:  timeOf(d, annotationStored),
		Origin:  originOf(d),
	}
}

func originOf(d descriptor) Origin {
	return Origin{BuiltAs: d.Annotations[AnnotationTarget], Definition: d.Annotations[AnnotationDefinition], Untagged: d.Annotations[AnnotationUntagged] == "true"}
}

func timeOf(d descriptor, key string) time.Time {
	t, err := time.Parse(time.RFC3339, d.Annotations[key])
	if err != nil {
		return time.Time{}
	}
	return t
}

// A damagedError says that index.json is not JSON of the right shape.
type damagedError struct {
	path string
	err  error
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("%s is damaged: %v; move it away to begin with an empty list of images (the blobs stay)", e.path, e.err)
}

func (e *damagedError) Unwrap() error { return e.err }
