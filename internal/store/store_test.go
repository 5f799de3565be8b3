package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// addBlob writes a blob the way an exporter does.
func addBlob(cs content.Store, mediaType string, text []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	return d, content.WriteBlob(context.Background(), cs, "layer-"+d.Digest.String(), bytes.NewReader(text), d)
}

// addImage writes an image of one layer that holds text.
func addImage(cs content.Store, text string) (ocispec.Descriptor, error) {
	layer, err := addBlob(cs, ocispec.MediaTypeImageLayer, []byte(text))
	if err != nil {
		return layer, err
	}
	return addManifest(cs, layer)
}

// addManifest writes an image of a layer.
func addManifest(cs content.Store, layer ocispec.Descriptor) (ocispec.Descriptor, error) {
	cfg, err := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
	})
	if err != nil {
		return layer, err
	}
	config, err := addBlob(cs, ocispec.MediaTypeImageConfig, cfg)
	if err != nil {
		return config, err
	}
	m, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    config,
		Layers:    []ocispec.Descriptor{layer},
	})
	if err != nil {
		return config, err
	}
	return addBlob(cs, ocispec.MediaTypeImageManifest, m)
}

func mustImage(t *testing.T, s *Store, text string) ocispec.Descriptor {
	t.Helper()
	d, err := addImage(s.Content(), text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustManifest(t *testing.T, s *Store, layer ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	d, err := addManifest(s.Content(), layer)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustPut(t *testing.T, s *Store, d ocispec.Descriptor, refs ...string) {
	t.Helper()
	if err := s.Put(t.Context(), refs, d); err != nil {
		t.Fatal(err)
	}
}

// mustIndex writes an index of images.
func mustIndex(t *testing.T, s *Store, of ...ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: of,
	})
	if err != nil {
		t.Fatal(err)
	}
	d, err := addBlob(s.Content(), ocispec.MediaTypeImageIndex, index)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// names lists the store as "name digest" lines, the digests by letter.
func names(t *testing.T, s *Store, letters map[digest.Digest]string) []string {
	t.Helper()
	images, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, im := range images {
		lines = append(lines, strings.TrimSpace(im.Name+" "+letters[im.Target.Digest]))
	}
	return lines
}

func TestPutMovesNames(t *testing.T) {
	s := open(t)
	a, b := mustImage(t, s, "a"), mustImage(t, s, "b")
	letters := map[digest.Digest]string{a.Digest: "A", b.Digest: "B"}

	mustPut(t, s, a, "app", "registry.example.com:5000/team/app:1.0")
	mustPut(t, s, b, "app", "lib:2")
	mustPut(t, s, b)
	mustPut(t, s, b)

	want := []string{
		"B",
		"docker.io/library/app:latest B",
		"docker.io/library/lib:2 B",
		"registry.example.com:5000/team/app:1.0 A",
	}
	if diff := cmp.Diff(want, names(t, s, letters)); diff != "" {
		t.Error(diff)
	}
	other, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, names(t, other, letters)); diff != "" {
		t.Errorf("opened again: %s", diff)
	}
	checkLayout(t, s.Dir())
}

func TestResolve(t *testing.T) {
	s := open(t)
	a := mustImage(t, s, "a")
	mustPut(t, s, a, "app:1")
	for _, ref := range []string{
		"app:1", "docker.io/app:1", "docker.io/library/app:1", "library/app:1",
		"app@" + a.Digest.String(), "app:1@" + a.Digest.String(), a.Digest.String(),
	} {
		got, err := s.Resolve(t.Context(), ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if got.Digest != a.Digest || got.Size != a.Size || got.MediaType != a.MediaType {
			t.Errorf("%s: got %v, want %v", ref, got, a)
		}
	}
	for _, ref := range []string{"app", "app:2", "other:1", "other@" + a.Digest.String(), "example.com/app:1"} {
		if _, err := s.Resolve(t.Context(), ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", ref, err)
		}
	}
	if _, err := s.Resolve(t.Context(), "Not A Name"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a bad name: got %v, want an error about the name", err)
	}
}

func TestPutRefusesBadNames(t *testing.T) {
	s := open(t)
	a := mustImage(t, s, "a")
	for _, ref := range []string{"", "UPPER", "a b", "app@" + a.Digest.String()} {
		if err := s.Put(t.Context(), []string{"good", ref}, a); err == nil {
			t.Errorf("Put(%q) succeeded", ref)
		}
	}
	if got := names(t, s, nil); len(got) != 0 {
		t.Errorf("a refused Put left %v", got)
	}
}

func TestPutNotesTimes(t *testing.T) {
	s := open(t)
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	s.now = func() time.Time { return at }
	a, b := mustImage(t, s, "a"), mustImage(t, s, "b")
	b.Annotations = map[string]string{annotationCreated: "2001-02-03T04:05:06Z", "keep": "this"}
	mustPut(t, s, a, "a")
	mustPut(t, s, b, "b")
	b.Annotations = map[string]string{annotationCreated: "2001-02-03T04:05:06Z", "keep": "this"}
	got, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.Annotations = map[string]string{annotationCreated: "2026-05-04T03:02:01Z"}
	want := []Image{
		{Name: "docker.io/library/a:latest", Target: a, Created: at, Stored: at},
		{Name: "docker.io/library/b:latest", Target: b, Created: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), Stored: at},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What is there already is not written again.
func TestPutOfTheSameLeavesTheFile(t *testing.T) {
	s := open(t)
	a := mustImage(t, s, "a")
	mustPut(t, s, a, "app")
	before, err := os.Stat(s.index.path)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, a, "app")
	after, err := os.Stat(s.index.path)
	if err != nil {
		t.Fatal(err)
	}
	if !sameFile(before, after) {
		t.Error("index.json was replaced")
	}
}

// Another process may replace the list twice within a tick of the clock: the
// file has then the number, the size and the time of the one that was read.
func TestYoungListIsReadAgain(t *testing.T) {
	s := open(t)
	a, b := mustImage(t, s, "a"), mustImage(t, s, "b")
	mustPut(t, s, a, "app")
	text, err := os.ReadFile(s.index.path)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.Now().Add(time.Hour) // which is young, however long a busy machine takes to look
	for _, d := range []digest.Digest{a.Digest, b.Digest} {
		if err := os.WriteFile(s.index.path, bytes.ReplaceAll(text, []byte(a.Digest.Encoded()), []byte(d.Encoded())), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(s.index.path, tick, tick); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Resolve(t.Context(), "app"); err != nil || got.Digest != d {
			t.Errorf("got %v, %v, want what was put last, %v", got.Digest, err, d)
		}
	}
}

func TestPutVerifies(t *testing.T) {
	blobOf := func(s *Store, d digest.Digest) string {
		return filepath.Join(s.Dir(), "blobs", "sha256", d.Encoded())
	}
	// The layer of addImage(text) is the text itself.
	layer := digest.FromString("the layer")
	tests := []struct {
		name   string
		damage func(t *testing.T, s *Store, d ocispec.Descriptor)
		want   string
	}{
		{"manifest missing", func(t *testing.T, s *Store, d ocispec.Descriptor) { remove(t, blobOf(s, d.Digest)) }, "is missing"},
		{"layer missing", func(t *testing.T, s *Store, _ ocispec.Descriptor) { remove(t, blobOf(s, layer)) }, layer.String() + " is missing"},
		{"layer short", func(t *testing.T, s *Store, _ ocispec.Descriptor) { overwrite(t, blobOf(s, layer), "the") }, "has 3 bytes instead of 9"},
		{"manifest altered", func(t *testing.T, s *Store, d ocispec.Descriptor) {
			text, err := os.ReadFile(blobOf(s, d.Digest))
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, blobOf(s, d.Digest), strings.Replace(string(text), `"size":9`, `"size":8`, 1))
		}, "has the content of sha256:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			d := mustImage(t, s, "the layer")
			tt.damage(t, s, d)
			err := s.Put(t.Context(), []string{"app"}, d)
			var incomplete *IncompleteError
			if !errors.As(err, &incomplete) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an IncompleteError with %q", err, tt.want)
			}
			if got := names(t, s, nil); len(got) != 0 {
				t.Errorf("the name was written: %v", got)
			}
		})
	}
}

// Every platform of an index counts.
func TestPutVerifiesIndexes(t *testing.T) {
	s := open(t)
	a, b := mustImage(t, s, "a"), mustImage(t, s, "b")
	d := mustIndex(t, s, a, b)
	mustPut(t, s, d, "whole")
	checkLayout(t, s.Dir())
	remove(t, filepath.Join(s.Dir(), "blobs", "sha256", digest.FromString("b").Encoded()))
	if err := s.Put(t.Context(), []string{"broken"}, d); err == nil {
		t.Error("an index without the layer of one platform was accepted")
	}
}

// Goroutines on several stores of one directory, as builds in one process and
// in several; a failing Put fails alone.
func TestPutsAtOnceLoseNothing(t *testing.T) {
	const stores, each = 4, 25
	dir := filepath.Join(t.TempDir(), "store")
	var wg sync.WaitGroup
	for i := range stores {
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		shared := mustImage(t, s, "shared")
		for j := range each {
			wg.Go(func() {
				d, err := addImage(s.Content(), fmt.Sprintf("%d/%d", i, j))
				if err == nil {
					err = s.Put(t.Context(), []string{fmt.Sprintf("s%d/i%d", i, j), fmt.Sprintf("shared%d", j)}, d)
				}
				if err == nil {
					err = s.Put(t.Context(), []string{"everybody"}, shared)
				}
				if err != nil {
					t.Error(err)
				}
				absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(rand.Text()), Size: 1}
				if err := s.Put(t.Context(), []string{"bad"}, absent); err == nil {
					t.Error("an absent image was accepted")
				}
			})
		}
	}
	wg.Wait()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(names(t, s, nil)), stores*each+each+1; got != want {
		t.Errorf("%d names, want %d", got, want)
	}
	checkLayout(t, dir)
}

func TestPutWaitsForTheLockOnlyAsLongAsAsked(t *testing.T) {
	s := open(t)
	a := mustImage(t, s, "a")
	other, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := other.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, []string{"app"}, a); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	unlock()
	mustPut(t, s, a, "later")
	if diff := cmp.Diff([]string{"docker.io/library/later:latest"}, names(t, s, nil)); diff != "" {
		t.Errorf("the Put that was given up must not happen later: %s", diff)
	}
}

func TestOpenSweepsStaleFilesOnly(t *testing.T) {
	s := open(t)
	w, err := s.Content().Writer(t.Context(), content.WithRef("half"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("half a layer")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-staleAfter - time.Hour)
	for _, name := range []string{tempPrefix + "1", "ingest/abc/data", "ingest/abc/ref", ".fsverity-check-1/supported", "other"} {
		path := filepath.Join(s.Dir(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		overwrite(t, path, "x")
		for _, p := range []string{path, filepath.Dir(path)} {
			if p != s.Dir() {
				if err := os.Chtimes(p, old, old); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	again, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{tempPrefix + "1", "ingest/abc", ".fsverity-check-1"} {
		if exists(filepath.Join(s.Dir(), name)) {
			t.Errorf("%s is still there", name)
		}
	}
	if !exists(filepath.Join(s.Dir(), "other")) {
		t.Error("a file that is not ours was removed")
	}
	if _, err := s.Content().Status(t.Context(), "half"); err != nil {
		t.Errorf("a young ingest was removed: %v", err)
	}
	if all, err := again.Content().ListStatuses(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("another store sees our ingests: %v, %v", all, err)
	}
}

// Two processes that write the same blob do not write the same file.
func TestIngestsAreOwn(t *testing.T) {
	a := open(t)
	b, err := Open(a.Dir())
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("one layer, fetched twice")
	d := ocispec.Descriptor{Digest: digest.FromBytes(text), Size: int64(len(text))}
	var writers []content.Writer
	for _, s := range []*Store{a, b} {
		w, err := s.Content().Writer(t.Context(), content.WithRef("layer"), content.WithDescriptor(d))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, w)
	}
	if st, err := writers[0].Status(); err != nil || st.Ref != "layer" {
		t.Errorf("status: %v, %v, want the name that was given", st, err)
	}
	if all, err := a.Content().ListStatuses(t.Context(), "ref==layer"); err != nil || len(all) != 1 {
		t.Errorf("list: %v, %v, want one", all, err)
	}
	if err := writers[0].Commit(t.Context(), d.Size, d.Digest); err != nil {
		t.Fatal(err)
	}
	if err := writers[1].Truncate(0); err != nil { // as a retry does
		t.Fatal(err)
	}
	got, err := content.ReadBlob(t.Context(), a.Content(), d)
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("the finished blob holds %q, %v", got, err)
	}
	if err := b.Content().Abort(t.Context(), "layer"); err != nil {
		t.Error(err)
	}
}

// Two targets of one process that share a layer: the second waits for the
// first, and then need not write.
func TestWriterWaits(t *testing.T) {
	s := open(t)
	text := []byte("shared layer")
	d := ocispec.Descriptor{Digest: digest.FromBytes(text), Size: int64(len(text))}
	first, err := s.Content().Writer(t.Context(), content.WithRef("layer"), content.WithDescriptor(d))
	if err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(t.Context(), 3*writerRetry)
	defer cancel()
	if _, err := s.Content().Writer(brief, content.WithRef("layer")); !errdefs.IsUnavailable(err) {
		t.Errorf("with a limit: got %v, want that it is not available", err)
	}
	second := make(chan error)
	go func() {
		_, err := s.Content().Writer(t.Context(), content.WithRef("layer"), content.WithDescriptor(d))
		second <- err
	}()
	time.Sleep(3 * writerRetry)
	if _, err := first.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := first.Commit(t.Context(), d.Size, d.Digest); err != nil {
		t.Fatal(err)
	}
	if err := <-second; !errdefs.IsAlreadyExists(err) {
		t.Errorf("the second got %v, want that the blob exists", err)
	}
}

func TestOpenTellsOfDamage(t *testing.T) {
	s := open(t)
	overwrite(t, s.index.path, "{")
	_, err := Open(s.Dir())
	if err == nil || !strings.Contains(err.Error(), "index.json is damaged") || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("got %v", err)
	}
}

// Entries that other tools wrote stay, and are found.
func TestForeignEntries(t *testing.T) {
	s := open(t)
	a, b := mustImage(t, s, "a"), mustImage(t, s, "b")
	a.Annotations = map[string]string{annotationRef: "latest"}
	text, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{a}})
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, s.index.path, string(text))
	mustPut(t, s, b, "b")
	letters := map[digest.Digest]string{a.Digest: "A", b.Digest: "B"}
	want := []string{"docker.io/library/b:latest B", "docker.io/library/latest:latest A"}
	if diff := cmp.Diff(want, names(t, s, letters)); diff != "" {
		t.Error(diff)
	}
}

// What is no digest, in another tool's list or in a manifest, is damage of
// that image; nothing else is hurt by it.
func TestWhatIsNoDigest(t *testing.T) {
	s := open(t)
	good := mustImage(t, s, "good")
	mustPut(t, s, good, "good")
	odd := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Size: -3}
	var entries []ocispec.Descriptor
	for n, d := range []digest.Digest{"", "foo", "sha256:../../../etc/passwd", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
		odd.Digest, odd.Annotations = d, map[string]string{annotationRef: fmt.Sprintf("odd/%d:1", n)}
		entries = append(entries, odd)
	}
	text := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","config":{"digest":"abc"},"layers":[{"digest":"foo","size":1}]}`)
	inside, err := addBlob(s.Content(), ocispec.MediaTypeImageManifest, text)
	if err != nil {
		t.Fatal(err)
	}
	inside.Annotations = map[string]string{annotationRef: "odd/inside:1"}
	idx, err := s.index.read()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.index.write(ocispec.Index{Manifests: append(entries, inside, idx.Manifests[0])}); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 6 {
		t.Fatalf("%v, %v", list, err)
	}
	known, wrong := s.Know(t.Context(), list, nil)
	if len(wrong) != 5 || known.Of(good.Digest) == nil {
		t.Errorf("wrong are %v", wrong)
	}
	for _, im := range list {
		isGood := im.Target.Digest == good.Digest
		if im.HasID(known.Of(im.Target.Digest), good.Digest.Encoded()[:8]) != isGood {
			t.Errorf("%s has the ID of good, or has not", im.Name)
		}
		if err := s.Hold(t.Context(), im.Target); (err == nil) != isGood {
			t.Errorf("Hold(%s): %v", im.Name, err)
		}
		if r, err := s.Record(im.Target.Digest, "x"); err != nil || r != nil || s.HasRecord(im.Target.Digest, "x") {
			t.Errorf("%s has a record: %v, %v", im.Name, r, err)
		}
	}
	c, err := s.Check(t.Context())
	if err != nil || len(c.Faults) != 5 { // the four, of which the manifest names one, and another
		t.Errorf("faults %+v, %v", c.Faults, err)
	}
	if u, err := s.Usage(t.Context()); err != nil || u.Damaged != 4 || u.Blobs < 3 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if _, err := s.GC(t.Context(), GCOptions{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("gc: %v", err)
	}
	if err := s.Repair(t.Context(), c.Faults); err != nil {
		t.Error(err)
	}
	gone, err := s.Remove(t.Context(), func(im Image) bool { return im.Target.Digest != good.Digest })
	if err != nil || len(gone) != 5 {
		t.Errorf("removed %v, %v", gone, err)
	}
	gc(t, s, GCOptions{})
	checkLayout(t, s.Dir())
}

// checkLayout reads the layout with another library: every image is whole.
func checkLayout(t *testing.T, dir string) {
	t.Helper()
	p, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := p.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx, validate.Fast); err != nil {
		t.Error(err)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range blobs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if digest.FromBytes(text).Encoded() != filepath.Base(path) {
			t.Errorf("%s does not hold what its name says", path)
		}
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// overwrite replaces what a file holds, also where it is read-only.
func overwrite(t *testing.T, path, text string) {
	t.Helper()
	_ = os.Remove(path)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
