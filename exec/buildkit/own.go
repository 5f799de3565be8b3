package buildkit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/exec"
)

// An ownResult waits in a build of its own. Its exporters are those of the
// build, which run when the build function returns the result: so the daemon
// can attach what it knows of the build (provenance, SBOM).
type ownResult struct {
	s      *Solver
	j      *job
	fed    *fed
	status func(node string) chan *client.SolveStatus
	solved *solved
	hold   *openBuild // keeps the result for its readers once the build has ended
	// exported is what was exported, if only a cache is missing.
	exported *exec.Output
	*ownBuild
}

// An ownBuild is the build of an ownResult. An export that failed has ended
// it; to try again takes another.
type ownBuild struct {
	ref     string // of the build, by which the daemon keeps its record
	outs    *outputs
	caches  *cacheWatch
	reads   *cacheReads // nil if there is no cache to read
	unread  error       // of the caches to read, as it was before the daemon had it
	decide  chan bool   // true: export; false: let go
	ended   chan struct{}
	cancel  context.CancelCauseFunc
	decided bool

	resp *client.SolveResponse // set, as err is, when ended is closed
	err  error
}

func (r *ownResult) holds() *solved { return r.solved }

// errLetGo ends a build whose result is not exported.
var errLetGo = errors.New("the result is not exported")

// solveOwn builds a job in a build of its own, whose status goes to a channel
// that status makes.
func (s *Solver) solveOwn(ctx context.Context, j *job, fed *fed, status func(string) chan *client.SolveStatus) (exec.Result, error) {
	r := &ownResult{s: s, j: j, fed: fed, status: status}
	if err := again(nil, func() error { return r.begin(ctx) }); err != nil {
		return nil, err
	}
	return r, nil
}

// begin builds the result, and holds the build open.
func (r *ownResult) begin(ctx context.Context) error {
	s, j := r.s, r.j
	outs, err := s.outputsAfter(j, r.exported)
	if err != nil {
		return err
	}
	if len(outs.list) > 1 && s.opt.Lower.Docker.single() {
		return errOneExport
	}
	opt, err := s.ownOpt(j, outs)
	if err != nil {
		return err
	}
	attrs, err := s.frontendAttrs(j, r.fed)
	if err != nil {
		return err
	}
	opt.FrontendAttrs = attrs
	began := false
	defer func() {
		if !began {
			outs.discard()
		}
	}()
	run, cancel, release := s.background(ctx)
	b := &ownBuild{ref: identity.NewID(), outs: outs, decide: make(chan bool, 1), ended: make(chan struct{}), cancel: cancel}
	r.ownBuild = b
	opt.Ref = b.ref
	ready := make(chan *solved, 1)
	var status chan *client.SolveStatus
	b.caches, status = s.watchCaches(j, r.status(j.name))
	if len(j.cacheIn) > 0 {
		b.reads, status = watchReads(status)
	}
	s.wait.Add(1)
	go func() {
		defer s.wait.Done()
		defer close(b.ended)
		b.resp, b.err = s.conn.client.Build(run, opt, "kiln", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
			if b.unread = s.readCaches(ctx, j, gw, b.reads); b.unread != nil {
				return nil, b.unread
			}
			res, held, err := s.buildOwn(ctx, j, gw, r.fed, attrs)
			if err != nil {
				return nil, err
			}
			ready <- held
			return b.await(ctx, j, res)
		}, status)
	}()
	select {
	case held := <-ready:
		if !release() {
			b.drain()
			return context.Cause(ctx)
		}
		if r.solved == nil { // else others may read it
			r.solved = held
		}
		began = true
		return nil
	case <-b.ended:
		cancel(nil)
		if b.unread != nil {
			return b.unread
		}
		if b.err == nil {
			return errors.New("the daemon ended the build at once")
		}
		return b.err
	case <-ctx.Done():
		b.drain()
		return context.Cause(ctx)
	}
}

// drain waits, not for long, for a build that was cancelled.
func (b *ownBuild) drain() {
	select {
	case <-b.ended:
	case <-time.After(cutOffTime):
	}
}

// ownOpt says what the build of a job may use.
func (s *Solver) ownOpt(j *job, outs *outputs) (client.SolveOpt, error) {
	entries, err := outs.entries()
	if err != nil {
		return client.SolveOpt{}, err
	}
	secrets, err := s.creds.of(j)
	if err != nil {
		return client.SolveOpt{}, err
	}
	mounts := filesync.StaticDirSource{} // for daemons that do not know the sessions of directories
	for name, dir := range j.mounts {
		mounts[name] = dir.fs
	}
	return client.SolveOpt{
		Exports:             entries,
		CacheExports:        s.cacheExports(j),
		CacheImports:        cacheEntries(j.cacheIn),
		Session:             append([]session.Attachable{s.creds.auth(), newFiles(mounts)}, secrets...),
		OCIStores:           s.storesOf(j),
		AllowedEntitlements: j.req.Entitlements,
		SourcePolicy:        s.policyOf(j),
		SharedKey:           sharedKey(),
	}, nil
}

// frontendAttrs adds the sessions that serve the job's directories.
func (s *Solver) frontendAttrs(j *job, fed *fed) (map[string]string, error) {
	attrs := j.attrs(fed)
	for _, mount := range slices.Sorted(maps.Keys(j.mounts)) {
		id, err := s.dirs.id(j, j.mounts[mount])
		if err != nil {
			return nil, err
		}
		attrs["local-sessionid:"+mount] = id
	}
	return attrs, nil
}

// buildOwn solves the job with the frontend it needs.
func (s *Solver) buildOwn(ctx context.Context, j *job, gw gateway.Client, fed *fed, attrs map[string]string) (*gateway.Result, *solved, error) {
	if !j.frontend() {
		conv, err := s.convert(ctx, j, gw, fed)
		if err != nil {
			return nil, nil, err
		}
		held, err := s.evaluate(ctx, j, gw, conv)
		if err != nil {
			return nil, nil, err
		}
		res, err := s.assemble(ctx, gw, held)
		return res, held, err
	}
	req := gateway.SolveRequest{Frontend: j.req.Frontend, FrontendOpt: maps.Clone(attrs), FrontendInputs: fed.inputs, Evaluate: true}
	res, err := gw.Solve(ctx, req)
	if isLost(err) { // in what only the frontend knows
		s.warnOfLost(j, "all its steps")
		req.FrontendOpt["no-cache"] = ""
		res, err = gw.Solve(ctx, req)
	}
	if err != nil {
		return nil, nil, err
	}
	held, err := hold(ctx, res)
	if err == nil {
		for _, def := range held.defs() {
			s.opt.Trail.claim(s, j, def)
		}
	}
	return res, held, err
}

// hold takes what a later build needs from a frontend's result.
func hold(ctx context.Context, res *gateway.Result) (*solved, error) {
	out := &solved{meta: res.Metadata}
	if res.Refs == nil {
		def, err := defOf(ctx, res.Ref)
		out.one = def
		return out, err
	}
	out.refs = map[string]*pb.Definition{}
	for _, p := range slices.Sorted(maps.Keys(res.Refs)) {
		def, err := defOf(ctx, res.Refs[p])
		if err != nil {
			return nil, err
		}
		out.refs[p] = def
	}
	return out, nil
}

func defOf(ctx context.Context, ref gateway.Reference) (*pb.Definition, error) {
	if ref == nil {
		return nil, nil
	}
	st, err := ref.ToState()
	if err != nil {
		return nil, err
	}
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	return def.ToPB(), nil
}

// await holds the build open until it is decided what becomes of the result.
func (b *ownBuild) await(ctx context.Context, j *job, res *gateway.Result) (*gateway.Result, error) {
	select {
	case export := <-b.decide:
		if !export {
			return nil, errLetGo
		}
		if j.req.Call != "" {
			return nil, nil
		}
		return res, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Export implements [exec.Result]. It ends the build, so what is still to be
// read is first held in another.
func (r *ownResult) Export(ctx context.Context) (exec.Output, error) {
	ctx, stop := r.s.bound(ctx)
	defer stop()
	if r.decided { // tried before
		if err := r.j.ownSession(r.s); err != nil {
			return exec.Output{}, err
		}
		if err := r.begin(ctx); err != nil {
			return exec.Output{}, r.s.explain(ctx, r.j, err)
		}
	}
	if err := r.keep(ctx); err != nil {
		return exec.Output{}, r.s.explain(ctx, r.j, err)
	}
	if err := r.s.exports.Acquire(ctx, 1); err != nil {
		return exec.Output{}, context.Cause(ctx)
	}
	defer r.s.exports.Release(1)
	unlock, err := r.outs.lock(ctx)
	if err != nil {
		return exec.Output{}, err
	}
	defer unlock()
	release := context.AfterFunc(ctx, func() { r.cancel(context.Cause(ctx)) })
	defer release()
	r.decided = true
	r.decide <- true
	select {
	case <-r.ended:
	case <-ctx.Done():
		r.drain()
		r.outs.discard()
		return exec.Output{}, r.s.explain(ctx, r.j, context.Cause(ctx))
	}
	if r.err != nil {
		return exec.Output{}, r.caches.told(r.outs.failed(ctx, r.err))
	}
	if r.exported == nil {
		out, err := r.outs.commit(ctx, r.response())
		if err != nil {
			return exec.Output{}, err
		}
		addAnswer(&out, r.solved.meta, r.j.req.Call)
		out.Metadata = r.s.recorded(ctx, r.j, r.ref, out.Metadata)
		r.exported = &out
	}
	return *r.exported, r.caches.err()
}

func (b *ownBuild) response() map[string]string {
	if b.resp == nil {
		return nil
	}
	return b.resp.ExporterResponse
}

// keep opens a second build that holds the result for its readers.
func (r *ownResult) keep(ctx context.Context) error {
	if !r.j.needed || r.hold != nil {
		return nil
	}
	hold, err := r.s.open(client.SolveOpt{
		SharedSession: r.s.sess.Session, SessionPreInitialized: true, Internal: true,
		AllowedEntitlements: r.j.req.Entitlements, SourcePolicy: r.s.policyOf(r.j),
	}, nil)
	if err != nil {
		return fmt.Errorf("hold the result for its readers: %w", err)
	}
	r.hold = hold
	eg, ctx := errgroup.WithContext(ctx)
	for _, def := range r.solved.defs() {
		eg.Go(func() error {
			_, err := hold.gw.Solve(ctx, gateway.SolveRequest{Definition: def, Evaluate: true})
			return err
		})
	}
	return eg.Wait()
}

// Close implements [exec.Result].
func (r *ownResult) Close() {
	if !r.decided {
		r.decide <- false
		r.drain()
		r.outs.discard()
	}
	if r.hold != nil {
		r.hold.release(r.s.patience())
	}
	r.cancel(nil)
}

// defs returns the definitions of s that hold anything.
func (s *solved) defs() []*pb.Definition {
	var out []*pb.Definition
	if len(s.one.GetDef()) > 0 {
		out = append(out, s.one)
	}
	for _, p := range slices.Sorted(maps.Keys(s.refs)) {
		if len(s.refs[p].GetDef()) > 0 {
			out = append(out, s.refs[p])
		}
	}
	return out
}
