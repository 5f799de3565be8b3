package buildkit_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

// A countingRegistry counts what is written to it.
type countingRegistry struct {
	host   string
	writes atomic.Int64
}

func newCountingRegistry(t *testing.T) *countingRegistry {
	c := &countingRegistry{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			c.writes.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	c.host = strings.Replace(strings.TrimPrefix(srv.URL, "http://"), "127.0.0.1", "localhost", 1)
	return c
}

// TestPushUnchanged checks that an image is pushed again if and only if the
// registry has not just what a new push would bring.
func TestPushUnchanged(t *testing.T) {
	t.Parallel()
	reg := newCountingRegistry(t)
	dir := files(t, t.TempDir(), map[string]string{
		"word": "one\n", "Dockerfile": "FROM scratch\nARG PLACE=/word\nCOPY word $PLACE\nLABEL args=unseen\n",
	})
	target := &config.Target{Name: "app", Tags: []string{reg.host + "/app:1", reg.host + "/app:2"}, Outputs: []config.Export{{Type: "registry"}}}
	git := &buildkit.GitInfo{Revision: "first", Root: "."}
	s := &session{dir: dir, targets: []*config.Target{target}, opt: buildkit.Options{
		Store: newStore(t), Lower: buildkit.LowerOptions{Provenance: true, Git: git},
	}}
	build := func(what string, pushed bool) string {
		t.Helper()
		before := reg.writes.Load()
		out := s.must(t)["app"].Output
		if got := reg.writes.Load() > before; got != pushed {
			t.Errorf("%s: pushed %v, want %v", what, got, pushed)
		}
		for _, tag := range target.Tags {
			if have := remoteDigest(t, tag); have != out.Digest || out.Metadata["containerimage.digest"] != have {
				t.Errorf("%s: %s is %s, but the output says %s and %q", what, tag, have, out.Digest, out.Metadata)
			}
		}
		if len(out.Refs) != len(target.Tags) {
			t.Errorf("%s: references %q", what, out.Refs)
		}
		return out.Digest
	}
	first := build("the first time", true)
	if build("nothing has changed", false) != first {
		t.Error("the digest has changed though nothing else has")
	}
	for _, change := range []struct {
		what string
		make func()
	}{
		{"a file has changed", func() { files(t, dir, map[string]string{"word": "two\n"}) }},
		{"a file has its old content", func() { files(t, dir, map[string]string{"word": "one\n"}) }},
		{"another commit", func() { git.Revision = "second" }},
		{"an argument", func() { target.Args = kv("PLACE", "/elsewhere") }},
		{"one more tag", func() { target.Tags = append(target.Tags, reg.host+"/app:3") }},
		{"a tag less", func() { target.Tags = target.Tags[:2] }},
		{"somebody has moved a tag", func() {
			r := mustRef(t, target.Tags[1])
			other, err := remote.Image(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(r, other); err != nil {
				t.Fatal(err)
			}
		}},
		{"somebody has deleted a tag", func() {
			if err := remote.Delete(mustRef(t, target.Tags[0])); err != nil {
				t.Fatal(err)
			}
		}},
		{"more provenance", func() { target.Attest = []config.Attestation{{Type: "provenance", Attrs: kv("mode", "max")}} }},
		{"the usual provenance again", func() { target.Attest = nil }},
	} {
		change.make()
		build(change.what, true)
	}
	build("nothing has changed in the end", false)
	target.NoCache = true
	build("without the cache", true)
}

// TestPushToRegistryThatCannotBeRead checks that what cannot be looked up is pushed.
func TestPushToRegistryThatCannotBeRead(t *testing.T) {
	t.Parallel()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	host := strings.Replace(strings.TrimPrefix(srv.URL, "http://"), "127.0.0.1", "localhost", 1)
	dir := files(t, t.TempDir(), map[string]string{"word": "one\n", "Dockerfile": "FROM scratch\nCOPY word /word\n"})
	s := &session{dir: dir, targets: []*config.Target{{Name: "app", Tags: []string{host + "/app:1"}, Outputs: []config.Export{{Type: "registry"}}}},
		opt: buildkit.Options{Store: newStore(t), Lower: buildkit.LowerOptions{Provenance: true}}}
	for range 2 {
		digest := s.must(t)["app"].Output.Digest
		desc, err := remote.Head(mustRef(t, host+"/app:1"))
		if err != nil || desc.Digest.String() != digest {
			t.Errorf("the registry has %v, the output says %s: %v", desc, digest, err)
		}
	}
}

// TestStoreUnchanged checks that an image which the store has is not written
// again, that one whose blob was lost is, and that it is the image which the
// exporter of layouts makes.
func TestStoreUnchanged(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	dir := files(t, t.TempDir(), map[string]string{"word": "one\n", "Dockerfile": "FROM scratch\nCOPY word /word\nENV A=b\n"})
	s := &session{dir: dir, targets: []*config.Target{{Name: "app", Tags: []string{"app:1"}}}, opt: buildkit.Options{Store: st}}
	first := s.must(t)["app"].Output
	blobs := filepath.Join(st.Dir(), "blobs", "sha256")
	stat := func() map[string]int64 {
		out := map[string]int64{}
		list, err := os.ReadDir(blobs)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			fi, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			out[e.Name()] = fi.ModTime().UnixNano()
		}
		return out
	}
	before := stat()
	second := s.must(t)["app"].Output
	if second.Digest != first.Digest || len(second.Refs) != 1 || second.Refs[0] != first.Refs[0] {
		t.Errorf("first %+v, then %+v", first, second)
	}
	after := stat()
	for name, at := range before {
		if after[name] != at {
			t.Errorf("blob %s was written again", name)
		}
		if err := os.Remove(filepath.Join(blobs, name)); err != nil {
			t.Fatal(err)
		}
		if got := s.must(t)["app"].Output.Digest; got != first.Digest {
			t.Errorf("without blob %s the image is %s, not %s", name, got, first.Digest)
		}
	}
	if now := stat(); len(now) != len(before) {
		t.Errorf("the store has %d blobs, not the %d that it had", len(now), len(before))
	}
	s.targets[0].Tags = []string{"app:2"}
	s.must(t)
	if d, err := st.Resolve(t.Context(), "app:2"); err != nil || d.Digest.String() != first.Digest {
		t.Errorf("the second name stands for %v, %v", d.Digest, err)
	}
}
