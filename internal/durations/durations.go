// Package durations remembers how long the targets of a definition took, so
// that a later run can begin with what takes longest.
//
// What it remembers is a help and no more: a file that cannot be read counts
// as empty, and one that cannot be written is left as it is. There is one file
// for each definition; it holds target names and times, nothing else.
package durations

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/atomicfile"
)

// What a state directory may hold.
const (
	maxTargets = 5000    // of one definition; the longest unseen go first
	maxFiles   = 256     // definitions; likewise
	maxSize    = 2 << 20 // bytes of a file; a longer one is not ours
)

// A History knows the durations of one definition's targets. Goroutines may
// share it.
type History struct {
	path string
	read func() map[string]entry // the file as it was at the first call

	mu  sync.Mutex      // guards ran
	ran map[string]bool // targets of which a step was done, not found in the cache
}

// A file is what is written, as JSON.
type file struct {
	Version int     `json:"version"` // 1
	Targets []entry `json:"targets"` // by name
}

// An entry is one target.
type entry struct {
	Name   string `json:"name"`
	Solve  int64  `json:"solveMs"`
	Export int64  `json:"exportMs"`
	Seen   int64  `json:"seen"` // when it was last written, in seconds since 1970
}

// Open returns the history of the definition that key stands for, such as its
// directory, in the directory dir, which need not exist.
func Open(dir, key string) *History {
	sum := sha256.Sum256([]byte(key))
	h := &History{path: filepath.Join(dir, hex.EncodeToString(sum[:12])+".json"), ran: map[string]bool{}}
	h.read = sync.OnceValue(h.load)
	return h
}

// Path is the file of the history.
func (h *History) Path() string { return h.path }

// Expect is for exec.Options. The file is read at the first call.
func (h *History) Expect(n *graph.Node) (exec.Estimate, bool) {
	e, ok := h.read()[n.Name()]
	return exec.Estimate{Solve: time.Duration(e.Solve) * time.Millisecond, Export: time.Duration(e.Export) * time.Millisecond}, ok
}

// Watch returns a sink that passes all on and notes what was really done.
func (h *History) Watch(sink exec.Sink) exec.Sink { return watcher{sink, h} }

type watcher struct {
	exec.Sink
	h *History
}

func (w watcher) Event(e exec.Event) {
	if v := e.Vertex; e.Kind == exec.VertexKind && v != nil && !v.Completed.IsZero() && !v.Cached && v.Error == "" && isStep(v) {
		w.h.mu.Lock()
		w.h.ran[e.Node] = true
		w.h.mu.Unlock()
	}
	w.Sink.Event(e)
}

// isStep reports whether v is a step of a Dockerfile.
func isStep(v *exec.Vertex) bool {
	return !v.Internal && strings.HasPrefix(v.Name, "[") && !strings.HasPrefix(v.Name, "[internal]") && !strings.HasPrefix(v.Name, "[auth]")
}

// Save writes what the built targets took. One that was found in the cache
// keeps what it took when it was not: it may have to be built again, and it
// costs nothing to begin early with what ends at once. Where nothing is new,
// nothing is written.
func (h *History) Save(outcomes []exec.Outcome) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all map[string]entry
	changed := false
	for _, o := range outcomes {
		if o.Status != exec.Built {
			continue
		}
		if all == nil {
			all = h.load() // another kiln may have written meanwhile
		}
		e, old := measured(o), all[o.Node.Name()]
		if h.ran[e.Name] || e.Solve+e.Export > old.Solve+old.Export {
			all[e.Name] = e
			changed = true
		}
	}
	if !changed {
		return nil
	}
	if err := h.write(all); err != nil {
		return fmt.Errorf("write the durations of this build: %w", err)
	}
	return nil
}

func measured(o exec.Outcome) entry {
	t := o.Times
	e := entry{Name: o.Node.Name(), Solve: t.Solved.Sub(t.Started).Milliseconds(), Seen: t.Finished.Unix()}
	if !t.Exporting.IsZero() {
		e.Export = t.Finished.Sub(t.Exporting).Milliseconds()
	}
	return e
}

// load reads the file; what is not one of ours is nothing.
func (h *History) load() map[string]entry {
	out := map[string]entry{}
	r, err := os.Open(h.path)
	if err != nil {
		return out
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	var f file
	if err != nil || len(data) > maxSize || json.Unmarshal(data, &f) != nil || f.Version != 1 {
		return out
	}
	for _, e := range f.Targets {
		if e.Name != "" && e.Solve >= 0 && e.Export >= 0 {
			out[e.Name] = e
		}
	}
	return out
}

// write replaces the file at once, so that no other kiln reads half of it.
func (h *History) write(all map[string]entry) error {
	f := file{Version: 1}
	for _, e := range all {
		f.Targets = append(f.Targets, e)
	}
	slices.SortFunc(f.Targets, func(a, b entry) int { return cmp.Or(cmp.Compare(b.Seen, a.Seen), strings.Compare(a.Name, b.Name)) })
	f.Targets = f.Targets[:min(len(f.Targets), maxTargets)]
	slices.SortFunc(f.Targets, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	data, err := encode(f)
	if err != nil {
		return err
	}
	dir := filepath.Dir(h.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(h.path); err != nil {
		tidy(dir)
	}
	return atomicfile.Write(h.path, data, atomicfile.Options{Prefix: "." + filepath.Base(h.path) + "-"})
}

// encode writes a target a line.
func encode(f file) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"version\":%d,\"targets\":[", f.Version)
	for i, e := range f.Targets {
		if i > 0 {
			b.WriteByte(',')
		}
		line, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString("\n]}\n")
	return b.Bytes(), nil
}

// tidy makes room for a file: the longest unwritten ones go, and what a kiln
// that was killed has left.
func tidy(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	type aged struct {
		name string
		at   time.Time
	}
	var files []aged
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			continue
		}
		if strings.HasPrefix(e.Name(), ".") {
			if time.Since(fi.ModTime()) > time.Hour {
				os.Remove(filepath.Join(dir, e.Name()))
			}
			continue
		}
		files = append(files, aged{e.Name(), fi.ModTime()})
	}
	slices.SortFunc(files, func(a, b aged) int { return cmp.Or(b.at.Compare(a.at), strings.Compare(a.name, b.name)) })
	for _, f := range files[min(len(files), maxFiles-1):] {
		os.Remove(filepath.Join(dir, f.name))
	}
}
