package buildkit

import (
	"context"
	"sync"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An offline stands for the daemon to a frontend whose result nobody builds:
// it can do all that kiln's own can, has guessed images, and keeps what it is
// asked for. It implements gateway.Client.
type offline struct {
	surveyGateway
	opts gateway.BuildOpts

	// mu guards the fields below.
	mu        sync.Mutex
	reads     []localSource // directories that only the frontend reads
	images    []baseRef
	undefined []int // lines of the Dockerfile with a variable that nothing sets
}

// A baseRef is an image that a frontend wants to know of.
type baseRef struct {
	ref      string // in full
	platform string // "" is any
}

func (s *Solver) newOffline(j *job, fed *fed) *offline {
	o := &offline{}
	o.surveyGateway = surveyGateway{frontendGateway: frontendGateway{s: s, j: j, attrs: j.attrs(fed), quiet: true, alone: true}}
	o.states = map[string]llb.State{}
	for _, in := range j.req.Inputs {
		o.states[in.Name] = llb.Scratch()
	}
	for name := range fed.inputs { // each for itself
		o.states[name] = llb.Scratch()
	}
	if j.syntax != "" {
		o.attrs["cmdline"] = j.syntax // so that the Dockerfile is read all the same
	}
	o.opts = gateway.BuildOpts{
		Opts:      o.attrs,
		SessionID: s.sess.ID(),
		Caps:      gatewaypb.Caps.CapSet(gatewaypb.Caps.All()),
		LLBCaps:   pb.Caps.CapSet(pb.Caps.All()),
		Workers:   []gateway.WorkerInfo{{Platforms: []ocispec.Platform{s.ownPlatform()}}},
	}
	return o
}

// ownPlatform is that of the daemon, as far as it is known without asking.
func (s *Solver) ownPlatform() ocispec.Platform {
	own := platforms.DefaultSpec()
	if p, err := platforms.Parse(s.opt.Lower.Platform); err == nil && s.opt.Lower.Platform != "" {
		own = p
	}
	return platforms.Normalize(own)
}

// BuildOpts implements gateway.Client.
func (o *offline) BuildOpts() gateway.BuildOpts { return o.opts }

// Solve implements gateway.Client.
func (o *offline) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	if o.readOnly(req.Definition) != nil {
		_ = eachLocal(req.Definition, func(src localSource) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.reads = append(o.reads, src)
			return nil
		})
	}
	return o.surveyGateway.Solve(ctx, req)
}

// ResolveImageConfig implements gateway.Client.
func (o *offline) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if opt.OCILayoutOpt == nil {
		base := baseRef{ref: ref}
		if i := opt.ImageOpt; i != nil && i.Platform != nil {
			base.platform = platforms.FormatAll(*i.Platform)
		}
		o.mu.Lock()
		o.images = append(o.images, base)
		o.mu.Unlock()
	}
	return o.surveyGateway.ResolveImageConfig(ctx, ref, opt)
}

// undefinedVariable is the rule of BuildKit's checks for variables that
// nothing sets.
const undefinedVariable = "UndefinedVar"

// found implements findings.
func (o *offline) found(rule string, line int) {
	if rule == undefinedVariable {
		o.mu.Lock()
		o.undefined = append(o.undefined, line)
		o.mu.Unlock()
	}
}

// NewContainer implements gateway.Client.
func (o *offline) NewContainer(context.Context, gateway.NewContainerRequest) (gateway.Container, error) {
	return nil, errSurvey
}
