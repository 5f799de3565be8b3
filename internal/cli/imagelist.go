package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/store"
)

// An imageList is what kiln's image store holds, as the commands show it.
type imageList struct {
	store  *store.Store // nil: there is no store yet, and no image
	known  *store.Known
	images []storedImage
}

// A storedImage is an entry of the store with what is known of it.
type storedImage struct {
	store.Image
	facts *store.Facts // nil where it is damaged
	err   error        // what is wrong with it

	label           string // its name for people; its digest if it has none
	repository, tag string // the name's parts; "<none>" for what there is not, as Docker has it
}

// storeDir is where kiln's image store is.
func (a *app) storeDir() (string, error) {
	o, err := a.engineOptions()
	if err != nil {
		return "", err
	}
	return filepath.Join(o.StateDir, "images"), nil
}

// openStore opens kiln's image store. One that nothing was put in yet is not
// made, and nil is returned.
func (a *app) openStore() (*store.Store, error) {
	dir, err := a.storeDir()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, ocispec.ImageIndexFile)); os.IsNotExist(err) {
		return nil, nil
	}
	s, err := store.Open(dir)
	if err != nil {
		return nil, &exitError{code: codeFailed, err: err}
	}
	return s, nil
}

// listImages reads the store, with the unpacked sizes of images if they are
// asked for. What is wrong with images is kept with each.
func (a *app) listImages(ctx context.Context, sizes bool) (*imageList, error) {
	s, err := a.openStore()
	if s == nil || err != nil {
		return &imageList{}, err
	}
	all, err := s.List(ctx)
	if err != nil {
		return nil, &exitError{code: codeFailed, err: err}
	}
	look := s.Glance
	if sizes {
		look = func(all []store.Image) (*store.Known, map[digest.Digest]error) {
			return s.Know(ctx, all, a.tellMeasuring)
		}
	}
	known, wrong := look(all)
	if len(wrong) > 0 { // some may have been removed meanwhile
		if all, err = s.List(ctx); err != nil {
			return nil, &exitError{code: codeFailed, err: err}
		}
		known, wrong = look(all)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &imageList{store: s, known: known}
	for _, im := range all {
		l.images = append(l.images, newStoredImage(im, known.Of(im.Target.Digest), wrong[im.Target.Digest]))
	}
	return l, nil
}

// tellMeasuring says why a list takes a while.
func (a *app) tellMeasuring(size int64) {
	fmt.Fprintf(a.Err, "measuring %s of layers that are new, this once\n", units.HumanSize(float64(size)))
}

// tellDamage warns of images that cannot be read.
func (a *app) tellDamage(list []storedImage) {
	for _, im := range list {
		if im.err != nil {
			name, rm := im.label, im.label
			if im.Name == "" && im.Image.Target.Digest.Validate() != nil { // another tool's
				name, rm = fmt.Sprintf("without a name (%q)", im.label), "--dangling"
			}
			fmt.Fprintf(a.Err, "warning: image %s is damaged: %v; build it again, or remove it with `kiln rm %s`\n", name, im.err, rm)
		}
	}
}

// familiar returns a full reference as people write it.
func familiar(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(named)
}

const noName = "<none>"

func splitName(name string) (repository, tag string) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return cmp.Or(oneLine(name, true), noName), noName // another tool's, which may hold anything
	}
	tag = noName
	if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return reference.FamiliarName(named), tag
}

func newStoredImage(im store.Image, facts *store.Facts, err error) storedImage {
	out := storedImage{Image: im, facts: facts, err: err, label: im.Target.Digest.String()}
	out.repository, out.tag = splitName(im.Name)
	switch {
	case im.Name == "":
	case out.tag == noName:
		out.label = out.repository
	default:
		out.label = out.repository + ":" + out.tag
	}
	return out
}

// variants are the image's platforms; one that says nothing where the image
// is damaged.
func (im storedImage) variants() []store.Variant {
	if im.facts == nil || len(im.facts.Platforms) == 0 {
		return []store.Variant{{Manifest: im.Target.Digest}}
	}
	return im.facts.Platforms
}

// created is when the image was made: of several platforms, the first.
func (im storedImage) created() time.Time {
	for _, v := range im.variants() {
		if !v.Created.IsZero() {
			return v.Created
		}
	}
	return im.Created
}

// storedSize adds up the image's blobs.
func (im storedImage) storedSize() int64 {
	if im.facts == nil {
		return store.Unknown
	}
	var n int64
	for _, b := range im.facts.Blobs {
		n += b.Size
	}
	return n
}

// A storeTotal adds up images; blobs that several of them have count once.
type storeTotal struct {
	Images int   `json:"images"` // different ones: several names of one count once
	Stored int64 `json:"storedSize"`
	Shared int64 `json:"sharedSize"` // of that, what at least two images have
}

func totalOf(list []storedImage) storeTotal {
	var t storeTotal
	images, blobs := map[digest.Digest]bool{}, map[digest.Digest]int{}
	for _, im := range list {
		if images[im.Target.Digest] {
			continue
		}
		images[im.Target.Digest] = true
		t.Images++
		if im.facts == nil {
			continue
		}
		for _, b := range im.facts.Blobs {
			switch blobs[b.Digest]++; blobs[b.Digest] {
			case 1:
				t.Stored += b.Size
			case 2:
				t.Shared += b.Size
			}
		}
	}
	return t
}

// humanSize writes a size as Docker does; "-" where nobody knows it.
func humanSize(n int64) string {
	if n < 0 {
		return "-"
	}
	return units.HumanSizeWithPrecision(float64(n), 3)
}

// humanAge writes how long ago a time is; "N/A" where there is none.
func humanAge(t, now time.Time) string {
	if t.IsZero() {
		return "N/A"
	}
	return units.HumanDuration(now.Sub(t)) + " ago"
}

// shortID is an ID as Docker shows it, in full with noTrunc; "-" for none.
func shortID(d digest.Digest, noTrunc bool) string {
	const digits = 12
	switch {
	case d == "" || d.Validate() != nil:
		return "-"
	case noTrunc:
		return d.String()
	}
	return d.Encoded()[:digits]
}
