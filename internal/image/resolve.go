package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/internal/registry"
	"github.com/kilnbuild/kiln/internal/store"
)

// A Resolver finds images by what users write:
//
//	api                          api:latest of the store, else what the target api last built
//	                             (also where an ID begins so: feed, cafe)
//	example.com/api:1            of the store, else, as it names one, of that registry
//	sha256:…, 3f2a9c             of the store, by digest or the beginning of an ID
//	store://api:1                of the store and nowhere else
//	docker://example.com/api:1   of that registry and nowhere else
//	oci:DIR[:REF]                of an OCI layout
//	oci-archive:FILE[:REF]       of a tar file with an OCI layout
//	docker-archive:FILE[:REF]    of what `docker save` writes
//	./image.tar, DIR             the same, whichever it is
//
// Its zero value knows nothing but paths. Goroutines may not share it.
type Resolver struct {
	Store *store.Store // nil: there is none
	// Definition returns where the build file is whose targets are meant, as
	// the store notes it with images; "" if there is none. It may be nil. It is
	// called where several build files have built a target of one name.
	Definition func() string
	// Targets returns the names of the targets of the build file, of which
	// errors tell; it may be nil.
	Targets    func() []string
	Registries registry.Options
	Dir        string    // that paths are relative to; "" is the working directory
	Stdin      io.Reader // the file that "-" names
	Temp       string    // for copies of packed archives; "" is the system's
	// Note is told what users should know of an image that was found, in a
	// sentence without its full stop; it may be nil.
	Note func(text string)

	open   []io.Closer
	remote []remote.Option // made when the first registry is asked
}

// Close closes the files that images are read from.
func (r *Resolver) Close() error {
	var errs []error
	for _, c := range r.open {
		errs = append(errs, c.Close())
	}
	r.open = nil
	return errors.Join(errs...)
}

// A NotFoundError says that there is no image of that name.
type NotFoundError struct {
	Ref   string
	Where string // "the store", "registry example.com", "./image.tar"
	Near  string // the nearest name that is there; "" if none is near
	Hint  string // "" or where else it might be
}

func (e *NotFoundError) Error() string {
	text := fmt.Sprintf("no image %q in %s", e.Ref, e.Where)
	if e.Near != "" {
		text += fmt.Sprintf(" (did you mean %q?)", e.Near)
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Find returns the one image that text stands for. Where an archive or a
// layout holds several, the error lists them.
func (r *Resolver) Find(ctx context.Context, text string) (*Image, error) {
	all, err := r.FindAll(ctx, text)
	if err != nil {
		return nil, err
	}
	if len(all) > 1 {
		return nil, fmt.Errorf("%s holds %d images (%s); say which one, as in %s:%s", text, len(all), names(all), text, nth(all, 0))
	}
	return all[0], nil
}

// FindAll returns the images that text stands for, at least one: of an
// archive or a layout without a reference all that it holds.
func (r *Resolver) FindAll(ctx context.Context, text string) ([]*Image, error) {
	all, err := r.placed(ctx, text)
	if all == nil && err == nil {
		all, err = r.named(ctx, text)
	}
	return r.present(ctx, all), err
}

// FindOutside is FindAll for what is to be brought into the store: a word is
// a path, and never what the store has.
func (r *Resolver) FindOutside(ctx context.Context, text string) ([]*Image, error) {
	if strings.HasPrefix(text, "store://") {
		return nil, fmt.Errorf("%q is in the store already", text)
	}
	all, err := r.placed(ctx, text)
	if all != nil || err != nil {
		return r.present(ctx, all), err
	}
	path, ref := r.splitPath(text)
	if _, err := os.Stat(r.abs(path)); err != nil && namesRegistry(text) {
		return one(r.ask(ctx, text))
	}
	all, err = r.inFile(path, ref, "")
	return r.present(ctx, all), err
}

// present narrows images of files to the platforms that are there: Docker
// writes those of an image that it has, under an index of all.
func (r *Resolver) present(ctx context.Context, all []*Image) []*Image {
	for n, i := range all {
		narrow, absent := i.present(ctx)
		if all[n] = narrow; len(absent) > 0 && r.Note != nil {
			r.Note(fmt.Sprintf("%s lists platforms that are not there (%s); what is there has another digest, %s", i, platformsOf(absent), narrow.Desc.Digest))
		}
	}
	return all
}

// placed returns the images of a text that says the place; none if it does not.
func (r *Resolver) placed(ctx context.Context, text string) ([]*Image, error) {
	if text == "" {
		return nil, errors.New("the name of an image is empty")
	}
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		switch scheme {
		case "docker":
			return one(r.ask(ctx, rest))
		case "store":
			return one(r.stored(ctx, rest))
		}
		return nil, fmt.Errorf("%q: kiln knows the places store://, docker:// (a registry), oci:, oci-archive: and docker-archive: only", text)
	}
	for _, p := range []Place{InLayout, InOCIArchive, InDockerArchive} {
		if rest, ok := strings.CutPrefix(text, string(p)+":"); ok && !r.isTag(rest) {
			path, ref, _ := strings.Cut(rest, ":")
			return r.inFile(path, ref, p)
		}
	}
	if text == "-" || isPath(text) {
		path, ref := r.splitPath(text)
		return r.inFile(path, ref, "")
	}
	return nil, nil
}

func one(i *Image, err error) ([]*Image, error) {
	if err != nil {
		return nil, err
	}
	return []*Image{i}, nil
}

// isTag reports whether what follows "oci:" may as well be the tag of a
// repository of that name: there is no such file then.
func (r *Resolver) isTag(rest string) bool {
	if rest == "" || strings.ContainsAny(rest, "/:") {
		return false
	}
	_, err := os.Lstat(r.abs(rest))
	return err != nil && reference.TagRegexp.FindString(rest) == rest && !strings.Contains(rest, ".")
}

// isPath reports whether a text can only be a path.
func isPath(text string) bool {
	return filepath.IsAbs(text) || text == "." || text == ".." || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../")
}

// splitPath parts "PATH[:REF]", where PATH may have colons if it exists.
func (r *Resolver) splitPath(text string) (path, ref string) {
	if _, err := os.Stat(r.abs(text)); err == nil {
		return text, ""
	}
	path, ref, _ = strings.Cut(text, ":")
	return path, ref
}

func (r *Resolver) abs(path string) string {
	if r.Dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.Dir, path)
}

// named finds what may be a reference, an ID, a target or a file.
func (r *Resolver) named(ctx context.Context, text string) ([]*Image, error) {
	i, err := r.stored(ctx, text)
	if err == nil {
		return one(r.withTarget(ctx, i, text))
	}
	var missing *NotFoundError
	isRef := errors.As(err, &missing)
	for _, find := range []func(context.Context, string) (*Image, error){r.Built, r.ofID} {
		if i, err := find(ctx, text); i != nil || err != nil {
			return one(i, err)
		}
	}
	if path, ref := r.splitPath(text); r.isImages(path) {
		return r.inFile(path, ref, "")
	}
	if !isRef || !namesRegistry(text) {
		return nil, err
	}
	i, err = r.ask(ctx, text)
	var absent *NotFoundError
	if errors.As(err, &absent) {
		absent.Where, absent.Near = missing.Where+" and in "+absent.Where, missing.Near
	}
	return one(i, err)
}

// withTarget returns the image that has the name text, with the other names
// that it got as what a target of that name has built.
func (r *Resolver) withTarget(ctx context.Context, i *Image, text string) (*Image, error) {
	if strings.ContainsAny(text, "/:@") {
		return i, nil
	}
	built, err := r.Built(ctx, text)
	if err != nil || built == nil || built.Desc.Digest != i.Desc.Digest {
		return i, nil //nolint:nilerr // the name says which image is meant, whatever a target is
	}
	for _, n := range i.Names {
		if !built.hasName(n) {
			built.Names = append(built.Names, n)
		}
	}
	return built, nil
}

// isImages reports whether there is a file or a layout of that name.
func (r *Resolver) isImages(path string) bool {
	info, err := os.Stat(r.abs(path))
	switch {
	case err != nil:
		return false
	case info.IsDir():
		return isLayout(dirTree(r.abs(path)))
	}
	return info.Mode().IsRegular() && strings.Contains(filepath.Base(path), ".t")
}

// namesRegistry reports whether a reference says in which registry the image
// is. Others are not looked for in Docker's: a slip of the pen would be.
func namesRegistry(text string) bool {
	host, _, ok := strings.Cut(text, "/")
	return ok && (strings.ContainsAny(host, ".:") || host == "localhost")
}

// ofID returns the image whose ID, or whose digest, begins so; nil if there is
// none.
func (r *Resolver) ofID(ctx context.Context, text string) (*Image, error) {
	if r.Store == nil || !store.MayBeID(text) {
		return nil, nil
	}
	all, err := r.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	known, _ := r.Store.Glance(all) // what is wrong with an image is told by who asks for it
	var found *Image
	for _, e := range all {
		if !e.HasID(known.Of(e.Target.Digest), text) {
			continue
		}
		if found == nil {
			if found, err = r.held(ctx, e.Target); err != nil {
				return nil, err
			}
		}
		if found.Desc.Digest != e.Target.Digest {
			return nil, fmt.Errorf("%q is the beginning of several IDs; write more of it", text)
		}
		if e.Name != "" {
			found.Names = append(found.Names, e.Name)
		}
	}
	return found, nil
}

// Built returns the image that a target last built, as the store notes it;
// nil if text is no name of such a target. Of several build files that have
// built a target of that name it has to be the one that is here.
func (r *Resolver) Built(ctx context.Context, text string) (*Image, error) {
	if r.Store == nil {
		return nil, nil
	}
	all, err := r.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(e store.Image) bool { return e.BuiltAs != text })
	if len(all) == 0 {
		return nil, nil
	}
	if other := slices.IndexFunc(all, func(e store.Image) bool { return e.Definition != all[0].Definition }); other > 0 {
		here, first, second := "", all[0].Definition, all[other].Definition
		if r.Definition != nil {
			here = r.Definition()
		}
		all = slices.DeleteFunc(all, func(e store.Image) bool { return e.Definition != here })
		if len(all) == 0 {
			return nil, fmt.Errorf("several build files have built a target %q, in %s and in %s; go there, or name the image", text, first, second)
		}
	}
	last := slices.MaxFunc(all, func(a, b store.Image) int { return a.Stored.Compare(b.Stored) })
	i, err := r.held(ctx, last.Target)
	if err != nil {
		return nil, err
	}
	i.Target = text
	for _, e := range all {
		if e.Target.Digest == last.Target.Digest && e.Name != "" {
			i.Names = append(i.Names, e.Name)
		}
	}
	return i, nil
}

// stored returns an image of the store.
func (r *Resolver) stored(ctx context.Context, text string) (*Image, error) {
	if r.Store == nil {
		return nil, r.missing(ctx, text)
	}
	desc, err := r.Store.Resolve(ctx, text)
	if errors.Is(err, store.ErrNotFound) {
		return nil, r.missing(ctx, text)
	}
	if err != nil {
		return nil, err
	}
	i, err := r.held(ctx, desc)
	if err != nil {
		return nil, err
	}
	if full, err := normalize(text); err == nil && !isDigest(text) {
		i.Names = []string{full}
		return i, nil
	}
	all, err := r.Store.List(ctx)
	for _, e := range all {
		if e.Target.Digest == desc.Digest && e.Name != "" {
			i.Names = append(i.Names, e.Name)
		}
	}
	return i, err
}

// held returns an image of the store, which stays whole while it is read.
func (r *Resolver) held(ctx context.Context, desc ocispec.Descriptor) (*Image, error) {
	if err := r.Store.Hold(ctx, desc); err != nil && !errors.Is(err, store.ErrNotFound) { // a missing blob is told by who reads it
		return nil, err
	}
	return &Image{Place: InStore, Where: r.Store.Dir(), Desc: plain(desc), from: blobStore{r.Store.Content()}}, nil
}

// missing says that the store has no such image, and what may have been meant.
func (r *Resolver) missing(ctx context.Context, text string) error {
	out := &NotFoundError{Ref: text, Where: "the store"}
	var names []string
	var all []store.Image
	if r.Store != nil {
		var err error
		if all, err = r.Store.List(ctx); err != nil {
			return err
		}
	}
	for _, e := range all {
		if e.Name != "" {
			names = append(names, strings.TrimSuffix(Familiar(e.Name), ":latest"))
		}
		if e.BuiltAs != "" {
			names = append(names, e.BuiltAs)
		}
	}
	if r.Targets != nil && !strings.ContainsAny(text, "/:@") {
		targets := r.Targets()
		if slices.Contains(targets, text) {
			out.Hint = fmt.Sprintf("target %s was not built yet, or another has taken its name: `kiln build %s` makes it", text, text)
			return out
		}
		names = append(names, targets...)
	}
	out.Near = config.Nearest(text, names)
	if path, ok := strings.CutPrefix(text, string(InLayout)+":"); ok {
		out.Hint = fmt.Sprintf("there is no directory %s with an OCI layout, either", path)
	} else if !namesRegistry(text) {
		out.Hint = fmt.Sprintf("docker://%s is that of Docker's registry", text)
	}
	return out
}

func isDigest(text string) bool {
	_, err := digest.Parse(text)
	return err == nil
}

// inFile returns the images of a layout or an archive; with a ref, only that.
// want is what the user called it, "" if that is to be found out.
func (r *Resolver) inFile(path, ref string, want Place) ([]*Image, error) {
	if path == "" {
		return nil, fmt.Errorf("%s: without the path of a file", want)
	}
	all, err := r.openPath(path, want)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no image", path)
	}
	if ref == "" {
		return all, nil
	}
	return one(pick(all, ref, path))
}

// openPath opens a layout or an archive, whichever it is.
func (r *Resolver) openPath(path string, want Place) ([]*Image, error) {
	if path == "-" && r.Stdin != nil {
		f, err := spool(r.Stdin, r.Temp)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return r.openFile(f, "standard input", want)
	}
	info, err := os.Stat(r.abs(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file or directory %s", path)
	}
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		if want != InLayout && want != "" {
			return nil, fmt.Errorf("%s is a directory; that of an OCI layout is called oci:%s", path, path)
		}
		if !isLayout(dirTree(r.abs(path))) {
			return nil, fmt.Errorf("%s is no OCI layout: it has no oci-layout and index.json", path)
		}
		return layout{dirTree(r.abs(path))}.images(path, InLayout)
	}
	if want == InLayout {
		return nil, fmt.Errorf("%s is a file; one with an OCI layout is called oci-archive:%s", path, path)
	}
	f, err := os.Open(r.abs(path))
	if err != nil {
		return nil, err
	}
	return r.openFile(f, path, want)
}

// openFile reads what an archive holds.
func (r *Resolver) openFile(f *os.File, path string, want Place) ([]*Image, error) {
	a, f, err := openArchive(f, r.Temp)
	r.open = append(r.open, f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if want != InDockerArchive && isLayout(a) {
		return archivedLayout(a, path)
	}
	if _, err := readTable(a); want == InDockerArchive && isLayout(a) && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds an OCI layout, which is called oci-archive:%s", path, path)
	}
	if want == InOCIArchive {
		return nil, fmt.Errorf("%s holds no OCI layout; what `docker save` writes is called docker-archive:%s", path, path)
	}
	return dockerImages(a, path)
}

// archivedLayout returns the images of a layout in a tar file. Docker writes
// the names of some into its own table only.
func archivedLayout(a *archive, path string) ([]*Image, error) {
	all, err := layout{a}.images(path, InOCIArchive)
	if err != nil {
		return nil, err
	}
	if entries, err := readTable(a); err == nil && len(entries) == len(all) {
		for n, e := range entries {
			for _, tag := range e.RepoTags {
				if full, err := normalize(tag); err == nil && !all[n].hasName(full) {
					all[n].Names = append(all[n].Names, full)
				}
			}
		}
	}
	return all, nil
}

// pick returns the image that ref names among those of a file: by its name,
// by its tag alone, by its digest, or by its place ("@0").
func pick(all []*Image, ref, path string) (*Image, error) {
	if at, ok := strings.CutPrefix(ref, "@"); ok {
		if n, err := strconv.Atoi(at); err == nil && n >= 0 && n < len(all) {
			return all[n], nil
		}
		return nil, fmt.Errorf("%s holds %d images, from @0", path, len(all))
	}
	full, _ := normalize(ref)
	matches := []func(i *Image) bool{
		func(i *Image) bool { return i.tag == ref || i.Desc.Digest.String() == ref },
		func(i *Image) bool { return full != "" && i.hasName(full) },
		func(i *Image) bool {
			return slices.ContainsFunc(i.Names, func(n string) bool { return strings.HasSuffix(n, ":"+ref) })
		},
	}
	for _, match := range matches {
		if n := slices.IndexFunc(all, match); n >= 0 {
			return all[n], nil
		}
	}
	return nil, &NotFoundError{Ref: ref, Where: path, Hint: "it holds " + names(all)}
}

// names lists images for people.
func names(all []*Image) string {
	var out []string
	for n := range all {
		out = append(out, nth(all, n))
	}
	return strings.Join(out, ", ")
}

// nth is how the n-th image of a file is asked for.
func nth(all []*Image, n int) string {
	switch i := all[n]; {
	case len(i.Names) > 0:
		return Familiar(i.Names[0])
	case i.tag != "":
		return i.tag
	}
	return "@" + strconv.Itoa(n)
}
