package buildkit_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

func kv(pairs ...string) []config.KeyValue {
	var out []config.KeyValue
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, config.KeyValue{Key: pairs[i], Value: pairs[i+1]})
	}
	return out
}

// entries lists the files in a tar.
func entries(t *testing.T, data []byte) []string {
	t.Helper()
	var out []string
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimSuffix(h.Name, "/"))
	}
}

func TestOutputs(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{
		"word":       "hello\n",
		"Dockerfile": "FROM scratch\nCOPY word /word\nENV A=1\n",
		"there/old":  "old\n",
		"gone/old":   "old\n",
	})
	var stdout bytes.Buffer
	s := &session{dir: dir, opt: buildkit.Options{Stdout: &stdout}, targets: []*config.Target{
		{Name: "new", Outputs: toDir("a/b/new")},
		{Name: "over", Outputs: toDir("there")},
		{Name: "delete", Outputs: []config.Export{{Type: "local", Dest: "gone", Attrs: kv("mode", "delete")}}},
		{Name: "tar", Outputs: []config.Export{{Type: "tar", Dest: "c/files.tar"}}},
		{Name: "stdout", Outputs: []config.Export{{Type: "tar", Dest: "-"}}},
		{Name: "oci", Tags: []string{"x/oci:1"}, Outputs: []config.Export{{Type: "oci", Dest: "d/oci.tar"}, {Type: "docker", Dest: "d/docker.tar"}}},
		{Name: "dir1", Tags: []string{"x/dir:1"}, Outputs: []config.Export{{Type: "oci", Dest: "layout", Attrs: kv("tar", "false")}}},
		{Name: "dir2", Tags: []string{"x/dir:2"}, Outputs: []config.Export{
			{Type: "oci", Dest: "layout", Attrs: kv("tar", "false")}, {Type: "oci", Dest: "layout2", Attrs: kv("tar", "false")}}},
		{Name: "image", Tags: []string{"x/image:1"}, Outputs: []config.Export{{Type: "image"}}},
		{Name: "none", Outputs: cacheOnly},
	}}
	out := s.must(t)
	for _, name := range []string{"a/b/new", "there", "gone"} {
		if got := read(t, dir, name, "word"); got != "hello\n" {
			t.Errorf("%s/word = %q", name, got)
		}
	}
	if read(t, dir, "there/old") != "old\n" {
		t.Error("a local output removed what was there")
	}
	if _, err := os.Stat(filepath.Join(dir, "gone/old")); err == nil {
		t.Error("mode=delete did not remove what was there")
	}
	if got := entries(t, []byte(read(t, dir, "c/files.tar"))); !slices.Contains(got, "word") {
		t.Errorf("tar holds %q", got)
	}
	if got := entries(t, stdout.Bytes()); !slices.Contains(got, "word") {
		t.Errorf("tar on stdout holds %q", got)
	}
	if got := entries(t, []byte(read(t, dir, "d/oci.tar"))); !slices.Contains(got, "index.json") || !slices.Contains(got, "oci-layout") {
		t.Errorf("oci tar holds %q", got)
	}
	if got := entries(t, []byte(read(t, dir, "d/docker.tar"))); !slices.Contains(got, "manifest.json") {
		t.Errorf("docker tar holds %q", got)
	}
	var index ocispec.Index
	if err := json.Unmarshal([]byte(read(t, dir, "layout/index.json")), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 2 { // one image under two names
		t.Errorf("the layout has %d entries, want 2", len(index.Manifests))
	}
	for _, d := range index.Manifests {
		if out["dir1"].Output.Digest != d.Digest.String() {
			t.Errorf("the layout has %s, the output is %s", d.Digest, out["dir1"].Output.Digest)
		}
	}
	read(t, dir, "layout2/index.json")
	if got := out["image"].Output; got.Digest == "" || !slices.Equal(got.Refs, []string{"docker.io/x/image:1"}) {
		t.Errorf("image: %+v", got)
	}
	if got := out["none"].Output; got.Digest != "" || got.Refs != nil {
		t.Errorf("cacheonly: %+v", got)
	}
	if got := out["tar"].Output.Refs; !slices.Equal(got, []string{"c/files.tar"}) {
		t.Errorf("tar: %q", got)
	}
	for name, o := range out {
		if o.Output.Digest != "" && name != "image" && o.Output.Digest != out["image"].Output.Digest {
			t.Errorf("%s has digest %s, image has %s", name, o.Output.Digest, out["image"].Output.Digest)
		}
	}
	noLeftovers(t, dir)
}

// noLeftovers checks that nothing unfinished lies about.
func noLeftovers(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.Contains(path, ".kiln-") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOutputInTheWay(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n", "file": "", "dir/file": ""})
	for _, tt := range []struct {
		out  config.Export
		want string
	}{
		{config.Export{Type: "local", Dest: "file"}, `output "file" is to be a directory, but there is a file of that name`},
		{config.Export{Type: "tar", Dest: "dir"}, `output "dir" is to be a file, but there is a directory of that name`},
		{config.Export{Type: "docker"}, `loaded into the Docker Engine. Name a file`},
	} {
		s := &session{dir: dir, targets: []*config.Target{{Name: "app", Outputs: []config.Export{tt.out}}}, opt: buildkit.Options{Engines: engineAt(dir + "/docker.sock")}}
		_, err := s.run(t, t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error is %v, want %q", tt.out, err, tt.want)
		}
	}
}

// engineAt is a Docker Engine at a socket, for any Docker context.
func engineAt(sock string) buildkit.Engines {
	return func(ctx context.Context, _ string) (buildkit.Engine, error) {
		dial := func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", sock)
		}
		c, err := dial(ctx)
		if err == nil {
			err = c.Close()
		}
		return buildkit.Engine{Name: "unix://" + sock, Dial: dial}, err
	}
}

// TestDockerLoad loads into a stand-in for the Docker Engine.
func TestDockerLoad(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	sock := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	var loaded []byte
	answer := `{"stream":"Loaded image: x/app:1\n"}`
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/images/load" {
			loaded, _ = io.ReadAll(r.Body)
			io.WriteString(w, answer)
		}
	})}}
	srv.Start()
	defer srv.Close()
	s := &session{dir: dir, conn: dial(t, ""), targets: []*config.Target{{Name: "app", Tags: []string{"x/app:1"}, Outputs: []config.Export{{Type: "docker"}}}},
		opt: buildkit.Options{Engines: engineAt(sock)}}
	out := s.must(t)
	if got := entries(t, loaded); !slices.Contains(got, "manifest.json") {
		t.Errorf("the engine got %q", got)
	}
	if got := out["app"].Output.Refs; !slices.Equal(got, []string{"docker.io/x/app:1"}) {
		t.Errorf("references are %q", got)
	}
	answer = `{"error":"no space left"}`
	if _, err := s.run(t, t.Context()); err == nil || !strings.Contains(err.Error(), "does not take the image: no space left") {
		t.Errorf("error is %v", err)
	}
}

// TestDockerLoadOfIndexes loads several platforms and attestations: into an
// engine that takes them, and not into one that does not, which is told before
// anything is built.
func TestDockerLoadOfIndexes(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	sock := filepath.Join(t.TempDir(), "d.sock")
	loaded := serveEngine(t, sock)
	var asked []string
	containerd := true
	engines := func(ctx context.Context, name string) (buildkit.Engine, error) {
		asked = append(asked, name)
		e, err := engineAt(sock)(ctx, name)
		e.Containerd = containerd
		return e, err
	}
	for name, target := range map[string]config.Target{
		"platforms": {Platforms: []string{"linux/amd64", "linux/arm64"}},
		"attested":  {Attest: []config.Attestation{{Type: "provenance", Attrs: kv("mode", "max")}}},
	} {
		target.Name, target.Tags, target.Outputs = name, []string{"x/app:1"}, []config.Export{{Type: "docker", Attrs: kv("context", "there")}}
		containerd = true
		s := &session{dir: dir, conn: dial(t, ""), targets: []*config.Target{&target}, opt: buildkit.Options{Engines: engines}}
		out := s.must(t)
		tar := untar(t, <-loaded)
		var index ocispec.Index
		if err := json.Unmarshal(tar["blobs/sha256/"+strings.TrimPrefix(out[name].Output.Digest, "sha256:")], &index); err != nil || len(index.Manifests) != 2 {
			t.Errorf("%s: the engine got the index %+v, %v", name, index, err)
		}
		containerd = false
		_, err := s.run(t, t.Context())
		if want := "target " + name + ": the Docker Engine at unix://" + sock + " keeps images in a store of its own, which takes one platform and no attestations"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q", name, err, want)
		}
	}
	if !slices.Equal(asked, []string{"there", "there", "there", "there"}) {
		t.Errorf("engines were asked for by %q", asked)
	}
}

// TestOutputsToldFirst: what is in the way of an output is told before any
// target is built.
func TestOutputsToldFirst(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n", "file": ""})
	r := &recorder{}
	s := &session{dir: dir, sink: r, targets: []*config.Target{
		{Name: "one", Outputs: []config.Export{{Type: "local", Dest: "out"}}},
		{Name: "two", Outputs: []config.Export{{Type: "local", Dest: "file"}}},
		{Name: "three", Outputs: []config.Export{{Type: "tar", Dest: "."}}},
	}}
	_, err := s.run(t, t.Context())
	for _, want := range []string{`target two: output "file" is to be a directory`, `target three: output "." is to be a file`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
	if n := len(r.of(exec.Started)); n > 0 {
		t.Errorf("%d targets were begun", n)
	}
}

// TestOutputModes: a file keeps the permissions of the one that it replaces; a
// new one has those that the user's mask leaves.
func TestOutputModes(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n", "there.tar": "old"})
	if err := os.Chmod(filepath.Join(dir, "there.tar"), 0o600); err != nil {
		t.Fatal(err)
	}
	probe, err := os.OpenFile(filepath.Join(dir, "probe"), os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	probe.Close()
	s := &session{dir: dir, targets: []*config.Target{{Name: "app", Outputs: []config.Export{{Type: "tar", Dest: "there.tar"}, {Type: "tar", Dest: "new.tar"}}}}}
	s.must(t)
	mode := func(name string) os.FileMode {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return fi.Mode()
	}
	if got := mode("there.tar"); got != 0o600 {
		t.Errorf("the file that was there has mode %v", got)
	}
	if got, want := mode("new.tar"), mode("probe"); got != want {
		t.Errorf("the new file has mode %v, want %v", got, want)
	}
}

// TestOutputsOfFailedBuilds: a target that is not built leaves nothing where
// its outputs were to be, however it is built.
func TestOutputsOfFailedBuilds(t *testing.T) {
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{"Dockerfile": busyboxLines + "RUN exit 7\n"}))
	outs := []config.Export{{Type: "local", Dest: "out"}, {Type: "tar", Dest: "out.tar"}}
	s := &session{dir: dir, mode: exec.KeepGoing, targets: []*config.Target{
		{Name: "plain", Outputs: outs},
		{Name: "attested", Outputs: outs, Attest: []config.Attestation{{Type: "provenance", Attrs: kv("mode", "max")}}},
		{Name: "entitled", Outputs: outs, Entitlements: []string{"security.insecure"}},
	}}
	out, _ := s.run(t, t.Context())
	for name, o := range out {
		if o.Err == nil || !strings.Contains(o.Err.Error(), "exit code: 7") {
			t.Errorf("%s: %v", name, o.Err)
		}
	}
	noLeftovers(t, dir)
	if _, err := os.Stat(filepath.Join(dir, "out")); err == nil {
		t.Error("there is an output")
	}
}

// TestInterruptedExport cancels an export in its middle: nothing may be left,
// and what was there stays.
func TestInterruptedExport(t *testing.T) {
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"Dockerfile": busyboxLines + "RUN dd if=/dev/urandom of=/big bs=1M count=100\n",
		"image.tar":  "of an earlier build\n",
	}))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	s := &session{dir: dir, targets: []*config.Target{
		{Name: "app", Outputs: []config.Export{{Type: "oci", Dest: "image.tar"}, {Type: "local", Dest: "out"}}},
	}, sink: sinkFunc(func(e exec.Event) {
		if e.Kind == exec.Solved {
			time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
		}
	})}
	begin := time.Now()
	_, err := s.run(t, ctx)
	if !errors.Is(err, why) {
		t.Errorf("error is %v, want %v", err, why)
	}
	t.Logf("ended after %v", time.Since(begin))
	if got := read(t, dir, "image.tar"); got != "of an earlier build\n" {
		t.Errorf("image.tar was replaced by %d bytes", len(got))
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); err == nil {
		t.Error("a half exported directory is left")
	}
	noLeftovers(t, dir)
}

type sinkFunc func(exec.Event)

func (f sinkFunc) Event(e exec.Event) { f(e) }
