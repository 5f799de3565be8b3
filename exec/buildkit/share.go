package buildkit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// Sharing. A Dockerfile frontend gives each target a local source of its own:
// a name ("context"), the paths that this one target copies, a random number.
// Two hundred targets of one directory would be two hundred uploads. Here the
// local sources of a definition are rewritten so that all targets of a run
// that read a directory under the same exclusions read the same vertex, which
// holds the union of their paths. A COPY takes its cache key from the files
// it copies, so the rest of the upload does not matter to it.

// A shareKey tells which local sources may be one.
type shareKey struct{ dir, attrs string }

// shares knows the union of paths for each key.
type shares struct {
	unique string // of the run: makes a vertex differ from another run's
	// mu guards unions.
	mu     sync.Mutex
	unions map[shareKey]*union
}

// A union is a set of paths, or everything.
type union struct {
	all   bool
	paths map[string]bool
	text  string // the paths as an attribute has them; "" until it is asked for
}

// with returns, as an attribute has it, the union and further paths.
func (u *union) with(follow []string) string {
	paths := u.paths
	if slices.ContainsFunc(follow, func(p string) bool { return !u.paths[p] }) {
		paths = maps.Clone(u.paths)
		for _, p := range follow {
			paths[p] = true
		}
	} else if u.text != "" {
		return u.text
	}
	text := pathsText(slices.Sorted(maps.Keys(paths)))
	if len(paths) == len(u.paths) {
		u.text = text
	}
	return text
}

func pathsText(paths []string) string {
	text, _ := json.Marshal(paths) // strings always encode
	return string(text)
}

// A localSource is a local source as a frontend wrote it.
type localSource struct {
	mount string
	attrs map[string]string
}

// follow returns the paths that the source asks for; nil is everything.
func (s localSource) follow() []string {
	var paths []string
	_ = json.Unmarshal([]byte(s.attrs[pb.AttrFollowPaths]), &paths) // absent or malformed: everything
	return paths
}

// key returns what must be equal in sources that are shared.
func (s localSource) key(dir *localDir) shareKey {
	rest := maps.Clone(s.attrs)
	for _, k := range []string{pb.AttrFollowPaths, pb.AttrLocalSessionID, pb.AttrLocalUniqueID, pb.AttrSharedKeyHint} {
		delete(rest, k)
	}
	attrs, _ := json.Marshal(rest) // keys sorted; strings always encode
	return shareKey{dir.name, string(attrs)}
}

// add widens the union for a source that will be read.
func (s *shares) add(src localSource, dir *localDir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.unions[src.key(dir)]
	if u == nil {
		u = &union{paths: map[string]bool{}}
		s.unions[src.key(dir)] = u
	}
	follow := src.follow()
	u.text = ""
	u.all = u.all || len(follow) == 0
	for _, p := range follow {
		u.paths[p] = true
	}
}

// rewrite returns the source to read in place of src. A source whose paths
// are not in the union, because they depend on a base image, adds them for
// itself.
func (s *shares) rewrite(src localSource, dir *localDir, session string) (identifier string, attrs map[string]string) {
	attrs = maps.Clone(src.attrs)
	attrs[pb.AttrLocalSessionID] = session
	attrs[pb.AttrLocalUniqueID] = s.unique
	attrs[pb.AttrSharedKeyHint] = dir.hint
	s.mu.Lock()
	defer s.mu.Unlock()
	follow := src.follow()
	delete(attrs, pb.AttrFollowPaths)
	u := s.unions[src.key(dir)]
	switch {
	case follow == nil || u != nil && u.all:
	case u == nil:
		attrs[pb.AttrFollowPaths] = pathsText(follow)
	default:
		attrs[pb.AttrFollowPaths] = u.with(follow)
	}
	return localPrefix + dir.name, attrs
}

// bound reports whether rewrite has made src.
func (s *shares) bound(src localSource) bool {
	return src.attrs[pb.AttrLocalUniqueID] == s.unique
}

const localPrefix = "local://"

// localOf returns the local source that op is, if it is one.
func localOf(op *pb.Op) (localSource, bool) {
	src := op.GetSource()
	if src == nil {
		return localSource{}, false
	}
	mount, ok := strings.CutPrefix(src.Identifier, localPrefix)
	return localSource{mount, src.Attrs}, ok
}

// eachLocal calls fn for the local sources of def.
func eachLocal(def *pb.Definition, fn func(localSource) error) error {
	for _, dt := range def.GetDef() {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err != nil {
			return fmt.Errorf("read LLB: %w", err)
		}
		if src, ok := localOf(&op); ok {
			if err := fn(src); err != nil {
				return err
			}
		}
	}
	return nil
}

// rewriteLocals returns def with its local sources replaced. Since an
// operation is known by the digest of its bytes, all that follow from a
// changed one change too.
func rewriteLocals(def *pb.Definition, fn func(localSource) (identifier string, attrs map[string]string, err error)) (*pb.Definition, error) {
	return rewriteOps(def, func(_ string, op *pb.Op) (bool, error) {
		src, ok := localOf(op)
		if !ok {
			return false, nil
		}
		id, attrs, err := fn(src)
		op.GetSource().Identifier, op.GetSource().Attrs = id, attrs
		return true, err
	})
}

// rewriteOps returns a definition with every operation as fn leaves it, which
// is told the operation's digest and says whether it has changed it.
func rewriteOps(def *pb.Definition, fn func(dgst string, op *pb.Op) (bool, error)) (*pb.Definition, error) {
	renamed := map[string]string{} // digests, old to new
	out := &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}
	seen := map[string]bool{}
	for _, dt := range def.Def {
		old := digest.FromBytes(dt).String()
		dt, err := rewriteOp(dt, old, renamed, fn)
		if err != nil {
			return nil, err
		}
		dgst := digest.FromBytes(dt).String()
		renamed[old] = dgst
		if md := def.Metadata[old]; md != nil {
			out.Metadata[dgst] = md
		}
		if !seen[dgst] {
			seen[dgst] = true
			out.Def = append(out.Def, dt)
		}
	}
	if def.Source != nil {
		out.Source = &pb.Source{Infos: def.Source.Infos, Locations: map[string]*pb.Locations{}}
		for old, locs := range def.Source.Locations {
			if dgst, ok := renamed[old]; ok {
				out.Source.Locations[dgst] = locs
			}
		}
	}
	return out, nil
}

// rewriteOp returns the bytes of one operation, with new inputs and as fn
// leaves it.
func rewriteOp(dt []byte, dgst string, renamed map[string]string, fn func(string, *pb.Op) (bool, error)) ([]byte, error) {
	var op pb.Op
	if err := op.UnmarshalVT(dt); err != nil {
		return nil, fmt.Errorf("read LLB: %w", err)
	}
	changed, err := fn(dgst, &op)
	if err != nil {
		return nil, err
	}
	for _, in := range op.Inputs {
		if to, ok := renamed[in.Digest]; ok && to != in.Digest {
			in.Digest = to
			changed = true
		}
	}
	if !changed {
		return dt, nil
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(&op)
}
