package buildkit

import (
	"bytes"
	"cmp"
	"hash/crc32"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/kilnbuild/kiln/exec"
)

// A Trail notes what the steps of a run are made of, and what is sent of the
// directories of this machine, for whoever wants to know afterwards why a
// step was not in the cache. While targets are built it only keeps what comes
// by; recipes are made of it when they are asked for. Solvers of one run may
// share it. A nil Trail notes nothing.
type Trail struct {
	// mu guards the fields below.
	mu      sync.Mutex
	ops     map[digest.Digest]*trailOp
	order   []*trailOp
	uploads []*upload
}

// A trailOp is an operation as it was first asked for.
type trailOp struct {
	dgst    digest.Digest
	raw     []byte
	meta    *pb.OpMetadata
	lines   *pb.Locations
	file    string // the Dockerfile, as the target names it
	root    string // of a local source, the directory
	targets []string
	redact  *redactor
}

// claim notes that a job asks for the steps of def.
func (t *Trail) claim(s *Solver, j *job, def *pb.Definition) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ops == nil {
		t.ops = map[digest.Digest]*trailOp{}
	}
	for _, dt := range def.GetDef() {
		d := digest.FromBytes(dt)
		op := t.ops[d]
		if op == nil {
			op = &trailOp{dgst: d, raw: dt, meta: def.Metadata[d.String()], file: j.req.Dockerfile, redact: s.redact}
			if def.Source != nil {
				op.lines = def.Source.Locations[d.String()]
			}
			op.root = s.rootIn(j, dt)
			t.ops[d] = op
			t.order = append(t.order, op)
		}
		// Some platforms of a target come at once, and not long after each other.
		if n := len(op.targets); !slices.Contains(op.targets[max(0, n-16):], j.name) {
			op.targets = append(op.targets, j.name)
		}
	}
}

// rootIn returns the directory that an operation of a job is the source of,
// "" if it is none.
func (s *Solver) rootIn(j *job, dt []byte) string {
	if !bytes.Contains(dt, []byte(localPrefix)) { // most are none, and this is quick
		return ""
	}
	var op pb.Op
	if op.UnmarshalVT(dt) != nil {
		return ""
	}
	src, ok := localOf(&op)
	if !ok {
		return ""
	}
	dir := j.mounts[src.mount]
	if dir == nil {
		s.locals.mu.Lock()
		dir = s.locals.byName[src.mount]
		s.locals.mu.Unlock()
	}
	if dir == nil {
		return ""
	}
	return cmp.Or(dir.root, src.mount)
}

// Recipes returns what the steps of the run are made of, each after those it
// reads. A step of which kiln never saw the definition is not among them.
func (t *Trail) Recipes() []exec.Recipe {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]exec.Recipe, 0, len(t.order))
	for _, op := range t.order {
		if r, ok := op.recipe(); ok {
			out = append(out, r)
		}
	}
	return out
}

// Listings returns what was sent of the directories of this machine, by
// directory, and forgets it.
func (t *Trail) Listings() []exec.Listing {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []exec.Listing
	for _, u := range t.uploads {
		files, more := u.end()
		if i := slices.IndexFunc(out, func(l exec.Listing) bool { return l.Dir == u.root }); i < 0 {
			out = append(out, exec.Listing{Dir: u.root, Files: files, More: more})
		} else {
			out[i].Files = merged(out[i].Files, files)
			out[i].More = max(out[i].More, more)
		}
	}
	t.uploads = nil
	slices.SortFunc(out, func(a, b exec.Listing) int { return strings.Compare(a.Dir, b.Dir) })
	return out
}

// merged are the files of two uploads of a directory, sorted by path.
func merged(a, b []exec.ListedFile) []exec.ListedFile {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(a, b exec.ListedFile) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), -cmp.Compare(a.Check, b.Check))
	})
	return slices.CompactFunc(all, func(a, b exec.ListedFile) bool { return a.Path == b.Path })
}

// notedDir gives a directory of a run's locals a list of what is sent of it.
type notedDir struct {
	fsutil.FS
	root  string
	trail *Trail
}

// noted has a directory noted where there is a trail and a path to tell.
func (t *Trail) noted(fs fsutil.FS, root string) fsutil.FS {
	if t == nil || root == "" {
		return fs
	}
	return notedDir{fs, root, t}
}

// begin notes a transfer.
func (d notedDir) begin() *upload {
	u := &upload{root: d.root}
	d.trail.mu.Lock()
	defer d.trail.mu.Unlock()
	d.trail.uploads = append(d.trail.uploads, u)
	return u
}

// An upload is what one transfer sends of a directory.
type upload struct {
	root string

	// mu guards the fields below.
	mu    sync.Mutex
	files []exec.ListedFile // those that a daemon may ask for are known to it by their place here
	more  int
}

// mostListed is how many files of a transfer are noted.
const mostListed = 100_000

// packet notes a message to the daemon: what a file is, or a part of its
// content.
func (u *upload) packet(p *fstypes.Packet) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case p.Type == fstypes.PACKET_STAT && p.Stat != nil:
		if len(u.files) >= mostListed {
			u.more++
			return
		}
		if len(u.files) == cap(u.files) { // append would leave more behind
			u.files = slices.Grow(u.files, max(64, len(u.files)))
		}
		st := p.Stat
		u.files = append(u.files, exec.ListedFile{Path: st.Path, Mode: st.Mode, Size: st.Size, Time: st.ModTime, Link: st.Linkname})
	case p.Type == fstypes.PACKET_DATA && int(p.ID) < len(u.files):
		f := &u.files[p.ID]
		f.Check = crc32.Update(f.Check, castagnoli(), p.Data)
		if len(p.Data) == 0 && f.Check == 0 {
			f.Check = emptyCheck // of an empty file that was sent
		}
	}
}

// end gives away what was noted.
func (u *upload) end() (files []exec.ListedFile, more int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	files, u.files = u.files, nil
	return files, u.more
}

// castagnoli is the polynomial that processors know. Its table is made once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

const emptyCheck = 1
