package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/testenv/containers"
)

// Others read what kiln writes, and kiln reads what they write: Debian's
// skopeo and podman, with the store, and with tar files of all kinds.

// rich is an image of two platforms whose configuration says all that one can.
func rich(t *testing.T) *fixture {
	t.Helper()
	f := newFixture()
	var list []ocispec.Descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		lower, first := f.files(t, map[string]string{"etc/one": "1", "bin/" + arch: arch})
		upper, second := f.files(t, map[string]string{"etc/two": "2"})
		at := v1.Time{Time: time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)}
		config := v1.ConfigFile{
			Architecture: arch, OS: "linux", Created: at, Author: "somebody",
			RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{first, second}},
			History: []v1.History{
				{Created: at, CreatedBy: "COPY one /etc/ # buildkit", Comment: "buildkit.dockerfile.v0"},
				{Created: at, CreatedBy: "ENV A=b", EmptyLayer: true},
				{Created: at, CreatedBy: "COPY two /etc/"},
			},
			Config: v1.Config{
				User: "1000:1000", ExposedPorts: map[string]struct{}{"8080/tcp": {}, "53/udp": {}}, Env: []string{"PATH=/bin", "A=b c"},
				Entrypoint: []string{"/bin/app", "--serve"}, Cmd: []string{"all", "of it"}, Volumes: map[string]struct{}{"/data": {}},
				WorkingDir: "/srv", Labels: map[string]string{"role": "api", "note": "with \"quotes\""}, StopSignal: "SIGINT",
				Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "/bin/app", "--well"}, Interval: 30 * time.Second, Retries: 3},
			},
		}
		d := f.addJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: f.addJSON(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{lower, upper},
		})
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		list = append(list, d)
	}
	f.desc = f.addJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: append(list, f.attestation(list[0])),
	})
	return f
}

// facts are what every program tells of an image.
type facts struct {
	ID, Created, Architecture, OS, User, WorkingDir, StopSignal, Author string
	Env, Entrypoint, Cmd, DiffIDs, Ports, Volumes                       []string
	Labels                                                              map[string]string
	Health                                                              []string
	History                                                             []string
}

// factsOf are what a configuration says.
func factsOf(id string, c v1.ConfigFile) facts {
	f := facts{
		ID: id, Created: c.Created.UTC().Format(time.RFC3339), Architecture: c.Architecture, OS: c.OS, User: c.Config.User,
		WorkingDir: c.Config.WorkingDir, StopSignal: c.Config.StopSignal, Author: c.Author, Env: c.Config.Env,
		Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, Labels: c.Config.Labels,
		Ports: keys(c.Config.ExposedPorts), Volumes: keys(c.Config.Volumes),
	}
	for _, d := range c.RootFS.DiffIDs {
		f.DiffIDs = append(f.DiffIDs, d.String())
	}
	if c.Config.Healthcheck != nil {
		f.Health = c.Config.Healthcheck.Test
	}
	for _, h := range c.History {
		f.History = append(f.History, h.CreatedBy+"|"+h.Comment)
	}
	return f
}

func keys(m map[string]struct{}) []string {
	var out []string
	for k := range m { // sorted below
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// podmanFacts are what `podman image inspect` says.
func podmanFacts(t *testing.T, c *containers.Tools, name string) facts {
	t.Helper()
	var said []struct {
		ID           string `json:"Id"`
		Created      time.Time
		Architecture string
		Os           string
		Author       string
		Config       v1.Config
		RootFS       struct{ Layers []string }
		Healthcheck  *v1.HealthConfig
		History      []v1.History
	}
	text := c.Run("podman", "image", "inspect", name)
	if err := json.Unmarshal([]byte(text), &said); err != nil || len(said) != 1 {
		t.Fatalf("podman image inspect %s: %v: %s", name, err, text)
	}
	s := said[0]
	f := factsOf(s.ID, v1.ConfigFile{Created: v1.Time{Time: s.Created}, Architecture: s.Architecture, OS: s.Os, Author: s.Author, Config: s.Config, History: s.History})
	f.DiffIDs = s.RootFS.Layers
	if s.Healthcheck != nil {
		f.Health = s.Healthcheck.Test
	}
	return f
}

// interop is what these tests stand on.
type interop struct {
	*containers.Tools
	r    *Resolver
	f    *fixture
	dir  string
	want facts // of the platform of this machine's tests, amd64
}

func newInterop(t *testing.T) *interop {
	t.Helper()
	x := &interop{Tools: containers.New(t), r: newResolver(t), f: rich(t), dir: t.TempDir()}
	x.r.Dir = x.dir
	x.f.put(t, x.r.Store, "example.com/team/app:1")
	x.want = x.facts(t, "example.com/team/app:1")
	return x
}

// facts are what kiln says of an image's amd64.
func (x *interop) facts(t *testing.T, text string) facts {
	t.Helper()
	i, err := mustFind(t, x.r, text).ForMachine(t.Context(), "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	all, err := i.Manifests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return factsOf(all[0].Manifest.Config.Digest.Encoded(), all[0].Config)
}

// save writes the image to a file in the directory.
func (x *interop) save(t *testing.T, name string, f Format) string {
	t.Helper()
	i := mustFind(t, x.r, "example.com/team/app:1")
	if f == Docker {
		var err error
		if i, err = i.ForMachine(t.Context(), "linux/amd64"); err != nil {
			t.Fatal(err)
		}
	}
	var buf bytes.Buffer
	if err := Save(t.Context(), &buf, []*Image{i}, f, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(x.dir, name)
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSkopeoReads(t *testing.T) {
	x := newInterop(t)
	for n, from := range []string{
		"oci:" + x.r.Store.Dir() + ":example.com/team/app:1",
		"oci-archive:" + x.save(t, "oci.tar", OCI),
		"oci-archive:" + x.save(t, "oci.tar", OCI) + ":example.com/team/app:1",
		"docker-archive:" + x.save(t, "docker.tar", Docker) + ":example.com/team/app:1",
	} {
		var config v1.ConfigFile
		if err := json.Unmarshal([]byte(x.Run("skopeo", "--override-arch=amd64", "inspect", "--config", from)), &config); err != nil {
			t.Fatal(err)
		}
		got, want := factsOf("", config), x.want
		want.ID, want.Health = "", got.Health // it shows OCI's part of the configuration, which has none
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", from, diff)
		}
		// All of its blobs, as it checks them, to another layout and back.
		to := filepath.Join(x.dir, fmt.Sprintf("copy-%d", n))
		args := []string{"copy", "--override-arch=amd64", from, "oci:" + to + ":copied"}
		if !strings.HasPrefix(from, "docker-archive:") {
			args = append([]string{"copy", "--all"}, args[2:]...)
		}
		x.Run("skopeo", args...)
		i := mustFind(t, x.r, "oci:"+to+":copied")
		if strings.HasPrefix(from, "docker-archive:") {
			got, want := x.facts(t, "oci:"+to), x.want
			want.ID, want.Health = got.ID, nil // it makes an OCI configuration of it
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, copied: %s", from, diff)
			}
			continue
		}
		same(t, i, x.f)
	}
}

func TestPodmanReads(t *testing.T) {
	x := newInterop(t)
	for _, load := range []struct{ file, name string }{
		{x.save(t, "oci.tar", OCI), "example.com/team/app:1"},
		{x.save(t, "docker.tar", Docker), "example.com/team/app:1"},
	} {
		if said := x.Run("podman", "load", "-i", load.file); !strings.Contains(said, load.name) {
			t.Errorf("podman load says %q", said)
		}
		got, want := podmanFacts(t, x.Tools, load.name), x.want
		if load.file == filepath.Join(x.dir, "oci.tar") {
			want.Health = nil // Podman reads it in Docker's form only
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", filepath.Base(load.file), diff)
		}
		x.Run("podman", "rmi", load.name)
	}
	// Podman reads the store as it stands. It takes the path for a name, and
	// wants it in lower case.
	dir, err := os.MkdirTemp("", "kiln-store-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Symlink(x.r.Store.Dir(), filepath.Join(dir, "store")); err != nil {
		t.Fatal(err)
	}
	x.Run("podman", "pull", "--arch=amd64", "oci:"+filepath.Join(dir, "store")+":example.com/team/app:1")
	id := strings.TrimSpace(x.Run("podman", "images", "-q", "--no-trunc"))
	want := x.want
	want.Health = nil
	if diff := cmp.Diff(want, podmanFacts(t, x.Tools, id)); diff != "" {
		t.Errorf("the store: %s", diff)
	}
}

func TestKilnReadsTheirs(t *testing.T) {
	x := newInterop(t)
	x.Run("podman", "load", "-i", x.save(t, "oci.tar", OCI))
	file := func(name string) string { return filepath.Join(x.dir, name) }
	x.Run("podman", "save", "-o", file("podman-docker.tar"), "example.com/team/app:1")
	x.Run("podman", "save", "--format=oci-archive", "-o", file("podman-oci.tar"), "example.com/team/app:1")
	x.Run("podman", "save", "--format=oci-dir", "-o", file("podman-dir"), "example.com/team/app:1")
	store := "oci:" + x.r.Store.Dir() + ":example.com/team/app:1"
	x.Run("skopeo", "copy", "--override-arch=amd64", store, "docker-archive:"+file("skopeo-docker.tar")+":example.com/team/app:1")
	x.Run("skopeo", "copy", "--all", store, "oci-archive:"+file("skopeo-oci.tar")+":example.com/team/app:1")
	x.Run("skopeo", "copy", "--all", store, "oci:"+file("skopeo-dir")+":v7")
	for _, from := range []string{"podman-docker.tar", "podman-oci.tar", "podman-dir", "skopeo-docker.tar", "skopeo-oci.tar", "skopeo-dir"} {
		to := newResolver(t)
		to.Dir = x.dir
		all, err := to.FindOutside(t.Context(), from)
		if err != nil || len(all) != 1 {
			t.Errorf("%s: %d images: %v", from, len(all), err)
			continue
		}
		named, err := all[0].Named([]string{"back"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Import(t.Context(), named, to.Store, named.Names, nil); err != nil {
			t.Errorf("%s: %v", from, err)
			continue
		}
		y := &interop{r: to}
		name := named.Names[0]
		if from == "skopeo-dir" && name != "docker.io/library/back:v7" {
			t.Errorf("%s: the name is %s", from, name)
		}
		got := y.facts(t, "store://"+name)
		if strings.HasPrefix(from, "podman") && strings.Contains(from, "docker") || from == "skopeo-docker.tar" {
			got.ID = x.want.ID // Docker's form of the configuration may have other bytes
		}
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Errorf("%s: %s", from, diff)
		}
		if !strings.HasSuffix(from, "dir") && from != "skopeo-dir" && !slices.Contains(all[0].Names, "example.com/team/app:1") {
			t.Errorf("%s: names %v", from, all[0].Names)
		}
	}
}
