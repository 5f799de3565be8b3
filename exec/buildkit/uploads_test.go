package buildkit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// A readWatch counts how often the files and directories below a directory
// are opened.
type readWatch struct {
	fd   int
	dirs map[int32]string // by watch
}

func watchReads(t *testing.T, root string) *readWatch {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	w := &readWatch{fd: fd, dirs: map[int32]string{}}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		// Closing parts one opening from the next: equal events become one.
		id, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_CLOSE)
		w.dirs[int32(id)] = rel
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.read(t) // the walk's own
	return w
}

// read returns the counts since the last time, by path in the directory;
// those of directories end in a slash.
func (w *readWatch) read(t *testing.T) map[string]int {
	t.Helper()
	counts := map[string]int{}
	buf := make([]byte, 1<<20)
	for {
		n, err := unix.Read(w.fd, buf)
		if err == unix.EAGAIN {
			return counts
		}
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < n; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
			name := strings.TrimRight(string(buf[at+unix.SizeofInotifyEvent:at+unix.SizeofInotifyEvent+int(e.Len)]), "\x00")
			at += unix.SizeofInotifyEvent + int(e.Len)
			switch {
			case e.Mask&unix.IN_Q_OVERFLOW != 0:
				t.Fatal("too many events")
			case e.Mask&unix.IN_OPEN == 0 || e.Mask&unix.IN_ISDIR != 0 && name != "": // told by the directory itself
			case e.Mask&unix.IN_ISDIR != 0:
				counts[w.dirs[e.Wd]+"/"]++
			default:
				counts[filepath.Join(w.dirs[e.Wd], name)]++
			}
		}
	}
}

// released waits until the package's engine has let go of what was uploaded:
// what is in use cannot be brought up to date, and is uploaded anew.
func released(t *testing.T) {
	t.Helper()
	c, err := client.New(t.Context(), testenv.Engine(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// By their type they are not known while they are in use: it is that of
	// the record which is written to, and hidden behind the one that is read.
	unused(t, c, func(u *client.UsageInfo) bool { return strings.HasPrefix(u.Description, "local source for ") })
}

// unused waits until a daemon uses none of the records that of reports. It
// lets go of those of a run a moment after the end of that, each in a
// goroutine of its own. One that it never lets go of is for the test to mind.
func unused(t *testing.T, c *client.Client, of func(*client.UsageInfo) bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		list, err := c.DiskUsage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list = slices.DeleteFunc(list, func(u *client.UsageInfo) bool { return !u.InUse || !of(u) })
		if len(list) == 0 {
			return
		}
		if time.Now().After(limit) {
			for _, u := range list {
				t.Logf("in use after a minute: %+v", u)
			}
			return
		}
	}
}

// uploads returns the transfers of local directories in BuildKit's own status,
// by name of the vertex, with their number of bytes.
func uploads(t *testing.T, raw []byte) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	names := map[string]string{} // of vertices that move something
	for line := range bytes.Lines(raw) {
		var st client.SolveStatus
		if err := json.Unmarshal(line, &st); err != nil {
			t.Fatal(err)
		}
		for _, v := range st.Vertexes {
			names[v.Digest.String()] = v.Name
		}
		for _, s := range st.Statuses {
			if strings.HasPrefix(s.ID, "transferring ") {
				key := s.Vertex.String()
				out[key] = max(out[key], s.Current)
			}
		}
	}
	named := map[string]int64{}
	for dgst, n := range out {
		named[names[dgst]+" "+dgst] = n
	}
	return named
}

// TestUploadOnce: a directory is walked once and its files are read once,
// however the targets of a run spell its path, and only those files are read
// that a Dockerfile asks for. In the next run, none is.
func TestUploadOnce(t *testing.T) {
	root := t.TempDir()
	real := files(t, filepath.Join(root, "real"), map[string]string{
		"Dockerfile": "FROM scratch\nARG N\nCOPY shared /shared\nCOPY svc/$N /svc\n", ".dockerignore": "ignored\nshared/no\n",
		"shared/a": strings.Repeat("a", 1000), "shared/b": strings.Repeat("b", 2000), "shared/no": "n", "ignored/x": "x", "unasked/big": strings.Repeat("u", 100000),
		"svc/0/f": "0", "svc/1/f": "1", "svc/2/f": "2", "svc/3/f": "3", "svc/4/f": "4", "svc/5/f": "5", "svc/6/f": "6",
		"named.Dockerfile": "FROM scratch\nCOPY --from=again shared/a /a\nCOPY --from=also svc/0 /0\nCOPY svc/1 /1\n",
	})
	if err := os.Symlink("real", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../real", filepath.Join(real, "self")); err != nil {
		t.Fatal(err)
	}
	spellings := []string{"real", "./real/", real, "link", filepath.Join(root, "link"), "real/svc/..", "real/self"}
	var targets []*config.Target
	for i, path := range spellings {
		targets = append(targets, &config.Target{Name: string(rune('a' + i)), Context: local(path), Args: kv("N", string(rune('0'+i))), Outputs: cacheOnly})
	}
	targets = append(targets, &config.Target{Name: "named", Context: local("real"), Dockerfile: "named.Dockerfile", Outputs: cacheOnly,
		Contexts: []config.NamedSource{{Name: "again", From: local("link")}, {Name: "also", From: local(real)}}})

	w := watchReads(t, real)
	run := func(targets []*config.Target) (map[string]int, map[string]int64) {
		var raw bytes.Buffer
		s := &session{dir: root, targets: targets, opt: buildkit.Options{Raw: &raw}}
		s.must(t)
		released(t)
		return w.read(t), uploads(t, raw.Bytes())
	}
	opens, sent := run(targets)
	if len(sent) != 1 {
		t.Errorf("there were %d transfers, want 1: %v", len(sent), sent)
	}
	for _, path := range []string{"shared/a", "shared/b", "svc/0/f", "svc/6/f"} {
		if opens[path] != 1 {
			t.Errorf("%s was read %d times, want once", path, opens[path])
		}
	}
	for _, path := range []string{"shared/no", "ignored/x", "unasked/big"} {
		if opens[path] != 0 {
			t.Errorf("%s was read %d times, and no Dockerfile asks for it", path, opens[path])
		}
	}
	again, _ := run(targets)
	one, _ := run(targets[:1])
	for _, path := range []string{"shared/a", "shared/b", "svc/0/f"} {
		if again[path] != 0 {
			t.Errorf("in the next run %s was read %d times", path, again[path])
		}
	}
	for _, dir := range []string{"./", "shared/", "svc/", "svc/0/"} {
		if opens[dir] == 0 || again[dir] > one[dir] || opens[dir] > one[dir] {
			t.Errorf("the directory %s was opened %d times, in the next run %d, for one target %d", dir, opens[dir], again[dir], one[dir])
		}
	}
	t.Logf("directories: %v; one target: %v", opens, one)
}

// TestUploadOnceIgnoring: ignore files of Dockerfiles that differ in what does
// not concern the other's paths, do not keep targets from sharing an upload.
func TestUploadOnceIgnoring(t *testing.T) {
	tree := map[string]string{".dockerignore": "unasked\n", "shared/a": "a", "shared/b": "b", "unasked/big": "u"}
	var targets []*config.Target
	for i, list := range []string{"", "unasked\n", "*\n!svc/%d\n!shared\n", "svc/9\n# all others\nsvc/8\n", "**\n!shared\n!svc\n", "/s*\n!/shared\n!/svc\n"} {
		name := fmt.Sprint(i)
		tree["svc/"+name+"/f"] = name
		tree[name+".Dockerfile"] = "FROM scratch\nCOPY shared /shared\nCOPY svc/" + name + " /svc\n"
		if list != "" {
			tree[name+".Dockerfile.dockerignore"] = strings.ReplaceAll(list, "%d", name)
		}
		targets = append(targets, &config.Target{Name: "t" + name, Dockerfile: name + ".Dockerfile", Outputs: toDir("out/" + name)})
	}
	dir := files(t, t.TempDir(), tree)
	w := watchReads(t, dir)
	var raw bytes.Buffer
	var mu sync.Mutex // guards reads
	reads := map[string]int{}
	s := &session{dir: dir, targets: targets, opt: buildkit.Options{Raw: &raw, Sent: func(_, path string) {
		mu.Lock()
		defer mu.Unlock()
		reads[path]++
	}}}
	s.must(t)
	opens := w.read(t)
	// "**" may match below a path: that list goes its own way. Two openings at
	// once may be one event, so kiln's own count is taken for what both send.
	if sent := uploads(t, raw.Bytes()); len(sent) != 2 || reads["shared/a"] != 2 || opens["shared/a"] == 0 || opens["svc/2/f"] != 1 || opens["unasked/big"] != 0 {
		t.Errorf("%d transfers, files were sent %v and read %v", len(sent), reads, opens)
	}
	for i := range targets {
		if got := read(t, dir, "out", fmt.Sprint(i), "svc/f"); got != fmt.Sprint(i) {
			t.Errorf("%d has %q", i, got)
		}
		read(t, dir, "out", fmt.Sprint(i), "shared/b")
	}
}

// TestIgnoredTogether: many targets of one run, each with a list of its own,
// get the same files as from the daemon's frontend. The lists are random, but
// the same in every run.
func TestIgnoredTogether(t *testing.T) {
	tree := map[string]string{}
	for _, d := range []string{"a", "a/b", "a/b/c", "d", "d/b"} {
		for _, f := range []string{"x", "y", "x.txt"} {
			tree[d+"/"+f] = d + f
		}
	}
	pool := []string{"*", "a", "a/b", "a/*", "*/b", "**/x", "**/b", "d", "d/b/x", "nosuch", "a/b/c/y", "*.txt", "a/*.txt", "?", "d/b/*", "a/x", "**"}
	asked := []string{"a", "a/b", "a/b/c", "d", "d/b", "a/x", "d/b/x.txt"}
	rnd := rand.New(rand.NewPCG(1, 2))
	var targets []*config.Target
	for i := range 60 {
		name := fmt.Sprint("t", i)
		list, file := "", "FROM scratch\n"
		for range 1 + rnd.IntN(4) {
			list += []string{"", "", "!"}[rnd.IntN(3)] + pool[rnd.IntN(len(pool))] + "\n"
		}
		for n := range 1 + rnd.IntN(2) {
			file += fmt.Sprintf("COPY %s* /%d/\n", asked[rnd.IntN(len(asked))], n)
			if rnd.IntN(4) > 0 { // else by a pattern, which cannot fail
				file = strings.Replace(file, "* /", " /", 1)
			}
		}
		tree[name], tree[name+".dockerignore"] = file, list
		targets = append(targets, &config.Target{Name: name, Dockerfile: name})
	}
	dir := files(t, t.TempDir(), tree)
	var got [2]map[string]string
	for i, frontend := range []bool{false, true} {
		got[i] = map[string]string{}
		for _, target := range targets {
			target.Outputs = toDir(fmt.Sprint("out/", i, "/", target.Name))
		}
		s := &session{dir: dir, mode: exec.KeepGoing, targets: targets, opt: buildkit.Options{Frontend: frontend}}
		out, _ := s.run(t, t.Context()) // a path that its list leaves out is an error
		for _, target := range targets {
			got[i][target.Name] = listing(t, filepath.Join(dir, "out", fmt.Sprint(i), target.Name))
			if out[target.Name].Err != nil {
				got[i][target.Name] = "failed"
			}
		}
	}
	failed := 0
	for _, target := range targets {
		if got[0][target.Name] == "failed" {
			failed++
		}
		if got[0][target.Name] != got[1][target.Name] {
			t.Errorf("%s without\n%sgives by kiln's path\n%s\nby the daemon's\n%s", tree[target.Name], tree[target.Name+".dockerignore"], got[0][target.Name], got[1][target.Name])
		}
	}
	if failed > len(targets)/2 {
		t.Errorf("%d of %d targets failed: the test says little", failed, len(targets))
	}
}

// listing returns the files below a directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		fmt.Fprintln(&b, rel, d.IsDir())
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return b.String()
}
