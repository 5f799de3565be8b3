package buildkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"

	"github.com/kilnbuild/kiln/exec"
)

// outputs are the outputs of one job on their way. What kiln writes itself
// is written under another name, and gets its own when all is there.
type outputs struct {
	s    *Solver
	j    *job
	list []*output
	// pushed is the digest in the registry of what a Docker Engine has pushed.
	pushed string
}

// An output is one exporter and where its result goes.
type output struct {
	Export
	dest    string    // absolute path; "" unless it goes to one
	temp    temp      // what is written, until it is renamed to dest
	trouble trouble   // with what kiln writes itself
	load    *loader   // into a Docker Engine
	store   bool      // into kiln's store
	push    bool      // by the Docker Engine, once it has the image
	out     io.Writer // standard output
}

// outputs makes ready where the job's outputs go.
func (s *Solver) outputs(j *job) (*outputs, error) {
	o := &outputs{s: s, j: j}
	exports := j.req.Exports
	if j.req.Stored {
		e := Export{Type: client.ExporterOCI, Dest: storeDest, Attrs: map[string]string{}}
		if s.opt.Lower.NoArtifacts {
			noArtifact(e.Attrs)
		}
		exports = append(slices.Clone(exports), e)
	}
	stores := 0
	for _, e := range exports {
		out := &output{Export: Export{Type: e.Type, Dest: e.Dest, Attrs: maps.Clone(e.Attrs)}}
		if out.Attrs == nil {
			out.Attrs = map[string]string{}
		}
		if err := o.place(out); err != nil {
			return nil, err
		}
		if out.store || isDirectory(&out.Export) {
			stores++
		}
		o.list = append(o.list, out)
	}
	if stores > 1 && j.own() {
		return nil, errors.New("more than one OCI directory cannot be written by a target with attestations, entitlements or a frontend of its own; write one, and copy it")
	}
	return o, nil
}

// place finds out where an output goes.
func (o *outputs) place(out *output) error {
	switch {
	case out.Dest == storeDest:
		out.store = true
		out.Attrs["tar"] = "false"
	case out.Dest == "-":
		if o.s.opt.Stdout == nil {
			return errors.New("there is no standard output to write to")
		}
		out.out = o.s.opt.Stdout
	case out.Dest != "":
		out.dest = o.s.abs(out.Dest)
		return o.checkDest(out)
	case out.Type == client.ExporterDocker:
		return o.load(out)
	case out.Type == mobyExporter && o.s.opt.Lower.Docker.classic():
		push, err := strconv.ParseBool(out.Attrs["push"])
		out.push = err == nil && push
		delete(out.Attrs, "push")
	}
	return nil
}

func (o *outputs) checkDest(out *output) error {
	directory := out.Type == client.ExporterLocal || isDirectory(&out.Export)
	fi, err := os.Stat(out.dest)
	if err == nil && fi.IsDir() != directory {
		if directory {
			return fmt.Errorf("output %q is to be a directory, but there is a file of that name", out.Dest)
		}
		return fmt.Errorf("output %q is to be a file, but there is a directory of that name", out.Dest)
	}
	return nil
}

// lock keeps other targets from writing to the same directories meanwhile.
func (o *outputs) lock(ctx context.Context) (unlock func(), err error) {
	var keys []string
	for _, out := range o.list {
		if out.dest != "" {
			keys = append(keys, out.dest)
		}
	}
	for _, c := range o.j.req.CacheTo {
		if c.Type == "local" {
			keys = append(keys, o.s.abs(c.Attrs["dest"]))
		}
	}
	here, err := o.s.dests.lock(ctx, keys)
	if err != nil {
		return nil, err
	}
	everywhere, err := o.lockDirectories(ctx)
	if err != nil {
		here()
		return nil, err
	}
	return func() { everywhere(); here() }, nil
}

// entries returns the outputs as BuildKit's client takes them. Images come
// last: of several exporters' answers the last one counts, and an image with
// attestations has another digest than the same in a file.
func (o *outputs) entries() ([]client.ExportEntry, error) {
	var out []client.ExportEntry
	ordered := slices.Clone(o.list)
	slices.SortStableFunc(ordered, func(a, b *output) int {
		return cmp.Compare(rank(a), rank(b))
	})
	for _, e := range ordered {
		entry, err := o.entry(e)
		if err != nil {
			o.discard()
			return nil, fmt.Errorf("output %q: %w", e.Dest, err)
		}
		out = append(out, entry)
	}
	return out, nil
}

func rank(e *output) int {
	if e.Type == client.ExporterImage || e.Type == mobyExporter {
		return 1
	}
	return 0
}

func (o *outputs) entry(e *output) (client.ExportEntry, error) {
	entry := client.ExportEntry{Type: e.Type, Attrs: e.Attrs}
	switch {
	case e.store:
		entry.OutputStore = o.s.opt.Store.Content()
	case e.out != nil:
		entry.Output = func(map[string]string) (io.WriteCloser, error) {
			return watchedWriter{nopCloser{e.out}, &e.trouble}, nil
		}
	case e.load != nil:
		entry.Output = func(map[string]string) (io.WriteCloser, error) { return e.load.start(o.s.run) }
	case e.dest == "":
	case e.Type == client.ExporterLocal:
		dir, err := e.directory()
		entry.OutputDir = dir
		return entry, err
	case isDirectory(&e.Export):
		entry.OutputDir = e.dest // blobs first, the index last: never half an image
		return entry, os.MkdirAll(e.dest, 0o755)
	default:
		if err := os.MkdirAll(filepath.Dir(e.dest), 0o755); err != nil {
			return entry, err
		}
		entry.Output = func(map[string]string) (io.WriteCloser, error) {
			w, err := e.create()
			e.trouble.note(err)
			return watchedWriter{w, &e.trouble}, err
		}
	}
	return entry, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// directory returns the directory to write a local output to: a new one
// beside it, unless there is something to write over.
func (e *output) directory() (string, error) {
	if err := os.MkdirAll(filepath.Dir(e.dest), 0o755); err != nil {
		return "", err
	}
	if _, err := os.Stat(e.dest); !errors.Is(err, fs.ErrNotExist) {
		return e.dest, err
	}
	if _, err := e.temp.make(e.dest, true); err != nil {
		return "", err
	}
	return e.temp.at(), nil
}

// create opens the file to write a tar output to. It has the permissions of
// the file that it replaces.
func (e *output) create() (io.WriteCloser, error) {
	if fi, err := os.Stat(e.dest); err == nil && !fi.Mode().IsRegular() {
		return os.OpenFile(e.dest, os.O_WRONLY, 0) // a device or a pipe, such as /dev/null, is not replaced
	}
	f, err := e.temp.make(e.dest, false)
	if err != nil {
		return nil, err
	}
	if fi, err := os.Stat(e.dest); err == nil {
		return f, f.Chmod(fi.Mode().Perm())
	}
	return f, nil
}

// discard removes what was written of outputs that failed.
func (o *outputs) discard() {
	for _, e := range o.list {
		if e.Type == client.ExporterLocal && e.temp.at() != "" { // see Close
			o.s.mu.Lock()
			o.s.givenUp = append(o.s.givenUp, e.dest)
			o.s.mu.Unlock()
		}
		e.temp.discard()
		if e.load != nil {
			e.load.abort()
		}
	}
}

// commit gives the outputs their names and says what there is now.
func (o *outputs) commit(ctx context.Context, resp map[string]string) (exec.Output, error) {
	out := exec.Output{Digest: resp[exptypes.ExporterImageDigestKey], Metadata: resp}
	for _, e := range o.list {
		refs, err := o.commitOne(ctx, e, resp)
		if err != nil {
			o.discard()
			return exec.Output{}, fmt.Errorf("output %q: %w", e.Dest, err)
		}
		for _, ref := range refs {
			if !slices.Contains(out.Refs, ref) {
				out.Refs = append(out.Refs, ref)
			}
		}
	}
	if o.pushed != "" { // the engine's answer has the image's ID as a digest
		out.Digest, out.Metadata = o.pushed, o.asPushed(resp)
	}
	return out, nil
}

func (o *outputs) commitOne(ctx context.Context, e *output, resp map[string]string) ([]string, error) {
	switch {
	case e.store:
		return o.keep(ctx, resp)
	case e.load != nil:
		return names(e.Attrs["name"]), e.load.wait()
	case e.temp.at() != "":
		if err := e.temp.rename(e.dest); err != nil {
			return nil, err
		}
	case e.push:
		return o.pushFromEngine(ctx, e)
	case e.Type == mobyExporter && e.Attrs["name"] == "": // it is in the engine, by its ID
		return []string{resp[exptypes.ExporterImageDigestKey]}, nil
	case e.Type == client.ExporterImage, e.Type == mobyExporter:
		return names(e.Attrs["name"]), nil
	}
	return []string{e.Dest}, nil
}

// names returns the full references in a comma list.
func names(list string) []string {
	var out []string
	for name := range strings.SplitSeq(list, ",") {
		if named, err := reference.ParseNormalizedNamed(name); err == nil {
			out = append(out, reference.TagNameOnly(named).String())
		}
	}
	return out
}

// annotationTarget tells an ImageStore which target an image is of.
const annotationTarget = "io.github.kilnbuild.target"

// annotationUntagged tells it that the image has its name from the target.
const annotationUntagged = "io.github.kilnbuild.untagged"

// keep puts the image into kiln's store.
func (o *outputs) keep(ctx context.Context, resp map[string]string) ([]string, error) {
	desc, err := descriptorOf(resp)
	if err != nil {
		return nil, err
	}
	if desc.Annotations == nil {
		desc.Annotations = map[string]string{}
	}
	desc.Annotations[annotationTarget] = o.j.name
	refs := o.j.req.Tags
	if len(refs) == 0 { // then by the target's name, where that can name an image
		desc.Annotations[annotationUntagged] = "true"
		refs = names(strings.ToLower(o.j.name))
	}
	return refs, o.s.opt.Store.Put(ctx, refs, desc)
}

// addAnswer adds the frontend's answer to a question (call) to an output.
func addAnswer(out *exec.Output, meta map[string][]byte, call string) {
	if call == "" {
		return
	}
	if out.Metadata == nil {
		out.Metadata = map[string]string{}
	}
	for k, v := range meta {
		out.Metadata[k] = string(v)
	}
}

// A keyedMutex is a lock for each of any number of keys.
type keyedMutex struct {
	// mu guards held.
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the key is free again
}

// lock waits for all keys and returns what lets go of them.
func (m *keyedMutex) lock(ctx context.Context, keys []string) (unlock func(), err error) {
	sort.Strings(keys) // in one order, or two could wait for each other
	keys = slices.Compact(keys)
	for i, key := range keys {
		if err := m.lockOne(ctx, key); err != nil {
			m.unlock(keys[:i])
			return nil, err
		}
	}
	return func() { m.unlock(keys) }, nil
}

func (m *keyedMutex) lockOne(ctx context.Context, key string) error {
	for {
		m.mu.Lock()
		free, taken := m.held[key]
		if !taken {
			if m.held == nil {
				m.held = map[string]chan struct{}{}
			}
			m.held[key] = make(chan struct{})
			m.mu.Unlock()
			return nil
		}
		m.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *keyedMutex) unlock(keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		close(m.held[key])
		delete(m.held, key)
	}
}
