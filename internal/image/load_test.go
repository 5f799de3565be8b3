package image

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kilnbuild/kiln/internal/docker"
	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/internal/testenv/containers"
)

// loading loads images into one receiver, and counts what is sent.
type loading struct {
	t  *testing.T
	to Receiver
	r  *Resolver
}

// load loads the image of a name and returns what came of it, and the bytes
// that were sent.
func (l *loading) load(text string, platforms ...string) (Loaded, int64) {
	l.t.Helper()
	var sent atomic.Int64
	out, err := Load(l.t.Context(), l.to, mustFind(l.t, l.r, text), platforms, func(e Event) {
		if e.Kind == Sent {
			sent.Add(e.Bytes)
		}
	})
	if err != nil {
		l.t.Fatal(err)
	}
	if out.Note != "" {
		l.t.Errorf("load %s: %s", text, out.Note)
	}
	return out, sent.Load()
}

// Docker gets what it lacks: all of an image, then nothing but a name, then
// the layers that are new.
func TestLoadDocker(t *testing.T) {
	for _, kind := range testenv.DockerKinds(t) {
		t.Run(kind.Name, func(t *testing.T) {
			engine := kind.Start(t)
			r := newResolver(t)
			lower, upper := map[string]string{"lower": noise(1)}, map[string]string{"upper": noise(2)}
			multi(t, lower).put(t, r.Store, "app:1", "app:2")
			layered(t, lower, upper).put(t, r.Store, "app:3")
			to, err := IntoDocker(t.Context(), docker.Endpoint{Host: engine.Host})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { to.Close() })
			l := &loading{t, to, r}
			first, all := l.load("app:1")
			if first.There || all < 10_000 {
				t.Errorf("the first: %+v, %d bytes sent", first, all)
			}
			if got := strings.TrimSpace(engine.Run(t, "images", "--no-trunc", "--format", "{{.ID}}", "app:1")); got != first.ID {
				t.Errorf("docker images says %s, load %s", got, first.ID)
			}
			if again, sent := l.load("app:1"); !again.There || sent != 0 {
				t.Errorf("again: %+v, %d bytes sent", again, sent)
			}
			if named, sent := l.load("app:2"); !named.There || sent != 0 {
				t.Errorf("another name: %+v, %d bytes sent", named, sent)
			}
			if got := strings.TrimSpace(engine.Run(t, "images", "--no-trunc", "--format", "{{.ID}}", "app:2")); got != first.ID {
				t.Errorf("docker images says %s for the other name, load %s", got, first.ID)
			}
			more, sent := l.load("app:3")
			if more.There || !engine.Containerd && sent > all+all/2 {
				t.Errorf("another layer: %+v, %d bytes sent, %d for the first", more, sent, all)
			}
			engine.Run(t, "save", "-o", filepath.Join(t.TempDir(), "all.tar"), "app:1", "app:2", "app:3") // reads all layers
			if engine.Containerd {
				return
			}
			if _, err := Load(t.Context(), to, mustFind(t, r, "app:1"), []string{"linux/amd64", "linux/arm64"}, nil); err == nil || !strings.Contains(err.Error(), "holds one platform of an image") {
				t.Errorf("two platforms: %v", err)
			}
			arm, _ := l.load("app:1", "linux/arm64")
			if got := engine.Run(t, "image", "inspect", "--format", "{{.Architecture}}", arm.ID); got != "arm64\n" {
				t.Errorf("docker inspect says %q", got)
			}
		})
	}
}

// noise is text that does not pack well.
func noise(seed uint64) string {
	var b strings.Builder
	x := seed
	for b.Len() < 30_000 {
		x = x*6364136223846793005 + 1442695040888963407
		fmt.Fprintf(&b, "%x", x)
	}
	return b.String()
}

// layered is an image of one platform with a layer over that of another.
func layered(t *testing.T, lower, upper map[string]string) *fixture {
	t.Helper()
	f := newFixture()
	f.desc = f.manifest(t, "amd64", lower, upper)
	f.desc.Platform = nil
	return f
}

func TestLoadPodman(t *testing.T) {
	c := containers.New(t)
	r := newResolver(t)
	multi(t, map[string]string{"app": noise(1)}).put(t, r.Store, "app:1", "example.com/app:2")
	to, err := IntoPodman(t.Context(), filepath.Join(c.Dir(), "podman"), append(os.Environ(), c.Env...))
	if err != nil {
		t.Fatal(err)
	}
	l := &loading{t, to, r}
	first, sent := l.load("app:1")
	if first.There || sent == 0 {
		t.Errorf("the first: %+v, %d bytes sent", first, sent)
	}
	if named, sent := l.load("example.com/app:2"); !named.There || sent != 0 || named.ID != first.ID {
		t.Errorf("another name: %+v, %d bytes sent", named, sent)
	}
	for _, name := range []string{"docker.io/library/app:1", "example.com/app:2"} {
		if got := strings.TrimSpace(c.Run("podman", "images", "-q", "--no-trunc", name)); got != first.ID {
			t.Errorf("podman images says %s for %s, load %s", got, name, first.ID)
		}
	}
	if _, err := IntoPodman(t.Context(), filepath.Join(t.TempDir(), "podman"), nil); err == nil {
		t.Error("a podman that is not there was taken")
	}
}

func TestLoadContainerd(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("containerd needs root")
	}
	c := containers.New(t)
	dir, err := os.MkdirTemp("", "kc-") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "sock")
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n", dir+"/root", dir+"/state", socket), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Start(func() error {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			err = conn.Close()
		}
		return err
	}, "containerd", "--config", config)
	r := newResolver(t)
	f := multi(t, map[string]string{"app": noise(1)})
	f.put(t, r.Store, "app:1", "app:2")
	to, err := IntoContainerd(t.Context(), socket, "kiln-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.Close() })
	l := &loading{t, to, r}
	first, sent := l.load("app:1")
	if first.There || sent == 0 || first.ID != f.desc.Digest.String() {
		t.Errorf("the first: %+v, %d bytes sent", first, sent)
	}
	if named, sent := l.load("app:2"); !named.There || sent != 0 {
		t.Errorf("another name: %+v, %d bytes sent", named, sent)
	}
	ctr := func(args ...string) string {
		return c.Run("ctr", append([]string{"-a", socket, "-n", "kiln-test"}, args...)...)
	}
	for _, name := range []string{"docker.io/library/app:1", "docker.io/library/app:2"} {
		if got := ctr("images", "ls", "name=="+name); !strings.Contains(got, f.desc.Digest.String()) || !strings.Contains(got, "linux/arm64") {
			t.Errorf("ctr images ls says %s", got)
		}
	}
	if got := ctr("images", "check"); strings.Count(got, "complete") != 2 || strings.Contains(got, "incomplete") {
		t.Errorf("ctr images check says %s", got)
	}
	// What it has it gives back, whole, also after it has collected garbage.
	ctr("images", "rm", "--sync", "docker.io/library/app:2")
	file := filepath.Join(dir, "back.tar")
	ctr("images", "export", "--all-platforms", file, "docker.io/library/app:1")
	same(t, mustFind(t, r, "oci-archive:"+file), f)
	if _, err := Load(t.Context(), to, mustFind(t, r, f.desc.Digest.String()), []string{"linux/s390x"}, nil); err == nil {
		t.Error("a platform that is not there was loaded")
	}
	if _, err := IntoContainerd(t.Context(), socket+".none", "x"); err == nil || !strings.Contains(err.Error(), "it is not there") {
		t.Errorf("a socket that is not there: %v", err)
	}
}

// A reader that ends early does not keep the writer.
func TestSaveToWhoStops(t *testing.T) {
	r := newResolver(t)
	multi(t, map[string]string{"app": noise(1)}).put(t, r.Store, "app:1")
	var buf bytes.Buffer
	w := &stopping{&buf, 3000}
	if err := Save(t.Context(), w, []*Image{mustFind(t, r, "app:1")}, OCI, nil); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("error %v", err)
	}
}

// A stopping writer takes so many bytes.
type stopping struct {
	buf  *bytes.Buffer
	left int
}

func (s *stopping) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		return 0, fmt.Errorf("no space")
	}
	return s.buf.Write(p)
}
