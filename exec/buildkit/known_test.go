package buildkit_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// A rememberer builds one directory again and again.
type rememberer struct {
	t      *testing.T
	addr   string
	dir    string
	memory string
	watch  *readWatch
	linked bool // a file has several names, so that a walk may not do
}

func newRememberer(t *testing.T, tree map[string]string) *rememberer {
	t.Helper()
	r := &rememberer{t: t, addr: testenv.Start(t).Addr, dir: files(t, t.TempDir(), tree), memory: filepath.Join(t.TempDir(), "memory")}
	r.settle()
	r.watch = watchReads(t, r.dir)
	return r
}

// settle makes what was written old enough for its times to be relied on.
func (r *rememberer) settle() {
	r.t.Helper()
	now := time.Now()
	for time.Since(now) < 150*time.Millisecond {
		time.Sleep(10 * time.Millisecond)
	}
}

// build returns how many directories were uploaded, and checks that none was
// walked twice, and that the results are the files of now.
func (r *rememberer) build(dockerfiles ...string) int {
	r.t.Helper()
	var raw bytes.Buffer
	s := &session{addr: r.addr, dir: r.dir, opt: buildkit.Options{Memory: r.memory, Raw: &raw}}
	out := r.t.TempDir()
	for _, d := range dockerfiles {
		s.targets = append(s.targets, &config.Target{Name: d, Dockerfile: d, Outputs: toDir(filepath.Join(out, d))})
	}
	r.watch.read(r.t)
	s.must(r.t)
	for path, n := range r.watch.read(r.t) {
		if strings.HasSuffix(path, "/") && path != "./" && n > len(dockerfiles) && !r.linked {
			r.t.Errorf("%s was walked %d times", path, n)
		}
	}
	for _, d := range dockerfiles {
		if diff := r.differs(filepath.Join(r.dir, d+"s"), filepath.Join(out, d)); diff != "" {
			r.t.Errorf("%s is not what is there: %s", d, diff)
		}
	}
	return len(uploads(r.t, raw.Bytes()))
}

// differs compares two directories: names, modes and contents.
func (r *rememberer) differs(want, got string) string {
	r.t.Helper()
	one, other := r.tree(want), r.tree(got)
	if one != other {
		return fmt.Sprintf("want\n%sgot\n%s", one, other)
	}
	return ""
}

func (r *rememberer) tree(dir string) string {
	r.t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		text := ""
		switch {
		case fi.Mode().IsRegular():
			text = read(r.t, path)
		case fi.Mode()&os.ModeSymlink != 0:
			text, err = os.Readlink(path)
		}
		fmt.Fprintln(&b, rel, fi.Mode(), text)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return b.String()
}

// TestKnownUploads: what has not changed since the last run is not told to
// the daemon again, and what has is, however small the change.
func TestKnownUploads(t *testing.T) {
	t.Parallel()
	r := newRememberer(t, map[string]string{
		"a": "FROM scratch\nCOPY as /\n", "as/file": "one", "as/deep/er": "two", "as/run!": "three",
		"b": "FROM scratch\nCOPY bs /\n", "bs/file": "other",
	})
	if err := os.Symlink("file", filepath.Join(r.dir, "as/link")); err != nil {
		t.Fatal(err)
	}
	r.settle()
	in := func(name string) string { return filepath.Join(r.dir, "as", name) }
	write := func(name, text string) func() error {
		return func() error { return os.WriteFile(in(name), []byte(text), 0o644) }
	}
	if n := r.build("a"); n != 1 {
		t.Errorf("the first run: %d uploads", n)
	}
	for _, tt := range []struct {
		name   string
		change func() error
	}{
		{"written over", write("file", "ONE")},
		{"added", write("new", "")},
		{"removed", func() error { return os.Remove(in("new")) }},
		{"another mode", func() error { return os.Chmod(in("run"), 0o700) }},
		{"another link", func() error {
			if err := os.Remove(in("link")); err != nil {
				return err
			}
			return os.Symlink("run", in("link"))
		}},
		{"renamed", func() error { return os.Rename(in("deep/er"), in("deep/est")) }},
		{"a directory for a file", func() error {
			if err := os.Remove(in("file")); err != nil {
				return err
			}
			return os.Mkdir(in("file"), 0o755)
		}},
		{"nothing", func() error { return nil }},
	} {
		if err := tt.change(); err != nil {
			t.Fatal(err)
		}
		r.settle()
		r.build("a")
		if n := r.build("a"); n != 0 {
			t.Errorf("%s, and then nothing: %d uploads", tt.name, n)
		}
	}
	if err := os.Link(in("run"), in("runs")); err != nil {
		t.Fatal(err)
	}
	r.linked = true
	r.settle()
	r.build("a")
	if n := r.build("a"); n != 0 {
		t.Errorf("another name, and then nothing: %d uploads", n)
	}
	if err := os.Remove(in("runs")); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.build("a")
	r.linked = false
	// Times that are too young are not relied on.
	for i := range 5 {
		if err := write("quick", fmt.Sprint(i))(); err != nil {
			t.Fatal(err)
		}
		r.build("a")
	}
	r.settle()
	// The daemon keeps one upload of a directory.
	for range 2 {
		for _, d := range []string{"a", "b", "a"} {
			r.build(d)
		}
	}
	r.build("a", "b")
	if n := r.build("a", "b"); n != 0 {
		t.Errorf("two targets: %d uploads", n)
	}
}

// TestKnownUploadsLost: what the daemon has lost is sent, at once.
func TestKnownUploadsLost(t *testing.T) {
	t.Parallel()
	r := newRememberer(t, map[string]string{"a": "FROM scratch\nCOPY as /\n", "as/file": "one"})
	r.build("a")
	for _, what := range []struct {
		name string
		lose func()
	}{
		{"pruned", func() { prune(t, r.addr) }},
		{"another daemon", func() { r.addr = testenv.Start(t).Addr }},
		{"garbage", func() {
			list, err := filepath.Glob(filepath.Join(r.memory, "*.json"))
			if err != nil || len(list) == 0 {
				t.Fatal(list, err)
			}
			for _, path := range list {
				if err := os.WriteFile(path, []byte(`[{"Dir":`), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			prune(t, r.addr)
		}},
	} {
		least := time.Hour
		for try := 0; try < 10 && least > 4*time.Second; try++ { // a busy machine may take as long
			what.lose()
			began := time.Now()
			if n := r.build("a"); n != 1 {
				t.Errorf("%s: %d uploads", what.name, n)
			}
			least = min(least, time.Since(began))
		}
		if least > 4*time.Second { // the daemon waits 5 s for a session
			t.Errorf("%s: it took %v", what.name, least)
		}
		if n := r.build("a"); n != 0 {
			t.Errorf("%s, and then nothing: %d uploads", what.name, n)
		}
	}
	var wait sync.WaitGroup
	for range 4 { // and they all take the same session for theirs
		wait.Go(func() {
			s := &session{addr: r.addr, dir: r.dir, opt: buildkit.Options{Memory: r.memory}, targets: []*config.Target{{Name: "a", Dockerfile: "a", Outputs: cacheOnly}}}
			if _, err := s.run(t, t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

// TestKnownUploadsCache: a cache that is exported has what it needs to be
// found by others, though the daemon knew the files.
func TestKnownUploadsCache(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{"Dockerfile": busyboxLines + "COPY word /\nRUN cat /word\n", "word": "word"}))
	addr, memory, ref := testenv.Start(t).Addr, t.TempDir(), f.host+"/cache:1"
	cache := []config.Cache{{Type: "registry", Attrs: kv("ref", ref, "mode", "max")}}
	for i, target := range []config.Target{{}, {}, {CacheTo: cache}, {CacheFrom: cache}} {
		if i == 3 {
			prune(t, addr)
		}
		target.Name, target.Outputs = "app", cacheOnly
		rec := &recorder{}
		s := &session{addr: addr, dir: dir, sink: rec, opt: buildkit.Options{Memory: memory}, targets: []*config.Target{&target}}
		s.must(t)
		if i == 3 && rec.log("app") != "" {
			t.Errorf("the step was run again:\n%s", rec.log("app"))
		}
	}
}
