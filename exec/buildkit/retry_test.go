package buildkit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/moby/buildkit/client"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// A flaky registry, which is a web server of one file besides, has something
// else to say to the requests that its fault names.
type flaky struct {
	host string
	url  string

	mu     sync.Mutex // guards all below
	match  func(*http.Request) bool
	answer func(http.ResponseWriter)
	left   int // faults to come
	seen   int // faults so far
}

func newFlaky(t *testing.T) *flaky {
	t.Helper()
	f := &flaky{}
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := f.fault(r); answer != nil {
			answer(w)
		} else if r.URL.Path == "/file" {
			fmt.Fprintln(w, "fetched")
		} else {
			reg.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	f.host = strings.TrimPrefix(srv.URL, "http://")
	return f
}

func (f *flaky) fault(r *http.Request) func(http.ResponseWriter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 || !f.match(r) {
		return nil
	}
	f.left--
	f.seen++
	return f.answer
}

// fails makes the next n requests that match fail.
func (f *flaky) fails(n int, match func(*http.Request) bool, answer func(http.ResponseWriter)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.seen, f.match, f.answer = n, 0, match, answer
}

// count returns how many requests have failed since fails.
func (f *flaky) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// status answers as a registry does; "" is a proxy's answer, without a body.
func status(code int, word string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(code)
		if word != "" {
			fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"so it is"}]}`, word)
		}
	}
}

// reset breaks the connection off.
func reset(w http.ResponseWriter) {
	if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
		c.Close()
	}
}

const always = 1 << 30

func manifests(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
func blobs(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
}
func beginsUpload(r *http.Request) bool { return r.Method == http.MethodPost }
func putManifest(r *http.Request) bool {
	return r.Method == http.MethodPut && manifests(r)
}
func file(r *http.Request) bool { return r.URL.Path == "/file" }

// flakyTree is a context with Dockerfiles that ask f for something; base:1
// is there.
func flakyTree(t *testing.T, f *flaky) string {
	t.Helper()
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"Dockerfile": busyboxLines + "ARG N\nRUN echo $N >/n\n",
		"from":       "FROM " + f.host + "/base:1\nARG M\nRUN echo $M >/m\n",
		"add":        "FROM scratch\nARG M\nADD " + f.url + "/file /\nADD " + f.url + "/file?$M /\n",
		"reader":     "FROM lib\nRUN cat /m >/again\n",
	}))
	s := &session{dir: dir, targets: []*config.Target{{Name: "base", Args: kv("N", f.host), Tags: []string{f.host + "/base:1"}, Outputs: []config.Export{{Type: "registry"}}}}}
	s.must(t)
	return dir
}

// TestNetworkErrors has a daemon meet a server that fails at each of its
// questions: what may be over soon is a NetworkError, with a cause that a
// person understands; what is refused is none.
func TestNetworkErrors(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	dir := flakyTree(t, f)
	conn := dial(t, "")
	push := []config.Export{{Type: "registry"}}
	for i, tt := range []struct {
		name       string
		dockerfile string
		outputs    []config.Export
		match      func(*http.Request) bool
		answer     func(http.ResponseWriter)
		cause      string // "" is no NetworkError
	}{
		{"resolve, 503", "from", cacheOnly, manifests, status(503, ""), "HOST answered 503 Service Unavailable"},
		{"resolve, 500", "from", cacheOnly, manifests, status(500, "UNKNOWN"), "HOST answered 500 Internal Server Error"},
		{"resolve, 429", "from", cacheOnly, manifests, status(429, "TOOMANYREQUESTS"), "HOST answered 429 Too Many Requests"},
		{"resolve, reset", "from", cacheOnly, manifests, reset, "HOST broke the connection off"},
		{"resolve, 401", "from", cacheOnly, manifests, status(401, "UNAUTHORIZED"), ""},
		{"resolve, 403", "from", cacheOnly, manifests, status(403, "DENIED"), ""},
		{"resolve, 404", "from", cacheOnly, manifests, status(404, "MANIFEST_UNKNOWN"), ""},
		{"push, 429", "Dockerfile", push, beginsUpload, status(429, "TOOMANYREQUESTS"), "HOST answered 429 Too Many Requests"},
		{"push, 429 of a proxy", "Dockerfile", push, beginsUpload, status(429, ""), "HOST answered 429 Too Many Requests"},
		{"push, 401", "Dockerfile", push, beginsUpload, status(401, "UNAUTHORIZED"), ""},
		{"push, 403", "Dockerfile", push, beginsUpload, status(403, "DENIED"), ""},
		{"push, 404", "Dockerfile", push, beginsUpload, status(404, "NAME_UNKNOWN"), ""},
		{"add, 503", "add", cacheOnly, file, status(503, ""), "the server answered 503 Service Unavailable"},
		{"add, reset", "add", cacheOnly, file, reset, "HOST broke the connection off"},
		{"add, 404", "add", cacheOnly, file, status(404, ""), ""},
	} {
		for _, frontend := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, frontend=%t", tt.name, frontend), func(t *testing.T) {
				f.fails(always, tt.match, tt.answer)
				s := &session{dir: dir, conn: conn, opt: buildkit.Options{Frontend: frontend}, targets: []*config.Target{{
					Name: "app", Dockerfile: tt.dockerfile, Outputs: tt.outputs, Tags: []string{fmt.Sprintf("%s/app%d:%t", f.host, i, frontend)},
					Args: kv("M", fmt.Sprintf("%d-%t", i, frontend)),
				}}}
				_, err := s.run(t, t.Context())
				var network *exec.NetworkError
				if err == nil || f.count() == 0 {
					t.Errorf("error is %v after %d faults", err, f.count())
				}
				if errors.As(err, &network) != (tt.cause != "") {
					t.Errorf("network error is %+v, want %q: %v", network, tt.cause, err)
				}
				if network != nil && network.Cause != strings.Replace(tt.cause, "HOST", f.host, 1) {
					t.Errorf("cause is %q, want %q", network.Cause, tt.cause)
				}
			})
		}
	}
}

// prune empties the cache of an engine that nothing is built on: what is in use
// it would keep.
func prune(t *testing.T, addr string) {
	t.Helper()
	c, err := client.New(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	unused(t, c, func(*client.UsageInfo) bool { return true })
	if err := c.Prune(t.Context(), nil, client.PruneAll); err != nil {
		t.Fatal(err)
	}
}

// retrying builds, and tries again what the network fails.
func (s *session) retrying(t *testing.T, times int) (map[string]exec.Outcome, error) {
	t.Helper()
	s.wrap = func(inner exec.Solver) exec.Solver { return exec.WithRetries(inner, exec.Retries{Times: times}) }
	return s.run(t, t.Context())
}

// TestRetries has servers fail for a while, in the shared build and in builds
// of their own: what the daemon would remember as failed is asked for anew.
func TestRetries(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	dir := flakyTree(t, f)
	other := testenv.Start(t) // which can be emptied, so that it pulls
	for i, tt := range []struct {
		name       string
		dockerfile string
		match      func(*http.Request) bool
		answer     func(http.ResponseWriter)
		faults     int // as many as the daemon's own attempts, and one more
		export     bool
	}{
		{"resolve", "from", manifests, status(503, ""), 3, false},
		{"add", "add", file, status(502, ""), 2, false},
		{"pull", "from", blobs, status(429, "TOOMANYREQUESTS"), 6, false},
		{"push", "Dockerfile", putManifest, status(429, "TOOMANYREQUESTS"), 6, true},
	} {
		for _, frontend := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, frontend=%t", tt.name, frontend), func(t *testing.T) {
				prune(t, other.Addr)
				f.fails(tt.faults, tt.match, tt.answer)
				args := kv("M", fmt.Sprintf("%d-%t", i, frontend), "N", fmt.Sprintf("%d-%t", i, frontend))
				tag := fmt.Sprintf("%s/app%d:%t", f.host, i, frontend)
				lib := &config.Target{Name: "lib", Dockerfile: tt.dockerfile, Args: args, Tags: []string{tag}, Outputs: []config.Export{{Type: "registry"}}}
				rec := &recorder{}
				s := &session{addr: other.Addr, dir: dir, sink: rec, opt: buildkit.Options{Frontend: frontend}, targets: []*config.Target{lib}}
				if tt.dockerfile == "from" {
					s.targets = append(s.targets, &config.Target{Name: "reader", Dockerfile: "reader", Contexts: []config.NamedSource{from("lib", "lib")}, Outputs: toDir("out" + tt.name)})
				}
				out, err := s.retrying(t, 3)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := out["lib"].Output.Digest, remoteDigest(t, tag); got != want {
					t.Errorf("output has %s, the registry %s", got, want)
				}
				told := rec.of(exec.Retrying)
				if len(told) == 0 || told[0].Node != "lib" || told[0].Retry.Export != tt.export {
					t.Errorf("retries told: %+v", told)
				}
				if n := f.count(); n != tt.faults {
					t.Errorf("%d faults, want %d", n, tt.faults)
				}
				if tt.dockerfile == "from" && read(t, dir, "out"+tt.name, "again") != fmt.Sprintln(args[0].Value) {
					t.Error("the reader has another lib")
				}
			})
		}
	}
}

// putCache is the last request that a cache takes.
func putCache(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/v2/cache/") && putManifest(r)
}

// TestCacheExportFails: the image is exported all the same, and the failure a
// warning, unless the build file says ignore-error=false.
func TestCacheExportFails(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	dir := flakyTree(t, f)
	conn := dial(t, "")
	for i, tt := range []struct {
		name    string
		answer  func(http.ResponseWriter)
		faults  int
		ignore  string // the attribute ignore-error
		warning string // "" is none
		failure string // "" is none
		retries int
	}{
		{"refused", status(403, "DENIED"), always, "", "the cache was not exported: error writing manifest blob: denied: so it is", "", 0},
		{"refused, as asked", status(403, "DENIED"), always, "true", "the cache was not exported: error writing manifest blob: denied: so it is", "", 0},
		{"refused, and that matters", status(403, "DENIED"), always, "false", "", "denied: so it is", 0},
		{"for a moment", status(429, "TOOMANYREQUESTS"), 6, "", "", "", 1},
		{"for a moment, and that matters", status(429, "TOOMANYREQUESTS"), 6, "false", "", "", 1},
		{"for long", status(429, "TOOMANYREQUESTS"), always, "", "the cache was not exported: error writing manifest blob: toomanyrequests: so it is", "", 1},
	} {
		for _, frontend := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, frontend=%t", tt.name, frontend), func(t *testing.T) {
				f.fails(tt.faults, putCache, tt.answer)
				cache := kv("ref", fmt.Sprintf("%s/cache:%d-%t", f.host, i, frontend))
				if tt.ignore != "" {
					cache = append(cache, kv("ignore-error", tt.ignore)...)
				}
				tag := fmt.Sprintf("%s/app%d:%t", f.host, i, frontend)
				rec := &recorder{}
				s := &session{dir: dir, conn: conn, sink: rec, opt: buildkit.Options{Frontend: frontend}, targets: []*config.Target{{
					Name: "app", Args: kv("N", fmt.Sprintf("%s-%d-%t", f.host, i, frontend)), Tags: []string{tag}, Outputs: []config.Export{{Type: "registry"}},
					CacheTo: []config.Cache{{Type: "registry", Attrs: cache}},
				}}}
				out, err := s.retrying(t, 1)
				if tt.failure != "" {
					if err == nil || !strings.Contains(err.Error(), tt.failure) {
						t.Errorf("error is %v, want %q", err, tt.failure)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got, want := out["app"].Output.Digest, remoteDigest(t, tag); got != want {
					t.Errorf("output has %s, the registry %s", got, want)
				}
				warnings := ""
				for _, e := range rec.of(exec.Warning) {
					warnings += string(e.Log)
				}
				if warnings != tt.warning {
					t.Errorf("warnings are %q, want %q", warnings, tt.warning)
				}
				if told := rec.of(exec.Retrying); len(told) != tt.retries {
					t.Errorf("retries told: %+v", told)
				}
				if tt.warning == "" {
					remoteDigest(t, cache[0].Value) // fails the test if it is not there
				}
			})
		}
	}
}

// getCache is the first request that reads a cache.
func getCache(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/v2/cache/") && manifests(r) && !putManifest(r)
}

// TestCacheReads: a cache that cannot be read for a moment is used all the
// same; without one that cannot be read for long the target is built, and
// that is told.
func TestCacheReads(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	dir := flakyTree(t, f)
	other := testenv.Start(t) // which can be emptied, so that it has to read
	for i, tt := range []struct {
		name    string
		answer  func(http.ResponseWriter)
		faults  int
		retries int
		warning string // "" is none
		cached  bool
	}{
		{"for a moment", status(503, ""), 3, 1, "", true}, // the daemon asks twice
		{"for long", reset, always, 1, "cache from REF could not be read, and is not used: failed to configure registry cache importer", false},
		{"refused", status(403, "DENIED"), always, 0, "cache from REF could not be read, and is not used: failed to configure registry cache importer", false},
		{"none there", status(404, "MANIFEST_UNKNOWN"), always, 0, "", false},
	} {
		for kind, change := range map[string]func(*session){
			"in kiln":     func(*session) {},
			"frontend":    func(s *session) { s.opt.Frontend = true },
			"entitlement": func(s *session) { s.targets[0].Entitlements = []string{"network.host"} },
		} {
			t.Run(tt.name+", "+kind, func(t *testing.T) {
				ref := fmt.Sprintf("%s/cache:%d-%d", f.host, i, len(kind))
				args := kv("N", ref)
				f.fails(0, nil, nil)
				fill := &session{addr: other.Addr, dir: dir, targets: []*config.Target{{
					Name: "app", Args: args, Outputs: cacheOnly, CacheTo: []config.Cache{{Type: "registry", Attrs: kv("ref", ref, "mode", "max")}},
				}}}
				fill.must(t)
				prune(t, other.Addr)
				f.fails(tt.faults, getCache, tt.answer)
				rec := &recorder{}
				s := &session{addr: other.Addr, dir: dir, sink: rec, opt: buildkit.Options{CacheTries: 1}, targets: []*config.Target{{
					Name: "app", Args: args, Outputs: toDir("out"), CacheFrom: []config.Cache{{Type: "registry", Attrs: kv("ref", ref)}},
				}}}
				change(s)
				if _, err := s.retrying(t, 1); err != nil {
					t.Fatal(err)
				}
				if got := read(t, dir, "out", "n"); got != ref+"\n" {
					t.Errorf("the result has %q", got)
				}
				cached := false
				for _, e := range rec.of(exec.VertexKind) {
					cached = cached || e.Vertex.Cached && strings.Contains(e.Vertex.Name, "RUN echo")
				}
				if cached != tt.cached {
					t.Errorf("the step was cached: %t", cached)
				}
				told := rec.of(exec.Retrying)
				if len(told) != tt.retries || len(told) > 0 && (!strings.Contains(told[0].Retry.Cause, f.host) || !strings.Contains(told[0].Retry.Cause, "cache from "+ref)) {
					t.Errorf("retries told: %+v", told)
				}
				warnings := ""
				for _, e := range rec.of(exec.Warning) {
					warnings += string(e.Log)
				}
				want := strings.Replace(tt.warning, "REF", ref, 1)
				if (warnings == "") != (want == "") || !strings.HasPrefix(warnings, want) {
					t.Errorf("warnings are %q, want %q", warnings, want)
				}
			})
		}
	}
}

// TestCachesOfOneDirectory: several targets of one directory that export
// their caches export all of them.
func TestCachesOfOneDirectory(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	dir := flakyTree(t, f)
	conn := dial(t, "")
	for kind, change := range map[string]func(*session, *config.Target){
		"in kiln":     func(*session, *config.Target) {},
		"frontend":    func(s *session, _ *config.Target) { s.opt.Frontend = true },
		"entitlement": func(_ *session, tgt *config.Target) { tgt.Entitlements = []string{"network.host"} },
	} {
		t.Run(kind, func(t *testing.T) {
			s := &session{dir: dir, conn: conn, jobs: 1}
			ref := func(i int) string { return fmt.Sprintf("%s/cache:%s-%d", f.host, strings.ReplaceAll(kind, " ", ""), i) }
			for i := range 3 {
				tgt := &config.Target{
					Name: fmt.Sprint("app", i), Args: kv("N", f.host+kind), Outputs: cacheOnly,
					CacheTo: []config.Cache{{Type: "registry", Attrs: kv("ref", ref(i), "ignore-error", "false")}},
				}
				change(s, tgt)
				s.targets = append(s.targets, tgt)
			}
			s.must(t)
			for i := range 3 {
				if got, want := remoteDigest(t, ref(i)), remoteDigest(t, ref(0)); got != want {
					t.Errorf("cache %d is %s, the first %s", i, got, want)
				}
			}
		})
	}
}

// TestStdoutOnce: what went to standard output does not go there again, when
// a push beside it fails.
func TestStdoutOnce(t *testing.T) {
	t.Parallel()
	f := newFlaky(t)
	dir := flakyTree(t, f)
	f.fails(always, putManifest, status(429, "TOOMANYREQUESTS"))
	var out bytes.Buffer
	rec := &recorder{}
	s := &session{dir: dir, sink: rec, opt: buildkit.Options{Stdout: &out}, targets: []*config.Target{{
		Name: "app", Tags: []string{f.host + "/stdout:1"}, Outputs: []config.Export{{Type: "tar", Dest: "-"}, {Type: "registry"}},
	}}}
	_, err := s.retrying(t, 3)
	if err == nil || !strings.Contains(err.Error(), "it is not tried again, as standard output has a part") || len(rec.of(exec.Retrying)) > 0 {
		t.Errorf("error is %v after %d retries", err, len(rec.of(exec.Retrying)))
	}
	if len(entries(t, out.Bytes())) == 0 {
		t.Error("nothing was written")
	}
}
