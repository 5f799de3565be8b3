package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Facts. What a list of images shows of an image never changes, as its digest
// stands for all of it. So it is read once, when the image is put, and kept in
// a file, a line a fact. Of images that others put, and of layers that were
// too large to look into then, it is read when somebody asks. The file is a
// help and no more: what it lacks is found out again.

// factsFile is appended to by any process, without a lock; GC replaces it.
const factsFile = "kiln.facts"

// Facts are what is known of an image by its digest.
type Facts struct {
	Digest    digest.Digest `json:"image"`
	Platforms []Variant     `json:"platforms"` // in the order of the index; one, unless it is an index
	Blobs     []Blob        `json:"blobs"`     // all it leads to, by digest, itself among them
}

// A Variant is the image of one platform.
type Variant struct {
	Platform string          `json:"platform,omitempty"` // "linux/amd64"; "" if nothing tells
	Manifest digest.Digest   `json:"manifest"`
	ID       digest.Digest   `json:"id"` // of the configuration: the image's ID, as Docker has it
	Created  time.Time       `json:"created,omitzero"`
	Layers   []digest.Digest `json:"layers,omitempty"` // lowest first
	Size     int64           `json:"size"`             // of manifest, configuration and layers as they are stored, in bytes
}

// leastID is how many digits of an ID are asked for at least: fewer are too
// easily hit.
const leastID = 4

// MayBeID reports whether text can be the beginning of an ID.
func MayBeID(text string) bool {
	text = idDigits(text)
	return len(text) >= leastID && strings.Trim(text, "0123456789abcdef") == ""
}

func idDigits(text string) string {
	return strings.ToLower(strings.TrimPrefix(text, digest.Canonical.String()+":"))
}

// HasID reports whether text is the beginning of a digest by which people call
// an entry of the store: its own, or that of a manifest or a configuration of
// its platforms, as far as f knows them, which may be nil.
func (im Image) HasID(f *Facts, text string) bool {
	if !MayBeID(text) {
		return false
	}
	text = idDigits(text)
	ids := []digest.Digest{im.Target.Digest}
	if f != nil {
		for _, v := range f.Platforms {
			ids = append(ids, v.ID, v.Manifest)
		}
	}
	return slices.ContainsFunc(ids, func(d digest.Digest) bool {
		return d.Validate() == nil && strings.HasPrefix(d.Encoded(), text)
	})
}

// Unknown is the unpacked size of a layer that cannot be unpacked.
const Unknown = -1

// Known is what is known of a list of images.
type Known struct {
	images map[digest.Digest]*Facts
	layers map[digest.Digest]int64
}

// Of returns the facts of an image; nil if it could not be read.
func (k *Known) Of(d digest.Digest) *Facts { return k.images[d] }

// Unpacked returns how many bytes the files of layers take when they are
// unpacked, or Unknown.
func (k *Known) Unpacked(layers []digest.Digest) int64 {
	var n int64
	for _, l := range layers {
		size, ok := k.layers[l]
		if !ok || size < 0 {
			return Unknown
		}
		n += size
	}
	return n
}

// A factLine is a line of the file: an image or a layer.
type factLine struct {
	*Facts
	Layer    digest.Digest `json:"layer,omitempty"`
	Unpacked int64         `json:"unpacked,omitempty"`
}

// Know returns what there is to know of images, reading what nobody has read
// before. Measuring is called once before layers are unpacked that will take
// a while, with their size; it may be nil. The first thing that is wrong with
// an image is in the error, by digest.
func (s *Store) Know(ctx context.Context, list []Image, measuring func(size int64)) (*Known, map[digest.Digest]error) {
	k, fresh, wrong := s.look(list)
	fresh = append(fresh, s.measureAll(ctx, k, list, measuring)...)
	s.remember(fresh)
	return k, wrong
}

// Glance is Know for who does not ask for unpacked sizes: no layer is read.
func (s *Store) Glance(list []Image) (*Known, map[digest.Digest]error) {
	k, fresh, wrong := s.look(list)
	s.remember(fresh)
	return k, wrong
}

// look returns what is known of images without their layers, and what of that
// is new.
func (s *Store) look(list []Image) (*Known, []factLine, map[digest.Digest]error) {
	k := s.readFacts()
	wrong := map[digest.Digest]error{}
	var fresh []factLine
	for _, im := range list {
		d := im.Target.Digest
		if k.images[d] != nil || wrong[d] != nil {
			continue
		}
		f, err := s.facts(im.Target)
		if err != nil {
			wrong[d] = err
			continue
		}
		k.images[d] = f
		fresh = append(fresh, factLine{Facts: f})
	}
	return k, fresh, wrong
}

// slow is the size of layers from which unpacking them takes a while.
const slow = 64 << 20

// measureAll finds the unpacked sizes of the layers of which nobody knows it.
func (s *Store) measureAll(ctx context.Context, k *Known, list []Image, measuring func(int64)) []factLine {
	var todo []digest.Digest
	size := int64(0)
	for _, im := range list {
		f := k.images[im.Target.Digest]
		if f == nil {
			continue
		}
		for _, v := range f.Platforms {
			for _, l := range v.Layers {
				if _, known := k.layers[l]; !known {
					k.layers[l] = Unknown
					todo = append(todo, l)
					size += f.sizeOf(l)
				}
			}
		}
	}
	if size >= slow && measuring != nil {
		measuring(size)
	}
	sizes := make([]int64, len(todo))
	var eg errgroup.Group
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for i, l := range todo {
		eg.Go(func() error {
			sizes[i] = s.measure(ctx, l)
			return nil
		})
	}
	_ = eg.Wait() // of functions that return nil
	var lines []factLine
	for i, l := range todo {
		if sizes[i] != Unknown {
			k.layers[l] = sizes[i]
			lines = append(lines, factLine{Layer: l, Unpacked: sizes[i]})
		}
	}
	return lines
}

// sizeOf returns the stored size of a blob; 0 if the image does not have it.
func (f *Facts) sizeOf(d digest.Digest) int64 {
	i, found := slices.BinarySearchFunc(f.Blobs, d, func(b Blob, d digest.Digest) int {
		return strings.Compare(string(b.Digest), string(d))
	})
	if !found {
		return 0
	}
	return f.Blobs[i].Size
}

// facts reads an image.
func (s *Store) facts(d descriptor) (*Facts, error) {
	all := reach{}
	if err := s.follow(context.Background(), d, all); err != nil { // a few small files
		return nil, err
	}
	f := &Facts{Digest: d.Digest}
	for b, size := range all { // sorted below
		f.Blobs = append(f.Blobs, Blob{b, size})
	}
	slices.SortFunc(f.Blobs, func(a, b Blob) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	var err error
	f.Platforms, err = s.variants(d, 0)
	return f, err
}

// mostNested is how deep indexes may stand in each other.
const mostNested = 4

// variants reads the platforms of an image. Those of an index that are not in
// the store are left out, unless none is there.
func (s *Store) variants(d descriptor, depth int) ([]Variant, error) {
	if !images.IsIndexType(d.MediaType) || depth == mostNested {
		v, err := s.variant(d)
		if err != nil {
			return nil, err
		}
		return []Variant{v}, nil
	}
	next, err := s.children(d)
	if err != nil {
		return nil, err
	}
	var out []Variant
	var absent error
	for _, c := range next {
		if c.Annotations["vnd.docker.reference.type"] != "" { // an attestation
			continue
		}
		more, err := s.variants(c, depth+1)
		var e *blobError
		switch {
		case errors.As(err, &e) && e.reason == missing:
			absent = cmp.Or(absent, err)
		case err != nil:
			return nil, err
		}
		out = append(out, more...)
	}
	if len(out) == 0 {
		return nil, absent
	}
	return out, nil
}

// variant reads a manifest and its configuration.
func (s *Store) variant(d descriptor) (Variant, error) {
	v := Variant{Manifest: d.Digest, Size: d.Size}
	text, err := s.read(d)
	if err != nil {
		return v, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return v, &blobError{d.Digest, "is no JSON of a manifest: " + err.Error()}
	}
	v.ID, v.Size = m.Config.Digest, v.Size+m.Config.Size
	for _, l := range m.Layers {
		v.Layers, v.Size = append(v.Layers, l.Digest), v.Size+l.Size
	}
	if d.Platform != nil {
		v.Platform = platforms.Format(*d.Platform)
	}
	if m.Config.Digest == "" {
		return v, nil // an artifact of some kind
	}
	if text, err = s.read(m.Config); err != nil {
		return v, err
	}
	var cfg struct {
		Created *time.Time `json:"created"`
		ocispec.Platform
	}
	if json.Unmarshal(text, &cfg) != nil {
		return v, nil // likewise
	}
	if cfg.Created != nil {
		v.Created = cfg.Created.UTC()
	}
	if v.Platform == "" && cfg.OS != "" {
		v.Platform = platforms.Format(cfg.Platform)
	}
	return v, nil
}

// readFacts reads the file. Lines that are not whole count as not there.
func (s *Store) readFacts() *Known {
	k := &Known{images: map[digest.Digest]*Facts{}, layers: map[digest.Digest]int64{}}
	text, err := os.ReadFile(filepath.Join(s.dir, factsFile))
	if err != nil {
		return k
	}
	for line := range bytes.Lines(text) {
		var l factLine
		if len(line) < 2 || json.Unmarshal(line, &l) != nil {
			continue
		}
		switch {
		case l.Layer != "":
			k.layers[l.Layer] = l.Unpacked
		case l.Facts != nil && l.Digest != "":
			k.images[l.Digest] = l.Facts
		}
	}
	return k
}

// remember appends to the file. Each line has an end before it, too: what a
// killed process has left of a line spoils no other.
func (s *Store) remember(lines []factLine) {
	if len(lines) == 0 {
		return
	}
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteByte('\n')
		if err := json.NewEncoder(&b).Encode(l); err != nil {
			return // strings and numbers always encode
		}
	}
	f, err := os.OpenFile(filepath.Join(s.dir, factsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	_, _ = f.Write(b.Bytes())
	_ = f.Close()
}

// note remembers an image that was put, and what its small layers hold. To
// look into large ones takes too long for a build to wait.
func (s *Store) note(d descriptor) {
	f, err := s.facts(d)
	if err != nil {
		return // whoever lists it is told
	}
	lines := []factLine{{Facts: f}}
	for _, v := range f.Platforms {
		for _, l := range v.Layers {
			if size := f.sizeOf(l); size <= small {
				if n := s.measure(context.Background(), l); n != Unknown {
					lines = append(lines, factLine{Layer: l, Unpacked: n})
				}
			}
		}
	}
	s.remember(lines)
}

// small is the size of a layer that is unpacked in less than a millisecond.
const small = 32 << 10

// compactFacts leaves in the file what is known of the images that are there.
// What another process appends meanwhile may be lost, and is found out again.
func (s *Store) compactFacts(idx ocispec.Index) {
	k := s.readFacts()
	var b bytes.Buffer
	seen := map[digest.Digest]bool{}
	var lines []factLine
	for _, d := range idx.Manifests {
		f := k.images[d.Digest]
		if f == nil || seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		lines = append(lines, factLine{Facts: f})
		for _, v := range f.Platforms {
			for _, l := range v.Layers {
				if n, ok := k.layers[l]; ok && !seen[l] {
					seen[l] = true
					lines = append(lines, factLine{Layer: l, Unpacked: n})
				}
			}
		}
	}
	e := json.NewEncoder(&b)
	for _, l := range lines {
		if e.Encode(l) != nil {
			return // strings and numbers always encode
		}
	}
	_ = replaceFile(filepath.Join(s.dir, factsFile), b.Bytes())
}
