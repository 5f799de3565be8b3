package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// A conversion is a Dockerfile turned into LLB: the frontend's result, whose
// references are all lazy.
type conversion struct {
	res *gateway.Result
}

// convert runs BuildKit's Dockerfile frontend in kiln. The frontend believes
// to talk to the daemon; what it asks of local files is answered here, and
// what it wants solved is only noted, so that it can be rewritten first.
func (s *Solver) convert(ctx context.Context, j *job, gw gateway.Client, fed *fed) (*conversion, error) {
	states, err := fed.states()
	if err != nil {
		return nil, err
	}
	attrs := j.attrs(fed)
	for k := range attrs {
		if strings.HasPrefix(k, "attest:") {
			delete(attrs, k) // made by the daemon, or by nobody
		}
	}
	f := &frontendGateway{Client: gw, s: s, j: j, attrs: attrs, states: states}
	res, err := runFrontend(ctx, f)
	if err != nil {
		return nil, err
	}
	return &conversion{res: res}, s.fixPlatform(j, res)
}

// fixPlatform names the daemon's platform where the frontend, which thinks
// it runs in the daemon, has named that of this machine.
func (s *Solver) fixPlatform(j *job, res *gateway.Result) error {
	dt, ok := res.Metadata[exptypes.ExporterPlatformsKey]
	if !ok || j.req.Attrs["platform"] != "" {
		return nil
	}
	var ps exptypes.Platforms
	if err := json.Unmarshal(dt, &ps); err != nil {
		return err
	}
	own := s.conn.workers[0].Platforms
	if len(ps.Platforms) != 1 || len(own) == 0 || ps.Platforms[0].ID == s.conn.Platforms()[0] || res.Ref == nil {
		return nil
	}
	ps.Platforms[0] = exptypes.Platform{ID: s.conn.Platforms()[0], Platform: own[0]}
	dt, err := json.Marshal(ps)
	res.AddMeta(exptypes.ExporterPlatformsKey, dt)
	return err
}

// errSurvey stops a conversion at what only a real build can answer.
var errSurvey = errors.New("not known before the build")

// surveyAll converts every target for itself, before any is solved, to learn
// which paths of each directory will be read. Base images and other targets
// are not looked at; what depends on them is corrected when the target is
// solved. Mistakes are told then, too.
func (s *Solver) surveyAll(gw gateway.Client) {
	eg := &errgroup.Group{}
	eg.SetLimit(runtime.GOMAXPROCS(0))
	found := make([][]localSource, len(s.order))
	for i, j := range s.order {
		eg.Go(func() error {
			if !j.late && j.load(s) == nil && !j.own() && j.req.Call == "" {
				found[i] = s.surveyOne(j, gw)
			}
			return nil
		})
	}
	_ = eg.Wait() // no job returns an error
	for i, j := range s.order {
		for _, src := range found[i] {
			if dir := j.mounts[src.mount]; dir != nil {
				s.shares.add(s.ignored.place(src, dir), dir)
			}
		}
	}
}

// surveyOne returns the local sources of a job.
func (s *Solver) surveyOne(j *job, gw gateway.Client) (found []localSource) {
	f := &surveyGateway{frontendGateway: frontendGateway{Client: gw, s: s, j: j, attrs: j.attrs(s.unknown(j)), quiet: true}}
	f.states = map[string]llb.State{}
	for _, in := range j.req.Inputs {
		f.states[in.Name] = llb.Scratch()
		f.guessed.Store(true)
	}
	res, err := runFrontend(s.run, f)
	if err != nil {
		return nil
	}
	defs, err := lazyDefs(res)
	if err != nil {
		return nil
	}
	for _, p := range slices.Sorted(maps.Keys(defs)) {
		_ = eachLocal(defs[p], func(src localSource) error {
			found = append(found, src)
			return nil
		})
	}
	if !f.guessed.Load() && !f.warned.Load() {
		j.early = &conversion{res: res}
	}
	return found
}

// unknown stands for inputs that are not built yet.
func (s *Solver) unknown(j *job) *fed {
	f := &fed{attrs: map[string]string{}, inputs: map[string]*pb.Definition{}}
	for _, in := range j.req.Inputs {
		f.attrs["context:"+in.Name] = "input:" + in.Name
	}
	return f
}

// A surveyGateway answers as if every image were there and empty.
type surveyGateway struct {
	frontendGateway
	guessed atomic.Bool // an answer was made up
}

func (g *surveyGateway) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	if req.Frontend != "" {
		return nil, errSurvey
	}
	return g.frontendGateway.Solve(ctx, req)
}

func (g *surveyGateway) ResolveImageConfig(_ context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	g.guessed.Store(true)
	var img ocispec.Image
	img.OS, img.Architecture = "linux", runtime.GOARCH
	if o := opt.ImageOpt; o != nil && o.Platform != nil {
		img.Platform = *o.Platform
	}
	config, err := json.Marshal(img)
	return ref, "", config, err
}

func (g *surveyGateway) ResolveSourceMetadata(context.Context, *pb.SourceOp, sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	return nil, errSurvey
}

// lazyDefs returns the definitions of a conversion, by platform; "" where
// there is only one.
func lazyDefs(res *gateway.Result) (map[string]*pb.Definition, error) {
	out := map[string]*pb.Definition{}
	add := func(key string, ref gateway.Reference) error {
		if ref == nil {
			out[key] = nil
			return nil
		}
		l, ok := ref.(*lazyRef)
		if !ok {
			return fmt.Errorf("unexpected reference %T", ref)
		}
		out[key] = l.def
		return nil
	}
	if res.Refs == nil {
		return out, add("", res.Ref)
	}
	for p, ref := range res.Refs {
		if err := add(p, ref); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// bindLocals maps a definition's own local sources to the directories they
// mean, and renames the steps that the network has failed.
func (s *Solver) bindLocals(j *job, def *pb.Definition) (*pb.Definition, error) {
	def, err := s.confine(j, def)
	if err != nil {
		return nil, err
	}
	def, err = rewriteLocals(def, func(src localSource) (string, map[string]string, error) {
		// Those of other targets, which come with their results, are bound.
		if src.attrs[pb.AttrLocalSessionID] != s.sess.ID() || s.shares.bound(src) {
			return localPrefix + src.mount, src.attrs, nil
		}
		dir := j.mounts[src.mount]
		if dir == nil {
			return "", nil, fmt.Errorf("the Dockerfile reads the directory %q, which the target does not have", src.mount)
		}
		id, attrs := s.shares.rewrite(s.ignored.place(src, dir), dir, j.session)
		attrs[pb.AttrLocalSessionID] = s.known.session(dir, attrs, j.session)
		return id, attrs, nil
	})
	if err != nil {
		return nil, err
	}
	return s.anew.rename(j, def)
}
