//go:build linux

package engine

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
)

// What one engine writes as build cache, another reads: its step is not run
// again, so the random file that it made is the same.
func TestCacheKinds(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	dir := t.TempDir()
	for _, tt := range []struct {
		kind     string
		to, from client.CacheOptionsEntry
	}{
		{
			"local",
			client.CacheOptionsEntry{Type: "local", Attrs: map[string]string{"dest": dir, "mode": "max"}},
			client.CacheOptionsEntry{Type: "local", Attrs: map[string]string{"src": dir}},
		},
		{
			"registry",
			client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": host + "/cache:max", "mode": "max"}},
			client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": host + "/cache:max"}},
		},
		{
			"inline",
			client.CacheOptionsEntry{Type: "inline"},
			client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": host + "/image:latest"}},
		},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			image := client.ExportEntry{Type: client.ExporterImage, Attrs: map[string]string{"name": host + "/image:latest", "push": "true"}}
			first := stepOnce(t, newOptions(t), client.SolveOpt{CacheExports: []client.CacheOptionsEntry{tt.to}, Exports: []client.ExportEntry{image}})
			if first != "run" {
				t.Fatalf("the first engine found it %s", first)
			}
			second := stepOnce(t, newOptions(t), client.SolveOpt{CacheImports: []client.CacheOptionsEntry{tt.from}})
			if second != "cached" {
				t.Errorf("the second engine found it %s", second)
			}
		})
	}
}

// stepOnce solves one step on an engine of its own, and tells whether it was
// run or cached.
func stepOnce(t *testing.T, o Options, opt client.SolveOpt) string {
	t.Helper()
	c := newClient(t, connect(t, o))
	// The step program comes in the file operation itself: another machine
	// finds the same content, so the same cache.
	dir, err := stepDir()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(dir, "step"))
	if err != nil {
		t.Fatal(err)
	}
	def, err := llb.Scratch().File(llb.Mkfile("/step", 0o755, program)).
		Run(llb.Args([]string{"/step", "status"})).Root().Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status := make(chan *client.SolveStatus)
	found := make(chan string, 1)
	go func() {
		how := "not run"
		for s := range status {
			for _, v := range s.Vertexes {
				if !strings.HasPrefix(v.Name, "/step") || v.Completed == nil {
					continue
				}
				how = "run"
				if v.Cached {
					how = "cached"
				}
			}
		}
		found <- how
	}()
	_, err = c.Solve(t.Context(), def, opt, status)
	how := <-found
	if err != nil {
		t.Fatal(err)
	}
	return how
}

// The caches of clouds are there too: what is missing is only where they are.
func TestCloudCaches(t *testing.T) {
	o := newOptions(t)
	c := newClient(t, connect(t, o))
	for _, tt := range []struct {
		kind, want string
		attrs      map[string]string
	}{
		{"s3", "bucket", map[string]string{"region": "nowhere"}},
		{"azblob", "account_url", nil},
		{"gha", "token", map[string]string{"url": "http://127.0.0.1:1/"}},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			t.Parallel() // BuildKit's client waits five seconds after such a failure
			def, err := llb.Scratch().File(llb.Mkfile("/"+tt.kind, 0o644, nil)).Marshal(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Solve(t.Context(), def, client.SolveOpt{CacheExports: []client.CacheOptionsEntry{{Type: tt.kind, Attrs: tt.attrs}}}, nil)
			if err == nil || strings.Contains(err.Error(), "unknown cache") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
