package image

import (
	"archive/tar"
	"fmt"
	"io"
	"log"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/store"
)

// newRegistry starts a registry and returns its host.
func newRegistry(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func newResolver(t testing.TB) *Resolver {
	t.Helper()
	r := &Resolver{Store: newStore(t), Temp: t.TempDir()}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// The same image is found by each of its names, in each place, and reads the
// same.
func TestFindEverywhere(t *testing.T) {
	f := multi(t, map[string]string{"app": "1"})
	r := newResolver(t)
	f.put(t, r.Store, "reg.example/api:1", "api")
	dir := t.TempDir()
	r.Dir = dir
	writeTree(t, filepath.Join(dir, "layout"), f.layoutFiles(t, annotationName, "docker.io/library/api:2"))
	packed := tarOf(t, f.layoutFiles(t, annotationRef, "v3"))
	writeTree(t, dir, map[string]string{"plain.tar": string(packed), "packed.tar.gz": string(gzipped(t, packed))})
	r.Definition = func() string { return "/here" }
	f.desc.Annotations = map[string]string{store.AnnotationTarget: "the-target", store.AnnotationDefinition: "/here"}
	f.put(t, r.Store, "reg.example/built:1")
	other := single(t, map[string]string{"other": "1"})
	other.desc.Annotations = map[string]string{store.AnnotationTarget: "the-target", store.AnnotationDefinition: "/there"}
	other.put(t, r.Store, "reg.example/other:1")
	r.Stdin = strings.NewReader(string(packed))
	for text, want := range map[string]struct {
		place Place
		name  string
	}{
		"api":                          {InStore, "docker.io/library/api:latest"},
		"reg.example/api:1":            {InStore, "reg.example/api:1"},
		"store://api":                  {InStore, "docker.io/library/api:latest"},
		f.desc.Digest.String():         {InStore, "docker.io/library/api:latest reg.example/api:1 reg.example/built:1"},
		"the-target":                   {InStore, "reg.example/built:1"},
		"layout":                       {InLayout, "docker.io/library/api:2"},
		"./layout":                     {InLayout, "docker.io/library/api:2"},
		"oci:layout":                   {InLayout, "docker.io/library/api:2"},
		"oci:layout:api:2":             {InLayout, "docker.io/library/api:2"},
		"oci:layout:2":                 {InLayout, "docker.io/library/api:2"},
		filepath.Join(dir, "layout"):   {InLayout, "docker.io/library/api:2"},
		"plain.tar":                    {InOCIArchive, ""},
		"oci-archive:plain.tar:v3":     {InOCIArchive, ""},
		"oci-archive:packed.tar.gz":    {InOCIArchive, ""},
		"oci-archive:packed.tar.gz:@0": {InOCIArchive, ""},
		"-":                            {InOCIArchive, ""},
	} {
		i, err := r.Find(t.Context(), text)
		if err != nil {
			t.Errorf("Find(%q): %v", text, err)
			continue
		}
		if i.Desc.Digest != f.desc.Digest || i.Place != want.place || strings.Join(i.Names, " ") != want.name {
			t.Errorf("Find(%q) = %s %s %v, want %s %s %v", text, i.Desc.Digest, i.Place, i.Names, f.desc.Digest, want.place, want.name)
		}
		all, err := i.Manifests(t.Context())
		if err != nil {
			t.Fatalf("Find(%q): %v", text, err)
		}
		if len(all) != 2 || all[1].Config.Architecture != "arm64" || len(all[1].Attestations) != 1 || all[1].Attestations[0].Statements[0].Predicate != "https://slsa.dev/provenance/v1" {
			t.Errorf("Find(%q): manifests %+v", text, all)
		}
	}
}

// A target's name is that, also where an image's ID begins with the same
// letters.
func TestTargetsBeforeIDs(t *testing.T) {
	f, g := single(t, map[string]string{"app": "1"}), single(t, map[string]string{"app": "2"})
	r := newResolver(t)
	f.put(t, r.Store, "app:1")
	word := f.desc.Digest.Encoded()[:6]
	if i := mustFind(t, r, word); i.Desc.Digest != f.desc.Digest {
		t.Errorf("%s is %s", word, i.Desc.Digest)
	}
	g.desc.Annotations = map[string]string{store.AnnotationTarget: word}
	g.put(t, r.Store, "app:2")
	if i := mustFind(t, r, word); i.Desc.Digest != g.desc.Digest || i.Target != word {
		t.Errorf("%s is %s, of target %q", word, i.Desc.Digest, i.Target)
	}
}

// The statement of an attestation may be larger than a manifest.
func TestLargeStatement(t *testing.T) {
	f := single(t, nil)
	text := []byte(`"` + strings.Repeat("x", mostManifest) + `"`)
	d := f.add("application/vnd.in-toto+json", text)
	r := newResolver(t)
	f.put(t, r.Store, "app")
	i := mustFind(t, r, "app")
	if _, err := i.Read(t.Context(), d); err == nil || !strings.Contains(err.Error(), "and may have") {
		t.Errorf("error %v", err)
	}
	if got, err := i.ReadStatement(t.Context(), d); err != nil || len(got) != len(text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A manifest that names blobs by what is no digest is refused by all.
func TestNoDigest(t *testing.T) {
	layout := func(manifest string) map[string]string {
		d := digest.FromString(manifest)
		return map[string]string{
			"oci-layout":                  `{"imageLayoutVersion":"1.0.0"}`,
			"index.json":                  fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ocispec.MediaTypeImageManifest, d, len(manifest)),
			"blobs/sha256/" + d.Encoded(): manifest,
		}
	}
	r := newResolver(t)
	r.Dir = t.TempDir()
	for n, bad := range []string{"", "foo", "sha256:../../outside", "sha256:abc"} {
		dir := fmt.Sprintf("layout%d", n)
		config := `{"rootfs":{"type":"layers"}}`
		files := layout(fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"digest":%q,"size":1}]}`,
			ocispec.MediaTypeImageConfig, digest.FromString(config), len(config), bad))
		files["blobs/sha256/"+digest.FromString(config).Encoded()] = config
		writeTree(t, filepath.Join(r.Dir, dir), files)
		i := mustFind(t, r, dir)
		_, importing := Import(t.Context(), i, r.Store, nil, nil)
		_, reading := i.Manifests(t.Context())
		for _, err := range []error{importing, reading, Save(t.Context(), io.Discard, []*Image{i}, OCI, nil), Save(t.Context(), io.Discard, []*Image{i}, Docker, nil)} {
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
}

// claims is a tar file whose first header says that so many bytes follow.
func claims(t *testing.T, size int64) string {
	t.Helper()
	var b strings.Builder
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "oci-layout", Size: size, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	return b.String() + strings.Repeat("x", 2000)
}

// What is not there is said with the nearest name, and what would help.
func TestFindNothing(t *testing.T) {
	f := single(t, map[string]string{"app": "1"})
	r := newResolver(t)
	f.put(t, r.Store, "backend")
	dir := t.TempDir()
	r.Dir = dir
	writeTree(t, dir, map[string]string{
		"text.tar":      "no archive, but long enough to be read as the header of one" + strings.Repeat(".", 1000),
		"empty.tar":     "",
		"files.tar":     string(tarOf(t, map[string]string{"README": "hello"})),
		"up.tar":        string(tarOf(t, map[string]string{"../../etc/passwd": "root"})),
		"cut.tar":       string(tarOf(t, f.layoutFiles(t, annotationRef, "x"))[:2000]),
		"packed.tar.xz": "\xfd7zXZ\x00rest",
		"claims.tar":    claims(t, math.MaxInt64-100),
	})
	writeTree(t, filepath.Join(dir, "dir"), map[string]string{"README": ""})
	r.Targets = func() []string { return []string{"later"} }
	host := newRegistry(t)
	for text, want := range map[string]string{
		"bakend":                    `no image "bakend" in the store (did you mean "backend"?); docker://bakend is that of Docker's registry`,
		"later":                     "target later was not built yet, or another has taken its name: `kiln build later` makes it",
		"BackEnd":                   "must be lowercase",
		"store://" + host + "/x":    `no image "` + host + `/x" in the store`,
		host + "/x:1":               `no image "` + host + `/x:1" in the store and in registry ` + host,
		"docker://" + host + "/x:1": `no image "` + host + `/x:1" in registry ` + host,
		"s3://bucket/x":             "kiln knows the places",
		"./none.tar":                "there is no file or directory ./none.tar",
		"./text.tar":                "it is not a tar file",
		"./empty.tar":               "it is no archive",
		"./files.tar":               "neither an OCI layout (index.json) nor what `docker save` writes (manifest.json)",
		"./up.tar":                  "leads out of it",
		"./cut.tar":                 "it is cut off",
		"./packed.tar.xz":           "xz -d",
		"./claims.tar":              "it is cut off in oci-layout",
		"./dir":                     "is no OCI layout",
		"oci-archive:files.tar":     "holds no OCI layout",
		"oci:text.tar":              "oci-archive:text.tar",
		"docker-archive:dir":        "is a directory",
		"":                          "is empty",
	} {
		_, err := r.Find(t.Context(), text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Find(%q): %v, want %q", text, err, want)
		}
	}
	if left, err := os.ReadDir(r.Temp); err != nil || len(left) > 0 {
		t.Errorf("left in the folder of temporary files: %v %v", left, err)
	}
}
