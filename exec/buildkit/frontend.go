package buildkit

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/subrequests/convertllb"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// runFrontend is the Dockerfile frontend, made of BuildKit's own parts: it
// reads the Dockerfile through gw and returns a reference for each platform,
// or the answer to a question (call). What it does not have is what makes a
// job go to the daemon's: other frontends, and attestations.
func runFrontend(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
	c, err := dockerui.NewClient(gw)
	if err != nil {
		return nil, err
	}
	src, err := c.ReadEntrypoint(ctx, "Dockerfile")
	if err != nil {
		return nil, err
	}
	if ref, _, _, ok := parser.DetectSyntax(src.Data); ok && c.BuildOpts().Opts["cmdline"] == "" {
		return nil, fmt.Errorf("the Dockerfile asks for the frontend %q", ref)
	}
	f := &frontend{c: c, gw: gw, src: src}
	source := *src.SourceMap
	source.State = nil // see withoutOrigins
	f.opt = dockerfile2llb.ConvertOpt{Config: c.Config, Client: c, SourceMap: &source, MetaResolver: gw, Warn: f.warner(ctx)}
	if res, ok, err := c.HandleSubrequest(ctx, f.questions()); ok || err != nil {
		return res, f.locate(err)
	}
	built, err := c.Build(ctx, f.platform)
	if err != nil {
		return nil, f.locate(err)
	}
	return built.Finalize()
}

// A frontend is one run of the Dockerfile frontend.
type frontend struct {
	c   *dockerui.Client
	gw  gateway.Client
	src *dockerui.Source
	opt dockerfile2llb.ConvertOpt
}

// platform converts the Dockerfile for one platform, nil for the daemon's.
func (f *frontend) platform(ctx context.Context, p *ocispec.Platform, i int) (*dockerui.BuildResult, error) {
	opt := f.opt
	opt.BuildArgs = maps.Clone(opt.BuildArgs) // it adds to them
	opt.TargetPlatform = p
	if i > 0 {
		opt.Warn = nil // every platform has the same to say
	}
	out, err := dockerfile2llb.Dockerfile2LLB(ctx, f.src.Data, opt)
	if err != nil {
		return nil, err
	}
	def, err := out.State.Marshal(ctx)
	if err != nil {
		return nil, fmt.Errorf("write LLB: %w", err)
	}
	res, err := f.gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB()})
	if err != nil {
		return nil, err
	}
	ref, err := res.SingleRef()
	if err != nil {
		return nil, err
	}
	return &dockerui.BuildResult{Reference: ref, Image: out.Image, BaseImage: out.BaseImage, Epoch: out.Epoch}, nil
}

// questions answers what can be asked in place of a build.
func (f *frontend) questions() dockerui.RequestHandler {
	return dockerui.RequestHandler{
		Outline: func(ctx context.Context) (*outline.Outline, error) {
			return dockerfile2llb.Dockerfile2Outline(ctx, f.src.Data, f.opt)
		},
		ListTargets: func(ctx context.Context) (*targets.List, error) {
			return dockerfile2llb.ListTargets(ctx, f.src.Data)
		},
		Lint: func(ctx context.Context) (*lint.LintResults, error) {
			return dockerfile2llb.DockerfileLint(ctx, f.src.Data, f.opt)
		},
		ConvertLLB: func(ctx context.Context) (*convertllb.Result, error) {
			return dockerfile2llb.DockerfileConvertLLB(ctx, f.src.Data, f.opt)
		},
	}
}

// findings is what a gateway.Client has that wants to know of the findings of
// BuildKit's checks by name and line.
type findings interface{ found(rule string, line int) }

// warner passes the warnings of BuildKit's checks on.
func (f *frontend) warner(ctx context.Context) linter.LintWarnFunc {
	return func(rule, description, url, msg string, at []parser.Range) {
		line := 0
		if len(at) > 0 {
			line = at[0].Start.Line
		}
		if l, ok := f.gw.(findings); ok {
			l.found(rule, line)
		}
		f.src.Warn(ctx, linter.LintFormatShort(rule, msg, line), gateway.WarnOpts{
			Level: 1, URL: url, Detail: [][]byte{[]byte(description)}, Range: ranges(at),
		})
	}
}

// locate adds to an error the places of the Dockerfile that it names, in the
// form in which errors of the daemon have them.
func (f *frontend) locate(err error) error {
	var at *parser.LocationError
	if !errors.As(err, &at) {
		return err
	}
	for _, loc := range at.Locations {
		err = errdefs.WithSource(err, &errdefs.Source{Info: sourceInfo(f.src.SourceMap), Ranges: ranges(loc)})
	}
	return err
}

func sourceInfo(m *llb.SourceMap) *pb.SourceInfo {
	return &pb.SourceInfo{Filename: m.Filename, Data: m.Data, Language: m.Language}
}

func ranges(in []parser.Range) []*pb.Range {
	var out []*pb.Range
	for _, r := range in {
		out = append(out, &pb.Range{
			Start: &pb.Position{Line: int32(r.Start.Line), Character: int32(r.Start.Character)},
			End:   &pb.Position{Line: int32(r.End.Line), Character: int32(r.End.Character)},
		})
	}
	return out
}
