package buildkit

import (
	"cmp"
	"context"
	"maps"
	"strconv"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/exec"
)

// Export implements [exec.Result]: a build beside the shared one asks for the
// same definitions, which the daemon still holds, and exports them.
func (r *sharedResult) Export(ctx context.Context) (exec.Output, error) {
	var out exec.Output
	addAnswer(&out, r.solved.meta, r.j.req.Call)
	outs, err := r.s.outputsAfter(r.j, r.exported)
	if err != nil {
		return exec.Output{}, err
	}
	if len(outs.list) == 0 && len(r.j.req.CacheTo) == 0 {
		return out, nil
	}
	ctx, stop := r.s.bound(ctx)
	defer stop()
	if err := r.s.exports.Acquire(ctx, 1); err != nil {
		return exec.Output{}, context.Cause(ctx)
	}
	defer r.s.exports.Release(1)
	unlock, err := outs.lock(ctx)
	if err != nil {
		return exec.Output{}, err
	}
	defer unlock()
	if out, ok := r.kept(ctx, outs); ok {
		return out, nil
	}
	resp, cacheErr, err := r.run(ctx, outs)
	if err != nil {
		return exec.Output{}, r.caches.told(outs.failed(ctx, err))
	}
	if r.exported == nil {
		out, err := outs.commit(ctx, resp)
		if err != nil {
			return exec.Output{}, err
		}
		r.exported = &out
	}
	return *r.exported, cacheErr
}

// outputsAfter returns where the result of a job goes. After an export that
// only a cache was missing of, that is nowhere.
func (s *Solver) outputsAfter(j *job, exported *exec.Output) (*outputs, error) {
	outs, err := s.outputs(j)
	if err == nil && exported != nil {
		outs.list = nil
	}
	return outs, err
}

// run has all outputs written, and returns the exporters' answers, and an
// exec.CacheError if a cache was not written.
func (r *sharedResult) run(ctx context.Context, outs *outputs) (resp map[string]string, cacheErr, err error) {
	entries, err := outs.entries()
	if err != nil {
		return nil, nil, err
	}
	resp = map[string]string{}
	for i, batch := range batches(entries, r.s.opt.Lower.Docker.single()) {
		opt := client.SolveOpt{Exports: batch}
		if len(outs.list) == 1 && outs.list[0].store && len(r.j.req.CacheTo) == 0 {
			opt.SharedSession, opt.SessionPreInitialized = r.s.sess.Session, true // it offers the store
		} else {
			opt.Session = []session.Attachable{r.s.creds.auth()}
		}
		for _, c := range r.s.cacheExports(r.j) {
			if i == 0 || c.Type == "inline" { // which goes into each image
				opt.CacheExports = append(opt.CacheExports, c)
			}
		}
		more, notCached, err := r.build(ctx, opt)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(resp, more)
		cacheErr = cmp.Or(cacheErr, notCached)
	}
	return resp, cacheErr, nil
}

// build asks for what is held in a build beside the shared one, which does
// with it what opt says, and returns the exporters' answers, and an
// exec.CacheError if a cache was not written.
func (r *sharedResult) build(ctx context.Context, opt client.SolveOpt) (resp map[string]string, cacheErr, err error) {
	opt.Internal, opt.FrontendAttrs, opt.SourcePolicy = true, r.j.exportAttrs(), r.s.policy
	var res *client.SolveResponse
	err = again(opt.Exports, func() (err error) {
		var status chan *client.SolveStatus
		r.caches, status = r.s.watchCaches(r.j, r.s.router.exporting(r.j.name))
		res, err = r.s.conn.client.Build(ctx, opt, "kiln", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
			return r.s.assemble(ctx, gw, r.solved)
		}, status)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return res.ExporterResponse, r.caches.err(), nil
}

// exportAttrs are the attributes that a daemon looks at when it exports.
func (j *job) exportAttrs() map[string]string {
	out := map[string]string{}
	const epochKey, platformKey = "build-arg:SOURCE_DATE_EPOCH", "platform"
	epoch := j.req.Attrs[epochKey]
	if _, err := strconv.ParseInt(epoch, 10, 64); err == nil { // else the frontend has made a time of it
		out[epochKey] = epoch
	}
	if p := j.req.Attrs[platformKey]; p != "" { // else it warns of any platform but its own
		out[platformKey] = p
	}
	return out
}

// batches splits outputs so that each build has at most one that goes to a
// content store: a session can offer only one. With single, each build has one
// in any case. There is at least one batch, for a target that exports only its
// cache.
func batches(entries []client.ExportEntry, single bool) [][]client.ExportEntry {
	out := [][]client.ExportEntry{nil}
	stored := false
	for _, e := range entries {
		store := e.OutputStore != nil || e.OutputDir != "" && e.Type != client.ExporterLocal
		if store && stored || single && len(out[0]) > 0 {
			out = append(out, nil)
			stored = false
		}
		stored = stored || store
		out[len(out)-1] = append(out[len(out)-1], e)
	}
	return out
}

// assemble solves what is held once more in another build, where it is there
// already, and returns it as a frontend would.
func (s *Solver) assemble(ctx context.Context, gw gateway.Client, held *solved) (*gateway.Result, error) {
	res := gateway.NewResult()
	for k, v := range held.meta {
		res.AddMeta(k, v)
	}
	solve := func(ctx context.Context, def *pb.Definition) (gateway.Reference, error) {
		if len(def.GetDef()) == 0 {
			return nil, nil
		}
		r, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def, Evaluate: true})
		if err != nil {
			return nil, err
		}
		return r.SingleRef()
	}
	if held.refs == nil {
		ref, err := solve(ctx, held.one)
		if ref != nil {
			res.SetRef(ref)
		}
		return res, err
	}
	eg, ctx := errgroup.WithContext(ctx)
	for p, def := range held.refs {
		eg.Go(func() error {
			ref, err := solve(ctx, def)
			if err == nil {
				res.AddRef(p, ref)
			}
			return err
		})
	}
	return res, eg.Wait()
}
