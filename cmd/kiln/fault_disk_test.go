package main

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/store"
)

// disk mounts a disk of that many MB on dir.
func disk(t *testing.T, dir string, megabytes int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a small disk can only be mounted by root: run the tests as root, in a container or a virtual machine if need be")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=755", megabytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount the small disk: %v", err)
		}
	})
}

// remount changes a disk of the test.
func remount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, options); err != nil {
		t.Fatal(err)
	}
}

// noise writes a file that no compression makes smaller.
func (s *shell) noise(name string, megabytes int) {
	s.t.Helper()
	data := make([]byte, megabytes<<20)
	rand.Read(data)
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// names lists what is in a directory.
func (s *shell) names(dir string) []string {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

const largeDefinition = `
target "default" {
  dockerfile-inline = "FROM scratch\nCOPY large small /\n"
  output            = [OUTPUT]
}
target "small" {
  dockerfile-inline = "FROM scratch\nCOPY small /\n"
  tags              = ["small:1"]
}
target "kept" {
  inherits = ["default"]
  tags     = ["large:1"]
  output   = []
}
variable "OUTPUT" { default = "type=cacheonly" }
`

// An output that finds no room leaves nothing, and what was there stays.
func TestFullDiskAtExport(t *testing.T) {
	s := newShell(t)
	s.write("build.hcl", largeDefinition)
	s.write("small", "small\n")
	s.noise("large", 6)
	disk(t, filepath.Join(s.dir, "full"), 4)
	s.write("full/old.tar", "old\n")
	for _, tt := range []struct{ output, left string }{
		{"type=tar,dest=full/new.tar", "[old.tar]"},
		{"type=tar,dest=full/old.tar", "[old.tar]"},
		{"type=oci,dest=full/image.tar", "[old.tar]"},
		{"type=docker,dest=full/image.tar", "[old.tar]"},
		{"type=local,dest=full/dir", "[old.tar]"},
		{"type=oci,tar=false,dest=full/layout", "[layout old.tar]"},
	} {
		out := s.run("OUTPUT='" + tt.output + "' kiln build")
		if !strings.Contains(out, "no space left on device") || !strings.Contains(out, "full/") || !strings.HasSuffix(out, "exit status 1\n") {
			t.Errorf("%s: kiln says\n%s", tt.output, out)
		}
		if left := fmt.Sprint(s.names("full")); left != tt.left {
			t.Errorf("%s leaves %s, want %s", tt.output, left, tt.left)
		}
		os.RemoveAll(filepath.Join(s.dir, "full", "layout"))
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, "full", "old.tar")); string(text) != "old\n" {
		t.Errorf("the old file holds %q, %v", text, err)
	}
	remount(t, filepath.Join(s.dir, "full"), 0, "size=64m")
	for _, output := range []string{"type=tar,dest=full/old.tar", "type=oci,tar=false,dest=full/layout"} {
		if out := s.run("OUTPUT='" + output + "' kiln build"); !strings.Contains(out, "1 target built") {
			t.Errorf("with room again: %s", out)
		}
	}
	readTar(t, filepath.Join(s.dir, "full", "old.tar"))
	l, err := layout.ImageIndexFromPath(filepath.Join(s.dir, "full", "layout"))
	if err == nil {
		err = validate.Index(l)
	}
	if err != nil {
		t.Error(err)
	}
}

// readTar reads an archive to its end.
func readTar(t *testing.T, path string) (names []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return names
		}
		names = append(names, h.Name)
	}
}

// kiln's own store on a full disk keeps what it has, and takes more when
// there is room again.
func TestFullDiskInTheStore(t *testing.T) {
	s := newShell(t)
	s.write("build.hcl", largeDefinition)
	s.write("small", "small\n")
	s.noise("large", 6)
	images := filepath.Join(s.stateDir(), "images")
	disk(t, images, 4)
	if out := s.run("kiln build small"); !strings.Contains(out, "1 target built") {
		t.Fatal(out)
	}
	for range 2 {
		out := s.run("kiln build kept")
		if !strings.Contains(out, "no space left on device") || !strings.HasSuffix(out, "exit status 1\n") {
			t.Errorf("kiln says\n%s", out)
		}
	}
	s.wholeStore("docker.io/library/small:1")
	remount(t, images, 0, "size=64m")
	if out := s.run("kiln build kept"); !strings.Contains(out, "1 target built") {
		t.Errorf("with room again: %s", out)
	}
	s.wholeStore("docker.io/library/large:1", "docker.io/library/small:1")
	if left := s.ingests(); len(left) > 0 {
		t.Errorf("half written blobs are left: %v", left)
	}
}

// wholeStore checks that kiln's store holds these images, and nothing that is
// not whole, and returns their digests.
func (s *shell) wholeStore(want ...string) map[string]string {
	s.t.Helper()
	dir := filepath.Join(s.stateDir(), "images")
	st, err := store.Open(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	images, err := st.List(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	digests := map[string]string{}
	for _, i := range images {
		digests[i.Name] = i.Target.Digest.String()
	}
	for _, name := range want {
		if digests[name] == "" {
			s.t.Errorf("the store has no %s, but %v", name, digests)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err == nil {
		err = validate.Index(index)
	}
	if err != nil {
		s.t.Errorf("the store is not whole: %v", err)
	}
	return digests
}

// ingests lists half written blobs that have an owner, dead or alive.
func (s *shell) ingests() []string {
	paths, _ := filepath.Glob(filepath.Join(s.stateDir(), "images", "ingest", "*", "ref")) // the only error is a bad pattern
	return slices.DeleteFunc(paths, func(path string) bool {
		ref, err := os.ReadFile(path)
		return err != nil || len(ref) == 0 // killed before it said whose it is: the store waits a minute
	})
}

// A place that cannot be written to is told, and nothing is left there. What
// is in its way ends the run before it begins, with exit code 2.
func TestUnwritableOutput(t *testing.T) {
	s := newShell(t)
	s.write("build.hcl", largeDefinition)
	s.write("small", "small\n")
	s.write("large", "large\n")
	disk(t, filepath.Join(s.dir, "ro"), 1)
	if err := os.Mkdir(filepath.Join(s.dir, "ro", "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	remount(t, filepath.Join(s.dir, "ro"), unix.MS_RDONLY, "")
	s.write("file", "a file\n")
	for _, tt := range []struct{ output, want string }{
		{"type=tar,dest=ro/out.tar", "read-only file system"},
		{"type=oci,dest=ro/out.tar", "read-only file system"},
		{"type=local,dest=ro/new", "read-only file system"},
		{"type=local,dest=ro/dir", "read-only file system"},
		{"type=oci,tar=false,dest=ro/layout", "read-only file system"},
		{"type=tar,dest=file/out.tar", "not a directory"},
		{"type=local,dest=file", "a file of that name"},
		{"type=local,dest=file/below", "not a directory"},
		{"type=oci,tar=false,dest=file", "a file of that name"},
		{"type=tar,dest=ro", "a directory of that name"},
		{"type=oci,dest=ro/dir", "a directory of that name"},
	} {
		code := 1
		if strings.Contains(tt.want, "a directory") || strings.HasPrefix(tt.want, "a file") {
			code = 2
		}
		out := s.run("OUTPUT='" + tt.output + "' kiln build")
		dest := tt.output[strings.Index(tt.output, "dest=")+5:]
		if !strings.Contains(out, tt.want) || !strings.Contains(out, dest) || !strings.HasSuffix(out, fmt.Sprintf("exit status %d\n", code)) {
			t.Errorf("%s: kiln says\n%s", tt.output, out)
		}
	}
	if got := fmt.Sprint(s.names("ro"), s.names("ro/dir")); got != "[dir] []" {
		t.Errorf("%s is left", got)
	}
}
