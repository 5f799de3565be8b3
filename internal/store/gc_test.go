package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// reopened closes a store, as the end of its process would, and opens it again.
func reopened(t *testing.T, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// age makes all blobs older than any process.
func age(t *testing.T, s *Store) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	for _, path := range s.glob("blobs/sha256/*") {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
}

func drop(t *testing.T, s *Store, name string) []Image {
	t.Helper()
	removed, err := s.Remove(t.Context(), func(im Image) bool { return im.Name == "docker.io/library/"+name })
	if err != nil || len(removed) == 0 {
		t.Fatalf("remove %s: %v, %v", name, removed, err)
	}
	return removed
}

func gc(t *testing.T, s *Store, o GCOptions) Garbage {
	t.Helper()
	g, err := s.GC(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGCRemovesWhatNoImageLeadsTo(t *testing.T) {
	s := open(t)
	mustPut(t, s, mustImage(t, s, "stays"), "stays")
	goes := mustImage(t, s, "goes")
	mustPut(t, s, goes, "goes", "also")
	s = reopened(t, s)

	drop(t, s, "goes:latest")
	if g := gc(t, s, GCOptions{}); len(g.Removed)+len(g.Spared) != 0 {
		t.Errorf("with a name left: %+v", g)
	}
	drop(t, s, "also:latest")
	if g := gc(t, s, GCOptions{DryRun: true}); len(g.Removed) != 3 {
		t.Errorf("told: %+v, want manifest, configuration and layer", g)
	}
	g := gc(t, s, GCOptions{})
	if len(g.Removed) != 3 || len(g.Spared) != 0 || g.Size() < int64(len("goes")) {
		t.Errorf("removed %+v", g)
	}
	checkWhole(t, s)
	checkLayout(t, s.Dir())
	if u, err := s.Usage(t.Context()); err != nil || u.Garbage != 0 || u.Blobs != 3 || u.Images != 1 || u.Absent != 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	mustPut(t, s, mustImage(t, s, "goes"), "goes") // and comes again
	checkWhole(t, s)
}

// Blobs of an image that is removed go alone, if so asked.
func TestGCOfSomeImages(t *testing.T) {
	s := open(t)
	mustImage(t, s, "never named")
	mustPut(t, s, mustImage(t, s, "a"), "a")
	s = reopened(t, s)
	g := gc(t, s, GCOptions{Of: drop(t, s, "a:latest")})
	if len(g.Removed) != 3 {
		t.Errorf("removed %+v, want the image's blobs alone", g)
	}
	if g := gc(t, s, GCOptions{MinAge: time.Hour}); len(g.Removed) != 0 || len(g.Spared) != 3 {
		t.Errorf("removed %+v, want none that is so young", g)
	}
	if g := gc(t, s, GCOptions{}); len(g.Removed) != 3 {
		t.Errorf("removed %+v, want the rest", g)
	}
}

// What a build was told to be there stays, though no name leads to it yet and
// however old it is.
func TestGCSparesWhatABuildReliesOn(t *testing.T) {
	s := open(t)
	d := mustImage(t, s, "layer")
	s = reopened(t, s)
	age(t, s)

	build, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	layer := descriptor{Digest: digest.FromString("layer"), Size: 5}
	if _, err := build.Content().Writer(t.Context(), content.WithRef("x"), content.WithDescriptor(layer)); !errdefs.IsAlreadyExists(err) {
		t.Fatalf("got %v, want that the layer is there", err)
	}
	g := gc(t, s, GCOptions{})
	if len(g.Removed) != 2 || len(g.Spared) != 1 || g.Spared[0].Digest != layer.Digest {
		t.Errorf("got %+v, want that the layer was spared, and manifest and configuration, of which nobody was told, not", g)
	}
	if _, err := addImage(build.Content(), "layer"); err != nil {
		t.Fatal(err)
	}
	if g := gc(t, s, GCOptions{}); len(g.Removed) != 0 {
		t.Errorf("what a build has written was removed: %+v", g)
	}
	mustPut(t, build, d, "app")
	checkWhole(t, s)
	if err := build.Close(); err != nil {
		t.Fatal(err)
	}
	drop(t, s, "app:latest")
	if g := gc(t, s, GCOptions{}); len(g.Removed) != 3 {
		t.Errorf("after the build: %+v", g)
	}
}

// A push reads an image to its end, whoever removes it meanwhile.
func TestGCSparesWhatIsHeld(t *testing.T) {
	s := open(t)
	mustPut(t, s, mustImage(t, s, "layer"), "app")
	s = reopened(t, s)
	age(t, s)
	push, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	d, err := push.Use(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	drop(t, s, "app:latest")
	if g := gc(t, s, GCOptions{}); len(g.Removed) != 0 || len(g.Spared) != 3 {
		t.Errorf("while it is held: %+v", g)
	}
	if err := s.verify(t.Context(), &change{desc: d}); err != nil {
		t.Error(err)
	}
	if err := push.Close(); err != nil {
		t.Fatal(err)
	}
	if g := gc(t, s, GCOptions{}); len(g.Removed) != 3 {
		t.Errorf("after the push: %+v", g)
	}
	if _, err := s.Use(t.Context(), "app"); !errors.Is(err, ErrNotFound) {
		t.Errorf("used again: %v", err)
	}
	if err := s.Hold(t.Context(), d); !errors.Is(err, ErrNotFound) {
		t.Errorf("held again: %v", err)
	}
}

// Where it cannot be told what a damaged image needs, nothing goes.
func TestGCKeepsAllWhereAnImageIsDamaged(t *testing.T) {
	s := open(t)
	d := mustImage(t, s, "layer")
	mustPut(t, s, d, "app")
	mustPut(t, s, mustImage(t, s, "other"), "other")
	mustImage(t, s, "garbage")
	s = reopened(t, s)
	overwrite(t, s.blobs.path(d.Digest), "{")
	_, err := s.GC(t.Context(), GCOptions{})
	if err == nil || !strings.Contains(err.Error(), "docker.io/library/app:latest is damaged") || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("got %v", err)
	}
	drop(t, s, "app:latest")
	if g := gc(t, s, GCOptions{}); len(g.Removed) != 6 {
		t.Errorf("removed %+v, want the garbage, and what is left of the damaged image", g)
	}
	checkWhole(t, s)
	if err := os.Remove(s.blobs.path(digest.FromString("other"))); err != nil {
		t.Fatal(err)
	}
	gc(t, s, GCOptions{}) // what is missing can lead nowhere
}

// A blob of the wrong size is written anew by whoever has it.
func TestTruncatedBlobIsWrittenAnew(t *testing.T) {
	s := open(t)
	d := mustImage(t, s, "a layer")
	mustPut(t, s, d, "app")
	overwrite(t, s.blobs.path(digest.FromString("a layer")), "a la")
	var incomplete *IncompleteError
	if err := s.Put(t.Context(), []string{"app"}, d); !errors.As(err, &incomplete) {
		t.Fatalf("got %v, want that it is not complete", err)
	}
	mustImage(t, s, "a layer")
	mustPut(t, s, d, "app")
	checkLayout(t, s.Dir())
}

func TestTagKeepsTheOrigin(t *testing.T) {
	s := open(t)
	d := mustImage(t, s, "a")
	d.Annotations = map[string]string{AnnotationTarget: "api", AnnotationDefinition: "/src"}
	mustPut(t, s, d, "app:1")
	for _, ref := range []string{"app:1", d.Digest.String()} {
		got, err := s.Tag(t.Context(), ref, []string{"lib", "lib:2"})
		if err != nil || got.Digest != d.Digest || got.Annotations[AnnotationTarget] != "" {
			t.Errorf("%s: %v, %v", ref, got, err)
		}
	}
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range list {
		if (im.Origin != Origin{BuiltAs: "api", Definition: "/src"}) {
			t.Errorf("%s is of %+v", im.Name, im.Origin)
		}
	}
	if len(list) != 3 {
		t.Errorf("there are %v", list)
	}
	if _, err := s.Tag(t.Context(), "nothing", []string{"lib"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Tag(t.Context(), "app:1", []string{"UPPER"}); err == nil {
		t.Error("a bad name was given")
	}
}

// What Tag returns is the image of the name, however the list is sorted after.
func TestTagReturnsWhatItTagged(t *testing.T) {
	s := open(t)
	a, b := mustImage(t, s, "a"), mustImage(t, s, "b")
	mustPut(t, s, a, "zz:0")
	for n := range 40 {
		mustPut(t, s, b, fmt.Sprintf("app:%d", n))
		got, err := s.Tag(t.Context(), "zz:0", []string{fmt.Sprintf("aa:%d", n)})
		if err != nil || got.Digest != a.Digest {
			t.Fatalf("with %d names Tag returns %s, %v; want %s", 2*n+2, got.Digest, err, a.Digest)
		}
	}
}

func TestRecordsGoWithTheirImage(t *testing.T) {
	s := open(t)
	d := mustImage(t, s, "a")
	mustPut(t, s, d, "app")
	if got, err := s.Record(d.Digest, "api/x"); got != nil || err != nil || s.HasRecord(d.Digest, "api/x") {
		t.Errorf("before: %q, %v", got, err)
	}
	for _, text := range []string{"one", "two"} {
		if err := s.PutRecord(d.Digest, "api/x", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	s = reopened(t, s)
	gc(t, s, GCOptions{})
	if got, err := s.Record(d.Digest, "api/x"); string(got) != "two" || err != nil || !s.HasRecord(d.Digest, "api/x") {
		t.Errorf("got %q, %v", got, err)
	}
	drop(t, s, "app:latest")
	gc(t, s, GCOptions{})
	if s.HasRecord(d.Digest, "api/x") {
		t.Error("the record outlived its image")
	}
}

// The oldest of the living counts, whatever the order in which they came.
func TestOldestOwner(t *testing.T) {
	dir := t.TempDir()
	if _, any, err := oldestOwner(dir); any || err != nil {
		t.Fatalf("of none: %v, %v", any, err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var files []*os.File
	for _, minute := range []int{3, 1, 2} {
		f, err := own(dir, newOwner(at.Add(time.Duration(minute)*time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for _, want := range []struct{ close, minute int }{{-1, 1}, {1, 2}, {2, 3}} {
		if want.close >= 0 {
			files[want.close].Close()
		}
		since, any, err := oldestOwner(dir)
		if want := at.Add(time.Duration(want.minute)*time.Minute - clockSlack); err != nil || !any || !since.Equal(want) {
			t.Errorf("got %v, %v, %v, want %v", since, any, err, want)
		}
	}
	f, err := own(dir, owner("ANEARLIERKILNSNAME"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer files[0].Close()
	if since, any, err := oldestOwner(dir); !any || err != nil || !since.IsZero() {
		t.Errorf("of an earlier kiln: %v, %v, %v, want that it may need all", since, any, err)
	}
}

func TestFacts(t *testing.T) {
	s := open(t)
	d := mustImage(t, s, "a")
	mustPut(t, s, d, "app")
	path := filepath.Join(s.Dir(), factsFile)
	noted, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(noted), d.Digest.String()) {
		t.Fatalf("Put noted %q, %v", noted, err)
	}
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		k, wrong := s.Know(t.Context(), list, nil)
		f := k.Of(d.Digest)
		if len(wrong) != 0 || f == nil || len(f.Platforms) != 1 || len(f.Blobs) != 3 {
			t.Fatalf("%s: %+v, %v", what, f, wrong)
		}
		v := f.Platforms[0]
		if v.Platform != "linux/amd64" || v.Manifest != d.Digest || len(v.Layers) != 1 || v.Layers[0] != digest.FromString("a") || v.Size != sizeOf(f.Blobs) {
			t.Errorf("%s: %+v", what, v)
		}
	}
	check("as noted")
	for _, text := range []string{"", "\n{\"image\":\"sha", "\xff\x00"} { // lost, torn, overwritten
		overwrite(t, path, text)
		check("after " + text)
	}
	again, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(again), d.Digest.String()) {
		t.Errorf("Know noted %q, %v", again, err)
	}
	overwrite(t, s.blobs.path(d.Digest), "{")
	overwrite(t, path, "")
	if k, wrong := s.Know(t.Context(), list, nil); k.Of(d.Digest) != nil || wrong[d.Digest] == nil {
		t.Errorf("of a damaged image: %+v, %v", k.Of(d.Digest), wrong)
	}
}

// Platforms of an index that are there count; attestations do not.
func TestFactsOfAnIndex(t *testing.T) {
	s := open(t)
	a, b := mustImage(t, s, "a"), mustImage(t, s, "b")
	a.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	b.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	absent := descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("absent"), Size: 3}
	d := mustIndex(t, s, absent, a, b)
	f, err := s.facts(d)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Platforms) != 1 || f.Platforms[0].Platform != "linux/arm64" {
		t.Errorf("platforms %+v", f.Platforms)
	}
	if i := slices.IndexFunc(f.Blobs, func(b Blob) bool { return b.Digest == digest.FromString("b") }); i < 0 {
		t.Error("the attestation's blobs do not count as stored")
	}
	if _, err := s.facts(mustIndex(t, s, absent)); err == nil {
		t.Error("an index of which nothing is there has facts")
	}
}
