package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// A frontendGateway is the daemon as a frontend that runs in kiln sees it.
type frontendGateway struct {
	gateway.Client
	s      *Solver
	j      *job
	attrs  map[string]string
	states map[string]llb.State
	quiet  bool        // drop warnings
	alone  bool        // there is no daemon, see foresee.go
	warned atomic.Bool // one was dropped
}

// BuildOpts implements gateway.Client: the daemon's, with the job's attributes.
func (g *frontendGateway) BuildOpts() gateway.BuildOpts {
	o := g.Client.BuildOpts()
	o.Opts = maps.Clone(g.attrs)
	o.SessionID = g.s.sess.ID()
	return o
}

// Inputs implements gateway.Client.
func (g *frontendGateway) Inputs(context.Context) (map[string]llb.State, error) { return g.states, nil }

// Warn implements gateway.Client. The daemon would not know the step that the
// warning is about.
func (g *frontendGateway) Warn(_ context.Context, _ digest.Digest, msg string, o gateway.WarnOpts) error {
	if g.quiet {
		g.warned.Store(true)
		return nil
	}
	g.s.router.warn(g.j.name, msg, o)
	return nil
}

// Solve implements gateway.Client. It returns references that are solved
// when they are asked for something.
func (g *frontendGateway) Solve(_ context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	if req.Frontend != "" {
		return nil, fmt.Errorf("the Dockerfile asks for the frontend %q", req.FrontendOpt["source"])
	}
	res := gateway.NewResult()
	res.SetRef(&lazyRef{g: g, def: req.Definition, dir: g.readOnly(req.Definition)})
	return res, nil
}

// readOnly returns the directory of a definition that a frontend solves only
// to read files from: the Dockerfile, .dockerignore.
func (g *frontendGateway) readOnly(def *pb.Definition) *localDir {
	if len(def.GetDef()) != 2 { // the source, and the operation that returns it
		return nil
	}
	var dir *localDir
	_ = eachLocal(def, func(src localSource) error {
		if src.attrs[pb.AttrLocalDiffer] == pb.AttrLocalDifferNone {
			dir = g.j.mounts[src.mount]
		}
		return nil
	})
	return dir
}

// resolved is the answer to "what is this image?".
type resolved struct {
	ref    string
	dgst   digest.Digest
	config []byte
}

// ResolveImageConfig implements gateway.Client. Every image is asked for
// once in a run, so that all targets build on the same one. If the target that
// asks is stopped, another of those that wait for the answer asks.
func (g *frontendGateway) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	g.s.router.expect(g.j.name, opt.LogName)
	for {
		r, err := g.s.resolve.Do(ctx, resolveKey(ref, opt), func(shared context.Context) (resolved, error) {
			ref, dgst, config, err := g.Client.ResolveImageConfig(shared, ref, opt)
			if err != nil && ctx.Err() != nil {
				err = &stoppedError{err}
			}
			return resolved{ref, dgst, config}, err
		})
		if stopped := (*stoppedError)(nil); !errors.As(err, &stopped) || ctx.Err() != nil {
			return r.ref, r.dgst, r.config, err
		}
	}
}

// A stoppedError is what a target got for an answer that was stopped itself,
// perhaps with the build that it asked in: it says nothing of the question.
type stoppedError struct{ error }

func (e *stoppedError) Unwrap() error { return e.error }

func resolveKey(ref string, opt sourceresolver.Opt) string {
	key := []string{ref}
	if o := opt.ImageOpt; o != nil {
		key = append(key, o.ResolveMode)
		if o.Platform != nil {
			key = append(key, platforms.FormatAll(*o.Platform))
		}
	}
	if o := opt.OCILayoutOpt; o != nil {
		key = append(key, "layout", o.Store.StoreID)
		if o.Platform != nil {
			key = append(key, platforms.FormatAll(*o.Platform))
		}
	}
	return strings.Join(key, "\x00")
}

// A lazyRef is a definition that a frontend wants solved.
type lazyRef struct {
	g   *frontendGateway
	def *pb.Definition
	dir *localDir // of a definition that is only read from; else nil

	once sync.Once
	ref  gateway.Reference
	err  error
}

// real solves the definition as it is, for a frontend that wants to look
// into the result.
func (r *lazyRef) real(ctx context.Context) (gateway.Reference, error) {
	r.once.Do(func() {
		if r.g.alone {
			r.err = errSurvey
			return
		}
		def, err := r.g.s.bindLocals(r.g.j, r.def)
		if err != nil {
			r.err = err
			return
		}
		res, err := r.g.Client.Solve(ctx, gateway.SolveRequest{Definition: def, Evaluate: true})
		if err != nil {
			r.err = err
			return
		}
		r.ref, r.err = res.SingleRef()
		if r.err == nil && r.ref == nil {
			r.err = errors.New("the result is empty")
		}
	})
	return r.ref, r.err
}

// ToState implements gateway.Reference.
func (r *lazyRef) ToState() (llb.State, error) { return stateOf(r.def) }

// Evaluate implements gateway.Reference.
func (r *lazyRef) Evaluate(ctx context.Context) error {
	if r.dir != nil {
		return nil
	}
	_, err := r.real(ctx)
	return err
}

// ReadFile implements gateway.Reference.
func (r *lazyRef) ReadFile(ctx context.Context, req gateway.ReadRequest) ([]byte, error) {
	if r.dir == nil {
		ref, err := r.real(ctx)
		if err != nil {
			return nil, err
		}
		return ref.ReadFile(ctx, req)
	}
	rc, _, err := r.dir.open(req.Filename)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	if req.Range == nil {
		return io.ReadAll(rc)
	}
	if _, err := io.CopyN(io.Discard, rc, int64(req.Range.Offset)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(rc, int64(req.Range.Length)))
}

// StatFile implements gateway.Reference.
func (r *lazyRef) StatFile(ctx context.Context, req gateway.StatRequest) (*fstypes.Stat, error) {
	if r.dir == nil {
		ref, err := r.real(ctx)
		if err != nil {
			return nil, err
		}
		return ref.StatFile(ctx, req)
	}
	rc, fi, err := r.dir.open(req.Path)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return &fstypes.Stat{Path: req.Path, Size: fi.Size(), Mode: uint32(fi.Mode()), ModTime: fi.ModTime().UnixNano()}, nil
}

// ReadDir implements gateway.Reference.
func (r *lazyRef) ReadDir(ctx context.Context, req gateway.ReadDirRequest) ([]*fstypes.Stat, error) {
	ref, err := r.real(ctx)
	if err != nil {
		return nil, err
	}
	return ref.ReadDir(ctx, req)
}

// open opens a file of the directory, or a file elsewhere that the user's
// own symbolic link in it points to.
func (d *localDir) open(name string) (io.ReadCloser, fs.FileInfo, error) {
	name = path.Clean("/" + name)
	if d.root == "" { // held in memory
		return d.openText(name[1:])
	}
	f, err := os.Open(filepath.Join(d.root, filepath.FromSlash(name)))
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// openText opens the Dockerfile of a directory that text has made.
func (d *localDir) openText(name string) (io.ReadCloser, fs.FileInfo, error) {
	if name != inlineName {
		return nil, nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(strings.NewReader(d.text)), &fsutil.StatInfo{Stat: inlineStat(d.text)}, nil
}
