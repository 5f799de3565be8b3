package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/sys/unix"
)

// kept are images that come anew with each ROUND, and one that nobody
// touches.
const kept = `
variable "ROUND" { default = "0" }
group "default" { targets = ["new"] }
target "new" {
  name              = "new-${n}"
  matrix            = { n = ["1", "2", "3"] }
  args              = { ROUND = ROUND }
  dockerfile-inline = "FROM scratch\nARG ROUND\nLABEL round=$${ROUND}\nCOPY data-${n} round /\n"
  tags              = ["new:${n}"]
}
target "stays" {
  dockerfile-inline = "FROM scratch\nCOPY data-1 /\n"
  tags              = ["stays:1"]
}
`

// writeKept writes the definition and what it copies.
func (s *shell) writeKept() {
	s.write("build.hcl", kept)
	for n := range 3 {
		text := make([]byte, 300_000)
		_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(text) // never fails
		s.write(fmt.Sprintf("data-%d", n+1), string(text))
	}
	s.write("round", "0")
}

// must runs a script that has to succeed.
func (s *shell) must(script string) string {
	s.t.Helper()
	c := osexec.Command("sh", "-c", script)
	c.Dir, c.Env = s.dir, s.env
	out, err := c.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// killAfter starts kiln and kills it after a time.
func (s *shell) killAfter(after time.Duration, args ...string) {
	s.t.Helper()
	kiln, _ := s.find("kiln")
	c := osexec.Command(kiln, args...)
	c.Dir, c.Env = s.dir, s.env
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(after)
	_ = c.Process.Kill() // it may have ended
	_ = c.Wait()         // how it ended is not the question
}

// A storeWork is a command that changes the store, or reads all of it.
type storeWork struct {
	name    string
	prepare string // what is done before, so that there is something to do
	args    []string
	after   string // what holds when it was done to the end
}

// After a kill at any moment of a build, a push, an import, a removal or a
// collection the store opens and is whole, nothing is lost that nobody
// removed, and the same command then ends right.
func TestStoreKills(t *testing.T) {
	const kills = 50
	s := newShell(t)
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	host := strings.TrimPrefix(reg.URL, "http://")
	s.writeKept()
	s.must("kiln build --progress=quiet stays new && kiln save -o all.tar new:1 new:2 new:3")
	stays := s.must("kiln inspect stays:1 --format '{{.Digest}}'")
	works := []storeWork{
		{"build", "echo %d > round", []string{"build", "--progress=quiet"}, "kiln inspect new:3 --format '{{.Id}}'"},
		{"push", "kiln tag new:1 " + host + "/app:%d", []string{"push", "--all-tags", host + "/app"}, "kiln inspect docker://" + host + "/app:%d --format '{{.Id}}'"},
		{"import", "kiln rm --force new:1 new:2 new:3", []string{"import", "all.tar"}, "kiln inspect new:2 --format '{{.Id}}'"},
		{"rm", "kiln import all.tar && kiln tag new:1 other:%d", []string{"rm", "--force", "new:1", "new:2", "new:3"}, "test -z \"$(kiln images -q new)\" && kiln import all.tar"},
		{"gc", "echo gc%d > round && kiln build --progress=quiet", []string{"store", "gc"}, "kiln store gc --dry-run"},
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	took := map[string]time.Duration{}
	for round := range kills {
		w := works[round%len(works)]
		s.must(numbered(w.prepare, round))
		if took[w.name] == 0 { // once undisturbed
			began := time.Now()
			s.must("kiln " + strings.Join(w.args, " "))
			took[w.name] = time.Since(began)
			s.must(numbered(w.prepare, round+kills))
		}
		after := time.Duration(random.Int64N(int64(took[w.name])))
		s.killAfter(after, w.args...)
		what := fmt.Sprintf("round %d, %s killed after %v", round, w.name, after)
		if out := s.run("kiln store verify"); !strings.Contains(out, ": all is well") {
			t.Fatalf("%s: %s", what, out)
		}
		if got := s.must("kiln inspect stays:1 --format '{{.Digest}}'"); got != stays {
			t.Fatalf("%s: stays:1 is %s, was %s", what, got, stays)
		}
		s.must("kiln " + strings.Join(w.args, " "))
		s.must(numbered(w.after, round))
	}
	s.must("kiln store verify && kiln store gc")
	for _, pattern := range []string{".kiln-tmp-*", "ingest/*/data"} {
		if left, err := filepath.Glob(filepath.Join(s.stateDir(), "images", pattern)); err != nil || len(left) > 0 {
			t.Errorf("%s is left: %v, %v", pattern, left, err)
		}
	}
}

// numbered puts a number into a script that has a place for one.
func numbered(script string, n int) string {
	return strings.ReplaceAll(script, "%d", fmt.Sprint(n))
}

// Two kilns build, a third lists, a fourth removes and collects: none fails
// but where it must, and what nobody removed is there and whole.
func TestStoreAtOnce(t *testing.T) {
	took := time.Minute
	if text := os.Getenv("KILN_TEST_LOAD"); text != "" {
		var err error
		if took, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newShell(t)
	s.env = append(s.env, "PATH="+os.Getenv("PATH")) // the test's own kiln, which the race detector may watch
	s.writeKept()
	s.must("kiln build --progress=quiet stays")
	stays := s.must("kiln inspect stays:1 --format '{{.Digest}}'")
	until := time.Now().Add(took)
	var wg sync.WaitGroup
	again := func(script string) {
		wg.Go(func() {
			for n := 0; time.Now().Before(until); n++ {
				if out := s.run(numbered(script, n) + " && echo it went well"); !strings.Contains(out, "it went well") {
					t.Errorf("%s: %s", script, out)
					return
				}
			}
		})
	}
	again("ROUND=a%d kiln build --progress=quiet && kiln tag stays:1 mine-a:%d")
	again("ROUND=b%d kiln build --progress=quiet new-2 new-3 && kiln tag stays:1 mine-b:%d")
	again("kiln images && kiln images --json > list.json && kiln history stays:1 && kiln store du")
	again("kiln rm --force new:1 new:2 new:3 && kiln store gc")
	wg.Wait()
	if out := s.run("kiln store verify"); !strings.Contains(out, ": all is well") {
		t.Error(out)
	}
	for _, name := range []string{"stays:1", "mine-a:0", "mine-b:0"} {
		if got := s.must("kiln inspect " + name + " --format '{{.Digest}}'"); got != stays {
			t.Errorf("%s is %s, want %s", name, got, stays)
		}
	}
}

// A build that finds all as it was touches no layer in the store: none is
// opened, and none is written.
func TestUnchangedImageIsNotTouched(t *testing.T) {
	s := newShell(t)
	s.writeKept()
	s.must("kiln build --progress=quiet")
	layers := strings.Fields(s.must("for n in 1 2 3; do kiln history -q --no-trunc new:$n; done"))
	if len(layers) != 3 {
		t.Fatalf("layers %v", layers)
	}
	blobs := filepath.Join(s.stateDir(), "images", "blobs", "sha256")
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, blobs, unix.IN_OPEN|unix.IN_MODIFY|unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM); err != nil {
		t.Fatal(err)
	}
	s.must("kiln build --progress=quiet")
	touched := eventsOf(t, fd)
	for _, l := range layers {
		if name := strings.TrimPrefix(l, "sha256:"); slices.Contains(touched, name) {
			t.Errorf("the layer %s was touched", l)
		}
	}
	if len(touched) == 0 {
		t.Error("not even the manifests were looked at: what was watched is not what kiln uses")
	}
}

// eventsOf returns the names of files that something happened to.
func eventsOf(t *testing.T, fd int) []string {
	t.Helper()
	var names []string
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < n; {
			size := int(binary.NativeEndian.Uint32(buf[at+12:])) // of the name, struct inotify_event
			names = append(names, strings.TrimRight(string(buf[at+16:at+16+size]), "\x00"))
			at += 16 + size
		}
	}
}
