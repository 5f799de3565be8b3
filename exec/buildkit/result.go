package buildkit

import (
	"context"
	"maps"
	"slices"
	"sync"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/exec"
)

// A sharedResult was solved in the run's shared build, which holds it.
type sharedResult struct {
	s      *Solver
	j      *job
	solved *solved
	// exported is what was exported, if only a cache is missing.
	exported *exec.Output
	caches   *cacheWatch // of the last export; nil before
}

func (r *sharedResult) holds() *solved { return r.solved }

// Close implements [exec.Result]. The daemon's part is let go of with the
// shared build: there is no way to release a single result.
func (r *sharedResult) Close() {}

// solveShared builds a job in the shared build.
func (s *Solver) solveShared(ctx context.Context, j *job, fed *fed) (*sharedResult, error) {
	b, err := s.buildOf(j)
	if err != nil {
		return nil, err
	}
	s.survey(b.gw)
	if err := s.readCaches(ctx, j, b.gw, b.reads); err != nil {
		return nil, err
	}
	conv := j.early
	if conv == nil {
		if conv, err = s.convert(ctx, j, b.gw, fed); err != nil {
			return nil, err
		}
	}
	r, err := s.evaluate(ctx, j, b.gw, conv)
	if err != nil {
		return nil, err
	}
	return &sharedResult{s: s, j: j, solved: r}, nil
}

// evaluate has every platform of a conversion built.
func (s *Solver) evaluate(ctx context.Context, j *job, gw gateway.Client, conv *conversion) (*solved, error) {
	defs, err := lazyDefs(conv.res)
	if err != nil {
		return nil, err
	}
	out := &solved{meta: conv.res.Metadata}
	var mu sync.Mutex
	if conv.res.Refs != nil {
		out.refs = map[string]*pb.Definition{}
	}
	eg, ctx := errgroup.WithContext(ctx)
	for _, key := range slices.Sorted(maps.Keys(defs)) {
		eg.Go(func() error {
			def, err := s.solveOne(ctx, j, gw, defs[key])
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if conv.res.Refs == nil {
				out.one = def
			} else {
				out.refs[key] = def
			}
			return nil
		})
	}
	return out, eg.Wait()
}

// solveOne builds one definition and returns it as it was built.
func (s *Solver) solveOne(ctx context.Context, j *job, gw gateway.Client, def *pb.Definition) (*pb.Definition, error) {
	if len(def.GetDef()) == 0 {
		return nil, nil // FROM scratch, and nothing in it
	}
	def, err := s.bindLocals(j, def)
	if err != nil {
		return nil, err
	}
	if err := unsupported(def, gw.BuildOpts().LLBCaps); err != nil {
		return nil, err
	}
	return s.keepFinding(j, def, func(def *pb.Definition) error {
		s.router.claim(j.name, def)
		s.opt.Trail.claim(s, j, def)
		_, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def, Evaluate: true, CacheImports: j.cacheIn})
		return err
	})
}
