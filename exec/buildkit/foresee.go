package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/platforms"
	"github.com/hashicorp/hcl/v2"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/graph"
)

// Foreseeing. What a run will read of this machine, and which images it will
// ask for, is known without a daemon: the frontend in kiln is run on every
// Dockerfile, as before a build (convert.go), with images that are guessed to
// be empty. What it then asks of directories goes through the same ignore
// lists and unions (ignore.go, share.go) as in a build.

// ForeseeOptions are what a run would be opened with. The zero value is a run
// on a daemon that is not kiln's own.
type ForeseeOptions struct {
	Dir      string // as in Options, as all of that name
	Policy   string
	Lower    LowerOptions // Stored is set where Own is
	Frontend bool
	Bases    BaseStore
	Own      bool // the daemon is kiln's own, and images go to kiln's store
}

// A Foresight is what Foresee has found out.
type Foresight struct {
	Outlooks []*Outlook // in the order of the graph
	Uploads  []*Upload  // of the whole run, each directory under each ignore list once; by directory
	// Err says what of the run would fail beside its targets: its source policies.
	Err error
}

// An Outlook is what can be said of the build of one target beforehand.
type Outlook struct {
	Target  string
	Request *Request        // nil if the target cannot be lowered
	Diags   hcl.Diagnostics // of lowering it
	// Err says why the build would fail, or why nothing is known of what it
	// reads; nil if neither is so.
	Err        error
	Dockerfile Dockerfile
	Bases      []Base    // images that are looked up, and named contexts in the place of some, in the order of the Dockerfile
	Asks       []*Upload // what this target alone asks for, by mount and paths
	// Unsure are reasons why the build may ask for other files.
	Unsure []string
}

// Foresee says what a run of g would do, as far as that is known before. It
// asks no daemon, fetches nothing and writes nothing. The error is that of ctx.
func Foresee(ctx context.Context, g *graph.Graph, o ForeseeOptions) (*Foresight, error) {
	f, err := newForeseer(ctx, g, o)
	if err != nil {
		return nil, err
	}
	eg := &errgroup.Group{}
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for _, v := range f.views {
		eg.Go(func() error {
			defer close(v.looked)
			if ctx.Err() == nil && v.j != nil {
				f.look(v)
			}
			return nil
		})
	}
	_ = eg.Wait() // none returns an error
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return f.result(), nil
}

// A foreseer is a Solver without a daemon.
type foreseer struct {
	s      *Solver
	err    error
	views  []*view
	byName map[string]*view
}

// madeBefore is what is written to this machine before a node is built.
func (f *foreseer) madeBefore(n *graph.Node) []string {
	var out []string
	for _, m := range slices.Concat(n.Needs, n.After) {
		out = append(out, f.byName[m.Name()].made...)
	}
	for _, m := range n.After {
		for _, e := range m.Target.Outputs {
			if e.Dest != "" && e.Dest != "-" {
				out = append(out, f.s.abs(e.Dest))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// A view is a target on its way to an Outlook.
type view struct {
	Outlook
	j    *job
	late bool          // see job.late
	made []string      // files and directories that those write which it waits for, absolute
	gw   *offline      // what the frontend has asked for
	asks []localSource // of the build itself

	looked chan struct{} // closed when the fields above are there
	makes  *solved       // what others read of the result; nil if that is not known
}

func newForeseer(ctx context.Context, g *graph.Graph, o ForeseeOptions) (*foreseer, error) {
	opt := Options{Dir: o.Dir, Policy: o.Policy, Lower: o.Lower, Frontend: o.Frontend, Bases: o.Bases}
	opt.Lower.Stored = o.Own
	if o.Own {
		opt.Store = noStore{}
	}
	s := &Solver{
		opt: opt, jobs: map[string]*job{}, locals: newLocals(nil), ignored: newIgnoreLists(),
		shares: &shares{unique: identity.NewID(), unions: map[shareKey]*union{}},
		caches: map[string]content.Store{}, run: ctx,
	}
	var err error
	if s.sess, err = s.newSession(); err != nil {
		return nil, err
	}
	f := &foreseer{s: s, byName: map[string]*view{}}
	late := map[*graph.Node]bool{}
	for _, n := range g.Nodes() {
		late[n] = isLate(n, late)
		v := &view{Outlook: Outlook{Target: n.Name()}, late: late[n], looked: make(chan struct{})}
		v.made = f.madeBefore(n)
		f.views = append(f.views, v)
		f.byName[n.Name()] = v
		if v.Request, v.Diags = Lower(n.Target, s.opt.Lower); v.Request == nil {
			continue
		}
		v.j = s.newJob(n, v.Request, late[n])
		v.j.late = false // its files are looked at all the same
	}
	f.err = s.preparePolicies(g)
	return f, nil
}

// look runs the frontend for one target.
func (f *foreseer) look(v *view) {
	j := v.j
	if err := f.s.foreseeImages(j); err != nil {
		v.Err = err
		return
	}
	if err := j.load(f.s); err != nil {
		if v.late { // what it waits for may make the files
			v.Unsure = append(v.Unsure, fmt.Sprintf("as it is now, %v", err))
		} else {
			v.Err = err
		}
		if j.mounts != nil && j.loadDockerfile(f.s) == nil { // a context is missing
			v.Dockerfile = f.s.dockerfileOf(j)
			v.Bases = v.Dockerfile.bases(j.req, nil)
		}
		return
	}
	v.Dockerfile = f.s.dockerfileOf(j)
	v.gw = f.s.newOffline(j, f.feed(j))
	defer v.doubts()
	if j.req.Call != "" && !j.frontend() {
		return // answered in kiln, from the Dockerfile alone
	}
	res, err := runFrontend(f.s.run, v.gw)
	switch {
	case errors.Is(err, errSurvey):
		if len(j.mounts) > 0 {
			v.Unsure = append(v.Unsure, "the builder fetches its Dockerfile, which says what it reads")
		}
		return
	case err != nil:
		v.Err = err
		return
	}
	defs, err := lazyDefs(res)
	if err != nil {
		v.Err = err
		return
	}
	v.makes = &solved{meta: res.Metadata}
	if res.Refs != nil {
		v.makes.refs = defs
	}
	for _, p := range slices.Sorted(maps.Keys(defs)) {
		_ = eachLocal(defs[p], func(src localSource) error {
			v.asks = append(v.asks, src)
			return nil
		})
	}
}

// feed gives a job what is known of the targets that it reads: that is their
// image configurations, whose variables and triggers name files. It waits
// until they were looked at; they come before it in the order of the graph.
func (f *foreseer) feed(j *job) *fed {
	out := f.s.unknown(j)
	out.bare = map[string]bool{}
	own := platforms.FormatAll(f.s.ownPlatform())
	for _, in := range j.req.Inputs {
		of := f.byName[in.Target]
		<-of.looked
		if of.makes != nil {
			_ = out.add(j, in, of.makes, own) // of other platforms: the build tells
		}
	}
	return out
}

// foreseeImages finds the images of layouts that a job reads. Those of kiln's
// store are not looked up.
func (s *Solver) foreseeImages(j *job) error {
	for _, l := range j.req.Layouts {
		if err := s.prepareLayout(j, l); err != nil {
			return fmt.Errorf("context %q: %w", l.Name, err)
		}
	}
	for _, c := range j.req.FromStore {
		j.readStored(c.Name, ocispec.Descriptor{Digest: digest.FromString(c.Ref)}) // any will do
	}
	return nil
}

// doubts ends a view with what it does not know.
func (v *view) doubts() {
	v.Bases = v.Dockerfile.bases(v.j.req, v.gw.images)
	for i, b := range v.Bases {
		if dgst, ok := v.j.bases[b.Context]; ok {
			v.Bases[i].Context, v.Bases[i].Stored = "", dgst
		}
	}
	if v.j.syntax != "" && !isDockerfileFrontend(v.j.syntax) || v.j.req.Frontend != builtin {
		v.Unsure = append(v.Unsure, fmt.Sprintf("its Dockerfile is read by the frontend %s, which kiln does not know", v.frontend()))
	}
	for _, path := range v.made {
		for _, mount := range slices.Sorted(maps.Keys(v.j.mounts)) {
			if dir := v.j.mounts[mount].root; dir != "" && (within(dir, path) || within(path, dir)) {
				v.Unsure = append(v.Unsure, fmt.Sprintf("a target that it waits for writes %s, where it reads", filepath.Base(path)))
				break
			}
		}
	}
	for _, line := range v.gw.undefined {
		if v.Dockerfile.copiesVariable(line) {
			v.Unsure = append(v.Unsure, fmt.Sprintf("line %d of its Dockerfile names a file by a variable that only its base image may have", line))
		}
	}
}

// within reports whether a path is a directory or lies in it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// frontend is the image that reads the Dockerfile; "" is BuildKit's own.
func (v *view) frontend() string {
	if v.j.req.Frontend != builtin {
		return v.j.req.Attrs["source"]
	}
	return v.j.syntax
}

// isDockerfileFrontend reports whether an image is BuildKit's Dockerfile
// frontend, which is what kiln has in it.
func isDockerfileFrontend(image string) bool {
	name := strings.TrimPrefix(strings.Fields(image)[0], "docker.io/")
	return strings.HasPrefix(name, "docker/dockerfile:") || name == "docker/dockerfile" || strings.HasPrefix(name, "docker/dockerfile@")
}

// result brings the views together as a run would.
func (f *foreseer) result() *Foresight {
	for _, v := range f.views {
		if v.gw == nil || v.late || v.j.own() || v.j.req.Call != "" {
			continue
		}
		for _, src := range v.asks {
			if dir := v.j.mounts[src.mount]; dir != nil {
				f.s.shares.add(f.s.ignored.place(src, dir), dir)
			}
		}
	}
	out := &Foresight{Err: f.err}
	var all uploads
	for _, v := range f.views {
		out.Outlooks = append(out.Outlooks, &v.Outlook)
		if v.gw == nil {
			continue
		}
		v.Dockerfile.Frontend = v.frontend()
		var own uploads
		for _, src := range v.asks {
			if v.j.frontend() {
				own.add(v, src, all.add(v, src, nil))
			} else {
				own.add(v, src, all.add(v, f.shared(v, src), nil))
			}
		}
		if v.j.checked { // and once more, if the registry lacks it
			for _, src := range v.asks {
				all.add(v, src, nil)
			}
		}
		if v.j.frontend() || v.j.checked { // the daemon's frontend reads what it needs itself
			for _, src := range v.gw.reads {
				own.add(v, src, all.add(v, src, nil))
			}
		}
		v.Asks = own.sorted()
	}
	out.Uploads = all.sorted()
	return out
}

// shared is the source that a build reads in the place of a frontend's.
func (f *foreseer) shared(v *view, src localSource) localSource {
	dir := v.j.mounts[src.mount]
	if dir == nil {
		return src
	}
	_, attrs := f.s.shares.rewrite(f.s.ignored.place(src, dir), dir, "")
	return localSource{src.mount, attrs}
}

// An Upload is what a daemon asks for of a directory.
type Upload struct {
	Mount   string   // "context", "dockerfile", or as a named context is called; of an upload of several targets, that of the first
	Dir     string   // absolute; "" is a Dockerfile that the build file holds
	Paths   []string // that are asked for, patterns among them; nil is everything
	Exclude []string // patterns of what is left out, as in .dockerignore
	Targets []string // that read it, in the order of the graph
	// ID is the same for uploads of the same files.
	ID string
	// In is, of what a target asks for, the upload of the run that holds it;
	// of an upload of the run, that itself.
	In *Upload

	include []string // as Exclude, for what is taken
	dir     *localDir
}

// uploads are those found so far, by key.
type uploads struct {
	byKey map[string]*Upload
	list  []*Upload
}

// add notes that a target reads a source, which lies in another upload or, if
// that is nil, in none but its own.
func (u *uploads) add(v *view, src localSource, in *Upload) *Upload {
	dir := v.j.mounts[src.mount]
	if dir == nil {
		return nil
	}
	key := strings.Join([]string{dir.name, src.attrs[pb.AttrFollowPaths], src.attrs[pb.AttrExcludePatterns], src.attrs[pb.AttrIncludePatterns]}, "\x00")
	up := u.byKey[key]
	if up == nil {
		up = &Upload{Mount: strings.TrimPrefix(src.mount, "_"), Dir: dir.root, Paths: src.follow(), dir: dir, ID: key}
		if up.In = in; in == nil {
			up.In = up
		}
		up.Exclude, _ = patternsIn(src.attrs[pb.AttrExcludePatterns]) // the frontend in kiln wrote them
		up.include, _ = patternsIn(src.attrs[pb.AttrIncludePatterns])
		if u.byKey == nil {
			u.byKey = map[string]*Upload{}
		}
		u.byKey[key] = up
		u.list = append(u.list, up)
	}
	if n := len(up.Targets); n == 0 || up.Targets[n-1] != v.Target {
		up.Targets = append(up.Targets, v.Target)
	}
	return up
}

func (u *uploads) sorted() []*Upload {
	slices.SortStableFunc(u.list, func(a, b *Upload) int { return strings.Compare(a.ID, b.ID) })
	return u.list
}

// Walk calls fn for each file that is sent when the daemon has none of it
// yet: its path in the directory, with slashes, and its size in bytes. Of
// files that are hard links to each other one is sent.
func (u *Upload) Walk(ctx context.Context, fn func(path string, size int64) error) error {
	// As filesync does for what the daemon asks.
	files, err := fsutil.NewFilterFS(u.dir.fs, &fsutil.FilterOpt{FollowPaths: u.Paths, ExcludePatterns: u.Exclude, IncludePatterns: u.include})
	if err != nil {
		return err
	}
	return fsutil.WithHardlinkReset(files).Walk(ctx, "/", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := entry.Info()
		if err != nil {
			return err
		}
		st, ok := fi.Sys().(*fstypes.Stat)
		if !fi.Mode().IsRegular() || ok && st.Linkname != "" {
			return nil
		}
		return fn(filepath.ToSlash(path), fi.Size())
	})
}

// Plain returns the paths if none is a pattern or a link, without those that
// lie in another; plain is false where that is not so.
func (u *Upload) Plain() (paths []string, plain bool) {
	elems, plain := plainPaths(u.Dir, u.Paths)
	if !plain {
		return nil, false
	}
	var all []string
	for _, e := range elems {
		all = append(all, strings.Join(e, "/"))
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	for _, p := range all {
		if n := len(paths); n == 0 || !strings.HasPrefix(p+"/", paths[n-1]+"/") {
			paths = append(paths, p)
		}
	}
	return paths, true
}

// noStore stands for kiln's store where none is opened.
type noStore struct{}

func (noStore) Content() content.Store { return nil }

func (noStore) Put(context.Context, []string, ocispec.Descriptor) error { return errSurvey }
