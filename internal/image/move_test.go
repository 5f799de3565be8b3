package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	reg "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/registry"
)

// A watchedRegistry counts what is asked of a registry, and may answer itself.
type watchedRegistry struct {
	http.Handler
	mu    sync.Mutex // guards asked and before
	asked []string
	// before may answer a request, and then returns true.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func (g *watchedRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.asked = append(g.asked, r.Method+" "+r.URL.Path)
	before := g.before
	g.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	g.Handler.ServeHTTP(w, r)
}

// count returns how many requests began so, and forgets all.
func (g *watchedRegistry) count(begin string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, a := range g.asked {
		if strings.HasPrefix(a, begin) {
			n++
		}
	}
	return n
}

func (g *watchedRegistry) reset(before func(http.ResponseWriter, *http.Request) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked, g.before = nil, before
}

func newWatchedRegistry(t *testing.T) (*watchedRegistry, string) {
	t.Helper()
	g := &watchedRegistry{Handler: reg.New(reg.Logger(log.New(io.Discard, "", 0)))}
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	return g, strings.TrimPrefix(srv.URL, "http://")
}

func mustFind(t *testing.T, r *Resolver, text string) *Image {
	t.Helper()
	i, err := r.Find(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// same checks that an image has all blobs of the fixture, and no others.
func same(t *testing.T, i *Image, f *fixture) {
	t.Helper()
	if i.Desc.Digest != f.desc.Digest {
		t.Errorf("%s: digest %s, want %s", i, i.Desc.Digest, f.desc.Digest)
	}
	all, err := i.blobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(f.blobs) {
		t.Errorf("%s: %d blobs, want %d", i, len(all), len(f.blobs))
	}
	for _, d := range all {
		if text, err := i.Read(t.Context(), d); err != nil || !bytes.Equal(text, f.blobs[d.Digest]) {
			t.Errorf("%s: %s: %v", i, d.Digest, err)
		}
	}
}

// A pushed image is whole, attestations and all; what the registry has is not
// sent again, and another repository of it gets it from the first.
func TestPush(t *testing.T) {
	f := multi(t, map[string]string{"app": "1"})
	r := newResolver(t)
	f.put(t, r.Store, "api")
	g, host := newWatchedRegistry(t)
	i := mustFind(t, r, "api")
	push := func(refs ...string) []Pushed {
		t.Helper()
		var parcels []Parcel
		for _, ref := range refs {
			parcels = append(parcels, Parcel{i, host + ref})
		}
		g.reset(nil)
		out, err := Push(t.Context(), parcels, PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := push("/a/api:1", "/a/api:latest", "/b/api:1")
	if out[0].There || out[0].Desc.Digest != f.desc.Digest {
		t.Errorf("first push: %+v", out[0])
	}
	if n := g.count("PATCH"); n != len(f.blobs)-5 { // five are manifests
		t.Errorf("%d blobs were sent, want each of %d once", n, len(f.blobs)-5)
	}
	for _, ref := range []string{"/a/api:1", "/a/api", "/b/api:1"} {
		same(t, mustFind(t, r, "docker://"+host+ref), f)
	}
	if out := push("/a/api:1"); !out[0].There || g.count("P") > 0 {
		t.Errorf("second push: %+v, %d writes", out[0], g.count("P"))
	}
	if out := push("/a/api:2"); out[0].There || g.count("PATCH") > 0 {
		t.Errorf("another tag: %+v, %d blobs sent", out[0], g.count("PATCH"))
	}
	// From registry to registry, without the store.
	i = mustFind(t, r, "docker://"+host+"/a/api:1")
	push("/c/x:1")
	if n := g.count("PATCH"); n > 0 {
		t.Errorf("%d blobs were sent between two repositories of one registry", n)
	}
	same(t, mustFind(t, r, "docker://"+host+"/c/x:1"), f)
}

// Some platforms of an image are pushed with their attestations, and no others.
func TestPushPlatforms(t *testing.T) {
	f := multi(t, map[string]string{"app": "1"})
	r := newResolver(t)
	f.put(t, r.Store, "api")
	host := newRegistry(t)
	i, err := mustFind(t, r, "api").ForPlatforms(t.Context(), []string{"linux/arm64"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Push(t.Context(), []Parcel{{i, host + "/api"}}, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	all, err := mustFind(t, r, "docker://"+host+"/api").Manifests(t.Context())
	if err != nil || len(all) != 1 || all[0].Config.Architecture != "arm64" || len(all[0].Attestations) != 1 {
		t.Errorf("%+v %v", all, err)
	}
	if _, err := i.ForPlatforms(t.Context(), []string{"linux/amd64"}); err == nil || !strings.Contains(err.Error(), "is not there for linux/amd64; it is for linux/arm64") {
		t.Errorf("%v", err)
	}
	if whole, err := mustFind(t, r, "api").ForPlatforms(t.Context(), []string{"linux/arm64", "linux/amd64"}); err != nil || whole.Desc.Digest != f.desc.Digest {
		t.Errorf("all platforms: %v %v", whole, err)
	}
}

// What the network fails is tried again; what it would fail again is told, by
// its status, with what can be done.
func TestPushTrouble(t *testing.T) {
	f := single(t, map[string]string{"app": "1"})
	r := newResolver(t)
	f.put(t, r.Store, "api")
	i := mustFind(t, r, "api")
	// fail answers the first n requests of a method so; all if n is -1.
	fail := func(n int64, status int, method string) func(http.ResponseWriter, *http.Request) bool {
		var asked atomic.Int64
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != method || n >= 0 && asked.Add(1) > n {
				return false
			}
			if status == 0 {
				_, _ = io.Copy(io.Discard, r.Body) // else the end of the connection may overtake what is still sent
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(status)
			return true
		}
	}
	hang := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see the client go
		<-r.Context().Done()
		return true
	}
	for name, test := range map[string]struct {
		before  func(http.ResponseWriter, *http.Request) bool
		retries int
		want    string // "" is that it is pushed
	}{
		"one 500":         {fail(1, 500, "PATCH"), 1, ""},
		"one reset":       {fail(1, 0, "POST"), 1, ""},
		"one 503 at PUT":  {fail(1, 503, "PUT"), 1, ""},
		"one 429 at HEAD": {fail(1, 429, "HEAD"), 1, ""},
		"always 500":      {fail(-1, 500, "POST"), 1, "answers 500 Internal Server Error"},
		"always 429":      {fail(-1, 429, "POST"), 0, "answers 429 Too Many Requests"},
		"401":             {fail(-1, 401, "POST"), 1, "log in with `docker login"},
		"403":             {fail(-1, 403, "POST"), 1, "answers 403 Forbidden"},
		"413":             {fail(-1, 413, "PATCH"), 1, "allows no blobs of that size"},
		"always reset":    {fail(-1, 0, "PATCH"), 0, "EOF"},
		"silence":         {hang, 0, "nothing came from it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, host := newWatchedRegistry(t)
			g.reset(test.before)
			o := PushOptions{Retries: exec.Retries{Times: test.retries}}
			if name == "silence" {
				o.Registries.Silence = 300 * time.Millisecond
			}
			out, err := Push(t.Context(), []Parcel{{i, host + "/api:1"}}, o)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || out[0].Err == nil {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), host) {
				t.Errorf("the error does not say the registry: %v", err)
			}
		})
	}
}

// A registry may answer before it has all of a blob, which is then still read:
// what is told to be sent is each blob, once.
func TestPushCountsOneAttempt(t *testing.T) {
	var large strings.Builder
	for seed := range uint64(100) {
		large.WriteString(noise(seed))
	}
	f := single(t, map[string]string{"app": large.String()})
	r := newResolver(t)
	f.put(t, r.Store, "api")
	g, host := newWatchedRegistry(t)
	var answered atomic.Int64
	g.reset(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || answered.Add(1) > 2 {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	var found, sent atomic.Int64
	tell := func(e Event) {
		switch e.Kind {
		case Found:
			found.Add(e.Bytes)
		case Sent:
			sent.Add(e.Bytes)
		}
	}
	if _, err := Push(t.Context(), []Parcel{{mustFind(t, r, "api"), host + "/api:1"}}, PushOptions{Retries: exec.Retries{Times: 3}, Tell: tell}); err != nil {
		t.Fatal(err)
	}
	if sent.Load() != found.Load() {
		t.Errorf("%d bytes were sent of %d", sent.Load(), found.Load())
	}
}

// A parcel that fails does not keep the others.
func TestPushSome(t *testing.T) {
	f := single(t, map[string]string{"app": "1"})
	r := newResolver(t)
	f.put(t, r.Store, "api")
	g, host := newWatchedRegistry(t)
	g.reset(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/closed/") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	i := mustFind(t, r, "api")
	out, err := Push(t.Context(), []Parcel{{i, host + "/closed/api:1"}, {i, host + "/open/api:1"}}, PushOptions{})
	if err == nil || out[0].Err == nil || out[1].Err != nil {
		t.Errorf("%v: %+v", err, out)
	}
	same(t, mustFind(t, r, "docker://"+host+"/open/api:1"), f)
}

// A push that is interrupted ends, and says so.
func TestPushCancelled(t *testing.T) {
	f := single(t, map[string]string{"app": "1"})
	r := newResolver(t)
	f.put(t, r.Store, "api")
	g, host := newWatchedRegistry(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped by the test")
	g.reset(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			cancel(stopped)
			<-r.Context().Done()
			return true
		}
		return false
	})
	if _, err := Push(ctx, []Parcel{{mustFind(t, r, "api"), host + "/api:1"}}, PushOptions{Retries: exec.Retries{Times: 2}}); !errors.Is(err, stopped) {
		t.Errorf("error %v, want that of the context", err)
	}
}

// HTTP is for this machine only, unless --insecure.
func TestPlainHTTP(t *testing.T) {
	for _, host := range []string{"10.255.255.1:5000", "registry.local:5000"} {
		o := registry.Options{Silence: time.Second}
		tr := &Resolver{Registries: o}
		_, err := tr.ask(t.Context(), host+"/x:1")
		if err == nil {
			t.Errorf("%s was asked", host)
		}
	}
	if _, err := (registry.Options{}).Parse("localhost/x"); err != nil {
		t.Error(err)
	}
}

// Save gives the same bytes each time, and what is saved is found again with
// all names and blobs, in each format and after another packing.
func TestSaveAndImport(t *testing.T) {
	f, g := multi(t, map[string]string{"app": "1"}), single(t, map[string]string{"web": "2"})
	r := newResolver(t)
	f.put(t, r.Store, "api:1", "reg.example/api:1")
	g.put(t, r.Store, "web")
	images := []*Image{mustFind(t, r, f.desc.Digest.String()), mustFind(t, r, "web")}
	var one, two bytes.Buffer
	if err := Save(t.Context(), &one, images, OCI, nil); err != nil {
		t.Fatal(err)
	}
	if err := Save(t.Context(), &two, []*Image{images[1], images[0]}, OCI, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the same images give other bytes")
	}
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"all.tar": one.String(), "all.tgz": string(gzipped(t, one.Bytes()))})
	for _, name := range []string{"all.tar", "all.tgz"} {
		to := newResolver(t)
		to.Dir = dir
		found, err := to.FindOutside(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range found {
			if _, err := Import(t.Context(), i, to.Store, i.Names, nil); err != nil {
				t.Fatal(err)
			}
		}
		same(t, mustFind(t, to, "store://reg.example/api:1"), f)
		same(t, mustFind(t, to, "store://api:1"), f)
		same(t, mustFind(t, to, "store://web"), g)
	}
}

// A Docker archive has the image of one platform; brought back, it has the
// same ID and files.
func TestDockerArchive(t *testing.T) {
	f := multi(t, map[string]string{"app": "1"})
	r := newResolver(t)
	f.put(t, r.Store, "api:1")
	whole := mustFind(t, r, "api:1")
	i, err := whole.ForMachine(t.Context(), "linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := Save(t.Context(), &buf, []*Image{i}, Docker, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"docker.tar": buf.String()})
	r.Dir = dir
	back := mustFind(t, r, "docker-archive:docker.tar:api:1")
	want, err := i.Manifests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := back.Manifests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Manifest.Config.Digest != want[0].Manifest.Config.Digest || got[0].Manifest.Layers[0].Digest != want[0].Manifest.Layers[0].Digest {
		t.Errorf("got %s, want %s", got[0].Raw, want[0].Raw)
	}
	if _, err := Import(t.Context(), back, r.Store, back.Names, nil); err != nil {
		t.Fatal(err)
	}
	if d := mustFind(t, r, "api:1").Desc; d.Digest == f.desc.Digest || d.MediaType != ocispec.MediaTypeImageManifest {
		t.Errorf("the name stands for %s", d.Digest)
	}
}

// What `docker save` writes, with plain layers and links between them, is
// packed on its way into the store.
func TestImportPlainLayers(t *testing.T) {
	layer := tarOf(t, map[string]string{"hello": "world"})
	id := digest.FromBytes(layer)
	config := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + id.String() + `","` + id.String() + `"]}}`
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"plain.tar": string(tarWithLinks(t, map[string]string{
		"config.json": config, "a/layer.tar": string(layer),
		"manifest.json": `[{"Config":"config.json","RepoTags":["app:1"],"Layers":["a/layer.tar","b/layer.tar"]}]`,
	}, map[string]string{"b/layer.tar": "../a/layer.tar"}))})
	r := newResolver(t)
	r.Dir = dir
	i := mustFind(t, r, "./plain.tar")
	desc, err := Import(t.Context(), i, r.Store, i.Names, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := mustFind(t, r, "store://app:1").Manifests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := all[0].Manifest
	if len(m.Layers) != 2 || m.Layers[0].MediaType != ocispec.MediaTypeImageLayerGzip || m.Config.Digest != digest.FromString(config) || desc.Digest != digest.FromBytes(all[0].Raw) {
		t.Errorf("%s", all[0].Raw)
	}
}

// Docker writes the platforms that it has under an index of all: these are the
// image, under a digest of their own, and that is told.
func TestImportWhatIsThere(t *testing.T) {
	f := multi(t, map[string]string{"app": "1"})
	files := f.layoutFiles(t, annotationName, "docker.io/library/app:1")
	var idx ocispec.Index
	if err := json.Unmarshal(f.blobs[f.desc.Digest], &idx); err != nil {
		t.Fatal(err)
	}
	amd, arm := idx.Manifests[0], idx.Manifests[1]
	delete(files, "blobs/sha256/"+arm.Digest.Encoded())
	r := newResolver(t)
	r.Dir = t.TempDir()
	var notes []string
	r.Note = func(text string) { notes = append(notes, text) }
	write := func() {
		if err := os.WriteFile(filepath.Join(r.Dir, "app.tar"), tarOf(t, files), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	all, err := r.FindOutside(t.Context(), "app.tar")
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	desc, err := Import(t.Context(), all[0], r.Store, all[0].Names, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := "app:1 in app.tar lists platforms that are not there (linux/arm64); what is there has another digest, " + desc.Digest.String(); len(notes) != 1 || notes[0] != want {
		t.Errorf("notes %q, want %q", notes, want)
	}
	there, err := mustFind(t, r, "store://app:1").Manifests(t.Context())
	if err != nil || len(there) != 1 || there[0].Desc.Digest != amd.Digest || len(there[0].Attestations) != 1 {
		t.Errorf("in the store are %+v, %v", there, err)
	}
	if c, err := r.Store.Check(t.Context()); err != nil || len(c.Faults) > 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := all[0].ForPlatforms(t.Context(), []string{"linux/arm64"}); err == nil || !strings.Contains(err.Error(), "it is for linux/amd64") {
		t.Errorf("error %v", err)
	}
	// With no platform at all, the image is not complete.
	delete(files, "blobs/sha256/"+amd.Digest.Encoded())
	write()
	if _, err := Import(t.Context(), mustFind(t, r, "./app.tar"), r.Store, nil, nil); err == nil || !strings.Contains(err.Error(), amd.Digest.String()+" is missing: the image is not complete") {
		t.Errorf("error %v", err)
	}
}

// An archive that tells wrong sizes of blobs which the store has is refused,
// and the blobs stay: they are another image's.
func TestImportLeavesWhatIsRight(t *testing.T) {
	f := single(t, map[string]string{"app": noise(3) + noise(4) + noise(5) + noise(6) + noise(7) + noise(8)}) // a layer that is not read at a glance
	m, err := manifestOf(f)
	if err != nil {
		t.Fatal(err)
	}
	if m.Layers[0].Size < 64<<10 {
		t.Fatalf("the layer has %d bytes", m.Layers[0].Size)
	}
	r := newResolver(t)
	r.Dir = t.TempDir()
	f.put(t, r.Store, "app")
	for n, size := range []int64{-1, 1, 1 << 62} {
		for k, change := range []func(*ocispec.Manifest){
			func(m *ocispec.Manifest) { m.Config.Size = size },
			func(m *ocispec.Manifest) { m.Layers[0].Size = size },
		} {
			odd := m
			odd.Layers = slices.Clone(m.Layers)
			change(&odd)
			g := &fixture{blobs: maps.Clone(f.blobs)}
			g.desc = g.addJSON(ocispec.MediaTypeImageManifest, odd)
			dir := fmt.Sprintf("layout%d-%d", n, k)
			writeTree(t, filepath.Join(r.Dir, dir), g.layoutFiles(t, annotationRef, "v1"))
			if _, err := Import(t.Context(), mustFind(t, r, dir), r.Store, nil, nil); err == nil {
				t.Errorf("%s, where a blob has the size %d: it was taken", dir, size)
			}
			if c, err := r.Store.Check(t.Context()); err != nil || len(c.Faults) > 0 {
				t.Fatalf("%s: %+v, %v", dir, c.Faults, err)
			}
		}
	}
	same(t, mustFind(t, r, "app"), f)
}

// What is wrong with the store is told as such, and not as the image's.
func TestImportIntoABrokenStore(t *testing.T) {
	f := single(t, map[string]string{"app": "1"})
	r := newResolver(t)
	r.Dir = t.TempDir()
	writeTree(t, r.Dir, map[string]string{"app.tar": string(tarOf(t, f.layoutFiles(t, annotationRef, "v1")))})
	ingest := filepath.Join(r.Store.Dir(), "ingest")
	if err := os.RemoveAll(ingest); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ingest, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Import(t.Context(), mustFind(t, r, "app.tar"), r.Store, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "write image store "+r.Store.Dir()+": ") {
		t.Errorf("error %v", err)
	}
}

// Damaged and hostile archives: what is wrong is said, and nothing of them is
// in the store.
func TestImportDamaged(t *testing.T) {
	f := single(t, map[string]string{"app": "1"})
	all, err := manifestOf(f)
	if err != nil {
		t.Fatal(err)
	}
	layer := "blobs/sha256/" + all.Layers[0].Digest.Encoded()
	files := func(change func(map[string]string)) string {
		out := f.layoutFiles(t, annotationName, "docker.io/library/app:1")
		change(out)
		return string(tarOf(t, out))
	}
	id := digest.FromString("x").String()
	for name, test := range map[string]struct{ text, want string }{
		"missing layer": {files(func(m map[string]string) { delete(m, layer) }), "is missing: the image is not complete"},
		"short layer":   {files(func(m map[string]string) { m[layer] = m[layer][:10] }), "ends after 10 of"},
		"long layer":    {files(func(m map[string]string) { m[layer] += "more" }), "has more than"},
		"changed layer": {files(func(m map[string]string) { m[layer] = strings.Repeat("x", len(m[layer])) }), "has the content of sha256:"},
		"no manifest":   {files(func(m map[string]string) { delete(m, "blobs/sha256/"+f.desc.Digest.Encoded()) }), "is missing"},
		"index no JSON": {files(func(m map[string]string) { m["index.json"] = "{" }), "index.json is no JSON"},
		"schema 1": {files(func(m map[string]string) {
			m["index.json"] = strings.Replace(m["index.json"], ocispec.MediaTypeImageManifest, typeSignedSchema1, 1)
		}), "schema 1"},
		"unknown type": {files(func(m map[string]string) {
			m["index.json"] = strings.Replace(m["index.json"], ocispec.MediaTypeImageManifest, "application/pdf", 1)
		}), `media type "application/pdf" is not that of an image`},
		"bad digest": {files(func(m map[string]string) {
			m["index.json"] = strings.Replace(m["index.json"], "sha256:", "sha256:../", 1)
		}), "invalid checksum digest"},
		"no digest": {files(func(m map[string]string) {
			m["index.json"] = `{"schemaVersion":2,"manifests":[{"mediaType":"` + ocispec.MediaTypeImageManifest + `"}]}`
		}), `import: an image without a digest in ./x.tar: digest ""`},
		"no images":       {files(func(m map[string]string) { m["index.json"] = `{"schemaVersion":2,"manifests":[]}` }), "holds no image"},
		"docker no layer": {string(tarOf(t, map[string]string{"manifest.json": `[{"Config":"c.json","Layers":["l.tar"]}]`, "c.json": `{"rootfs":{"type":"layers","diff_ids":["` + id + `"]}}`})), "lists a file that the archive does not hold"},
		"docker layers":   {string(tarOf(t, map[string]string{"manifest.json": `[{"Config":"c.json","Layers":["l.tar"]}]`, "c.json": `{"rootfs":{"type":"layers","diff_ids":[]}}`})), "lists 1 layers for the image of c.json, whose configuration lists 0"},
		"docker layer":    {string(tarOf(t, map[string]string{"manifest.json": `[{"Config":"c.json","Layers":["l.tar"]}]`, "l.tar": "y", "c.json": `{"rootfs":{"type":"layers","diff_ids":["` + id + `"]}}`})), "has the content of sha256:"},
		"docker config":   {string(tarOf(t, map[string]string{"manifest.json": `[{"Config":"` + strings.Repeat("0", 64) + `.json","Layers":[]}]`, strings.Repeat("0", 64) + ".json": `{}`})), "has the content of sha256:"},
		"link outside":    {string(tarWithLinks(t, map[string]string{"manifest.json": `[{"Config":"c.json","Layers":[]}]`}, map[string]string{"c.json": "/etc/passwd"})), "lists a file that the archive does not hold"},
		"link loop":       {string(tarWithLinks(t, map[string]string{"manifest.json": `[{"Config":"c.json","Layers":[]}]`}, map[string]string{"c.json": "c.json"})), "too many links"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResolver(t)
			r.Dir = t.TempDir()
			if err := os.WriteFile(filepath.Join(r.Dir, "x.tar"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			i, err := r.Find(t.Context(), "./x.tar")
			if err == nil {
				_, err = Import(t.Context(), i, r.Store, i.Names, nil)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if all, err := r.Store.List(t.Context()); err != nil || len(all) > 0 {
				t.Errorf("the store has %v (%v)", all, err)
			}
		})
	}
}
