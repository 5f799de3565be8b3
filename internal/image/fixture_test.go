package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/store"
)

// A fixture is an image that tests make: its blobs by digest.
type fixture struct {
	blobs map[digest.Digest][]byte
	desc  ocispec.Descriptor
}

func newFixture() *fixture { return &fixture{blobs: map[digest.Digest][]byte{}} }

func (f *fixture) add(mediaType string, text []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	f.blobs[d.Digest] = text
	return d
}

func (f *fixture) addJSON(mediaType string, v any) ocispec.Descriptor {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return f.add(mediaType, text)
}

// files packs files into a layer of a gzipped tar; it returns the layer and
// the digest of what is packed.
func (f *fixture) files(t testing.TB, files map[string]string) (ocispec.Descriptor, v1.Hash) {
	t.Helper()
	plain := tarOf(t, files)
	packed := gzipped(t, plain)
	h, err := v1.NewHash(digest.FromBytes(plain).String())
	if err != nil {
		t.Fatal(err)
	}
	return f.add(ocispec.MediaTypeImageLayerGzip, packed), h
}

// manifest adds an image of a platform with its layers, lowest first.
func (f *fixture) manifest(t testing.TB, arch string, layers ...map[string]string) ocispec.Descriptor {
	t.Helper()
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := v1.ConfigFile{Architecture: arch, OS: "linux", RootFS: v1.RootFS{Type: "layers"}, Config: v1.Config{Env: []string{"ARCH=" + arch}}}
	for _, files := range layers {
		layer, diffID := f.files(t, files)
		m.Layers = append(m.Layers, layer)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
	}
	m.Config = f.addJSON(ocispec.MediaTypeImageConfig, config)
	d := f.addJSON(ocispec.MediaTypeImageManifest, m)
	d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
	return d
}

// attestation adds a statement about a manifest.
func (f *fixture) attestation(about ocispec.Descriptor) ocispec.Descriptor {
	statement := f.add("application/vnd.in-toto+json", []byte(`{"subject":"`+about.Digest.String()+`"}`))
	statement.Annotations = map[string]string{annotationPredicate: "https://slsa.dev/provenance/v1"}
	d := f.addJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: f.add(ocispec.MediaTypeImageConfig, []byte("{}")), Layers: []ocispec.Descriptor{statement},
	})
	d.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	d.Annotations = map[string]string{annotationType: typeAttestation, annotationSubject: about.Digest.String()}
	return d
}

// single is an image of one platform.
func single(t testing.TB, files map[string]string) *fixture {
	t.Helper()
	f := newFixture()
	f.desc = f.manifest(t, "amd64", files)
	f.desc.Platform = nil
	return f
}

// multi is an index of two platforms, each attested.
func multi(t testing.TB, files map[string]string) *fixture {
	t.Helper()
	f := newFixture()
	amd, arm := f.manifest(t, "amd64", files), f.manifest(t, "arm64", map[string]string{"arm": "64"})
	f.desc = f.addJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{amd, arm, f.attestation(amd), f.attestation(arm)},
	})
	return f
}

// put writes the fixture to a store.
func (f *fixture) put(t testing.TB, s *store.Store, names ...string) {
	t.Helper()
	for _, d := range slices.Sorted(maps.Keys(f.blobs)) {
		text := f.blobs[d]
		desc := ocispec.Descriptor{Digest: d, Size: int64(len(text))}
		if _, err := s.Content().Info(t.Context(), d); err == nil {
			continue
		}
		if err := content.WriteBlob(t.Context(), s.Content(), d.String(), bytes.NewReader(text), desc); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), names, f.desc); err != nil {
		t.Fatal(err)
	}
}

// layoutFiles are the files of an OCI layout with the fixture under the names,
// which are values of the annotation of that key.
func (f *fixture) layoutFiles(t testing.TB, key string, names ...string) map[string]string {
	t.Helper()
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}}
	for _, n := range names {
		d := f.desc
		d.Annotations = map[string]string{key: n}
		idx.Manifests = append(idx.Manifests, d)
	}
	if len(names) == 0 {
		idx.Manifests = []ocispec.Descriptor{f.desc}
	}
	text, err := json.Marshal(idx)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": string(text)}
	for d, text := range f.blobs {
		files["blobs/sha256/"+d.Encoded()] = string(text)
	}
	return files
}

// writeTree writes files into a directory.
func writeTree(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// tarOf packs files in the order of their names.
func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := files[name]
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// newStore opens a store that ends with the test.
func newStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tarWithLinks is tarOf with symbolic links, by name.
func tarWithLinks(t testing.TB, files, links map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(links)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Linkname: links[name], Typeflag: tar.TypeSymlink}); err != nil {
			t.Fatal(err)
		}
	}
	buf.Write(tarOf(t, files))
	return buf.Bytes()
}

// manifestOf decodes the manifest that a fixture of one platform is.
func manifestOf(f *fixture) (m ocispec.Manifest, err error) {
	return m, json.Unmarshal(f.blobs[f.desc.Digest], &m)
}
