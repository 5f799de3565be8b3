package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	osexec "os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// A fault is something that a registry does in place of answering.
type fault struct {
	name string
	once bool // that it lasts shows nothing new
	do   func(http.ResponseWriter, *http.Request)
}

func answers(status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, fmt.Sprintf(`{"errors":[{"code":"UNKNOWN","message":"fault %d"}]}`, status), status)
	}
}

var faults = []fault{
	{"500", false, answers(http.StatusInternalServerError)},
	{"429", false, answers(http.StatusTooManyRequests)},
	{"401", true, answers(http.StatusUnauthorized)},
	{"reset", true, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	{"hang", true, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else a client that goes away is not noticed
		<-r.Context().Done()
	}},
}

// A faultyRegistry answers well but for one request of each case. The case is
// the first part of a repository's name.
type faultyRegistry struct {
	*httptest.Server
	images http.Handler

	mu    sync.Mutex // guards cases
	cases map[string]*registryCase
}

// A registryCase counts the requests of one run of kiln.
type registryCase struct {
	fault   fault
	at      int  // the request, from 1, that goes wrong; 0 is none
	lasting bool // all after it do so, too
	seen    []string
}

func newFaultyRegistry(t *testing.T) *faultyRegistry {
	f := &faultyRegistry{images: registry.New(registry.Logger(log.New(io.Discard, "", 0))), cases: map[string]*registryCase{}}
	f.Server = httptest.NewServer(f)
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *faultyRegistry) host() string { return strings.TrimPrefix(f.URL, "http://") }

// ServeHTTP implements http.Handler.
func (f *faultyRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, rest, _ := strings.Cut(r.URL.Path, "/v2/")
	group, path, _ := strings.Cut(rest, "/")
	f.mu.Lock()
	c, do := f.cases[group], f.images.ServeHTTP
	if c != nil {
		c.seen = append(c.seen, r.Method+" "+path)
		if n := len(c.seen); n == c.at || c.lasting && n > c.at {
			do = c.fault.do
		}
	}
	f.mu.Unlock()
	do(w, r)
}

func (f *faultyRegistry) add(group string, c *registryCase) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cases[group] = c
}

func (f *faultyRegistry) remove(group string) *registryCase {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.cases[group]
	delete(f.cases, group)
	return c
}

// put stores a new image, which no daemon has seen, and returns its digest.
func (f *faultyRegistry) put(t *testing.T, path string) string {
	t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref := f.ref(t, path)
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func (f *faultyRegistry) ref(t *testing.T, path string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(f.host()+"/"+path, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// digest returns what a name stands for, after reading all that it leads to.
func (f *faultyRegistry) digest(t *testing.T, path string) string {
	t.Helper()
	desc, err := remote.Get(f.ref(t, path))
	if err != nil {
		t.Fatal(err)
	}
	var images []v1.Image
	if desc.MediaType.IsIndex() {
		index, err := desc.ImageIndex()
		if err == nil {
			err = validate.Index(index)
		}
		if err != nil {
			t.Errorf("%s is not whole: %v", path, err)
		}
	} else if img, err := desc.Image(); err != nil {
		t.Errorf("%s: %v", path, err)
	} else {
		images = append(images, img)
	}
	for _, img := range images {
		if err := validate.Image(img); err != nil {
			t.Errorf("%s is not whole: %v", path, err)
		}
	}
	return desc.Digest.String()
}

const registryDefinition = `
variable "HOST" {}
variable "GROUP" {}
target "small" {
  dockerfile-inline = "FROM scratch\nARG GROUP\nCOPY build.hcl /$${GROUP}\n"
  args              = { GROUP = GROUP }
  attest            = ["type=provenance,disabled=true"]
}
target "push" {
  inherits = ["small"]
  tags     = ["${HOST}/${GROUP}/app:1"]
  output   = ["type=registry"]
}
target "pull" {
  dockerfile-inline = "FROM ${HOST}/${GROUP}/base\nCOPY build.hcl /\n"
  output            = ["type=cacheonly"]
}
target "cache-to" {
  inherits = ["small"]
  cache-to = ["type=registry,mode=max,ignore-error=false,ref=${HOST}/${GROUP}/cache"]
  output   = ["type=cacheonly"]
}
target "cache-from" {
  inherits   = ["small"]
  cache-from = ["type=registry,ref=${HOST}/${GROUP}/cache"]
  output     = ["type=cacheonly"]
}
`

// A registryRun is one build against the faulty registry.
type registryRun struct {
	target, group string
	c             *registryCase
	limit         time.Duration // of the time that kiln takes
	code          int
	out           string
	old           string // digest of the tag before
}

// run runs kiln for one case.
func (r *registryRun) run(t *testing.T, s *shell, f *faultyRegistry) {
	t.Helper()
	switch r.target {
	case "push":
		r.old = f.put(t, r.group+"/app:1")
	case "pull":
		f.put(t, r.group+"/base")
	case "cache-from":
		r.kiln(t, s, f, "cache-to", patience)
	}
	f.add(r.group, r.c)
	r.kiln(t, s, f, r.target, r.limit)
	f.remove(r.group)
}

// runHanging runs kiln for a case in which the registry hangs, and ends it
// after a while; after a longer one where the machine is too busy for kiln to
// come so far.
func (r *registryRun) runHanging(t *testing.T, s *shell, f *faultyRegistry) {
	t.Helper()
	group := r.group
	for try := 1; ; try++ {
		r.run(t, s, f)
		if r.code == 0 || len(r.c.seen) >= r.c.at || r.limit > patience {
			return
		}
		r.c, r.limit = &registryCase{fault: r.c.fault, at: r.c.at}, 4*r.limit
		r.group = fmt.Sprintf("%s-%d", group, try) // of which the engine and the registry know nothing
	}
}

func (r *registryRun) kiln(t *testing.T, s *shell, f *faultyRegistry, target string, limit time.Duration) {
	t.Helper()
	kiln, _ := s.find("kiln")
	retries := "--retries=1"
	if r.c.lasting {
		retries = "--retries=0"
	}
	c := osexec.CommandContext(t.Context(), kiln, "build", "--progress=plain", "--timeout="+limit.String(), retries, target)
	c.Dir, c.Env = s.dir, append(slices.Clone(s.env), "HOST="+f.host(), "GROUP="+r.group)
	out, err := c.CombinedOutput()
	r.out, r.code = string(out), c.ProcessState.ExitCode()
	if _, exited := err.(*osexec.ExitError); err != nil && !exited {
		t.Errorf("%s: %v", r.group, err)
	}
}

func (r *registryRun) check(t *testing.T, f *faultyRegistry) {
	t.Helper()
	if r.code != 0 && (r.code != 1 || !strings.Contains(r.out, f.host())) {
		t.Errorf("exit code %d, and this to say:\n%s", r.code, r.out)
	}
	if r.target != "push" {
		return
	}
	now := f.digest(t, r.group+"/app:1")
	switch {
	case r.code == 0 && !strings.Contains(r.out, now):
		t.Errorf("the tag stands for %s, not for what kiln says:\n%s", now, r.out)
	case r.code != 0 && now != r.old && !strings.Contains(r.out, "timed out"):
		t.Errorf("the push failed, and yet the tag stands for %s, and not for %s any more", now, r.old)
	}
}

// Whatever a registry does, and at whichever request: the build gets over it,
// or fails, says at which registry, and leaves no half image there.
func TestRegistryFaults(t *testing.T) {
	s, f := newShell(t), newFaultyRegistry(t)
	s.write("build.hcl", registryDefinition)
	var runs []*registryRun
	for _, target := range []string{"push", "pull", "cache-to", "cache-from"} {
		plain := &registryRun{target: target, group: target + "-plain", c: &registryCase{}, limit: patience}
		plain.run(t, s, f)
		if plain.code != 0 || len(plain.c.seen) < 2 {
			t.Fatalf("%s without a fault: exit code %d, %q\n%s", target, plain.code, plain.c.seen, plain.out)
		}
		for _, fault := range faults {
			for at := 1; at <= len(plain.c.seen); at++ {
				for _, lasting := range []bool{false, true} {
					if lasting && fault.once {
						continue
					}
					group := fmt.Sprintf("%s-%s-%d-%t", target, fault.name, at, lasting)
					r := &registryRun{target: target, group: group, c: &registryCase{fault: fault, at: at, lasting: lasting}, limit: patience}
					if fault.name == "hang" {
						r.limit = 3 * time.Second
					}
					runs = append(runs, r)
				}
			}
		}
	}
	slots := make(chan struct{}, 16)
	var wait sync.WaitGroup
	for _, r := range runs {
		wait.Add(1)
		slots <- struct{}{}
		go func() {
			defer wait.Done()
			defer func() { <-slots }()
			if r.c.fault.name == "hang" {
				r.runHanging(t, s, f)
			} else {
				r.run(t, s, f)
			}
		}()
	}
	wait.Wait()
	for _, r := range runs {
		t.Run(r.group, func(t *testing.T) {
			r.check(t, f)
		})
	}
}
