package buildkit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	"github.com/kilnbuild/kiln/exec"
)

// explain makes of what went wrong with a job an error for its user: why the
// run was stopped, that the daemon is gone, the place in the Dockerfile, or
// else the daemon's words.
func (s *Solver) explain(ctx context.Context, j *job, err error) error {
	if lost := s.checkLost(err); lost != nil {
		return lost
	}
	var known *exec.NetworkError
	if errors.As(err, &known) && ctx.Err() == nil {
		return known
	}
	src := s.sourceError(ctx, j, err)
	switch {
	case src != nil && src.ExitCode > 0:
		return src // a failure of its own, whatever happened meanwhile
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case src != nil:
		return src
	}
	return s.networkError(err, s.daemonError(err))
}

// networkError returns told, which is what the user is told of err, as an
// exec.NetworkError if it is one.
func (s *Solver) networkError(err error, told *daemonError) error {
	n := network(err, told.text)
	if n == nil {
		return told
	}
	s.anew.note(err)
	n.Err = told
	return n
}

// checkLost returns the error of a lost daemon, if that is what err comes from.
func (s *Solver) checkLost(err error) error {
	if cause := context.Cause(s.run); errors.Is(cause, ErrDaemonLost) {
		return cause
	}
	if grpcerrors.Code(err) != codes.Unavailable || s.run.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.run, cmp.Or(s.opt.Health.Limit, healthLimit))
	defer cancel()
	if s.conn.Alive(ctx) == nil {
		return nil // it was a registry, or another that the daemon talks to
	}
	s.lost(fmt.Errorf("%w: %w", errBroken, err))
	return context.Cause(s.run)
}

// A daemonError is an error of the daemon, with what must not be shown taken
// out of its text.
type daemonError struct {
	text string
	err  error
}

func (e *daemonError) Error() string { return e.text }
func (e *daemonError) Unwrap() error { return e.err }

func (s *Solver) daemonError(err error) *daemonError {
	text := strings.TrimPrefix(err.Error(), "failed to solve: ") // said by the heading of every failure
	if strings.Contains(text, noGit) {
		text += "\n" + noGitRemedy
	}
	if strings.Contains(text, "is not allowed by build daemon configuration") {
		text += "\n" + s.entitledBy()
	}
	return &daemonError{text: s.redact.text(text), err: err}
}

// entitledBy says how the daemon is made to grant the privileges that its
// configuration withholds.
func (s *Solver) entitledBy() string {
	switch {
	case s.opt.Lower.Docker != nil:
		return `The engine grants it if its daemon.json says "builder": {"entitlements": {"network-host": true, "security-insecure": true}}`
	case s.opt.Store != nil:
		return "kiln's engine grants what KILN_ENGINE_ALLOW holds when it starts, as in KILN_ENGINE_ALLOW=network.host,security.insecure; `kiln engine stop` ends the one that runs"
	}
	return "The daemon grants it if it is started with --allow-insecure-entitlement, as in --allow-insecure-entitlement=security.insecure"
}

// sourceError returns the place in the Dockerfile that err points to, or nil.
func (s *Solver) sourceError(ctx context.Context, j *job, err error) *exec.SourceError {
	sources := errdefs.Sources(err)
	var src *errdefs.Source
	for _, c := range sources {
		if c.Info != nil && len(c.Ranges) > 0 {
			src = c
			break
		}
	}
	if src == nil {
		return nil
	}
	out := &exec.SourceError{File: s.fileOf(j, src), Source: s.redact.bytes(src.Info.Data), ExitCode: -1, Err: s.networkError(err, s.daemonError(innermost(err)))}
	for _, r := range src.Ranges {
		start, end := int(r.Start.Line), int(max(r.End.Line, r.Start.Line))
		if out.StartLine == 0 || start < out.StartLine {
			out.StartLine = start
		}
		out.EndLine = max(out.EndLine, end)
	}
	var exit *gatewaypb.ExitError
	if errors.As(err, &exit) && exit.ExitCode != gatewaypb.UnknownExitStatus {
		out.ExitCode = int(exit.ExitCode)
	}
	var vertex *errdefs.VertexError
	if errors.As(err, &vertex) {
		v, log := s.router.settle(ctx, digest.Digest(vertex.Vertex.Digest))
		out.Log = log
		out.Stage, out.Command = stageAndCommand(v.Name)
	}
	if out.Stage == "" { // a step does not say so where there is only one
		out.Stage = stageAt(src.Info.Data, out.StartLine)
	}
	return out
}

// fileOf returns the path of the Dockerfile that an error comes from: the
// job's own, or that of a target it reads.
func (s *Solver) fileOf(j *job, src *errdefs.Source) string {
	if own := j.text(); own == nil || string(own) == string(src.Info.Data) {
		return j.req.Dockerfile
	}
	for _, other := range s.order {
		if text := other.text(); text != nil && string(text) == string(src.Info.Data) {
			return other.req.Dockerfile
		}
	}
	return src.Info.Filename
}

// innermost unwraps what says where and in which step an error was, to what
// it was.
func innermost(err error) error {
	for {
		var (
			source *errdefs.SourceError
			vertex *errdefs.VertexError
		)
		switch {
		case errors.As(err, &source):
			err = source.Unwrap()
		case errors.As(err, &vertex):
			err = vertex.Unwrap()
		default:
			return err
		}
	}
}

// stageAndCommand reads the name of a step: "[linux/amd64 build 2/5] RUN make".
// The command is "" unless the step ran one.
func stageAndCommand(name string) (stage, command string) {
	head, rest, ok := strings.Cut(strings.TrimPrefix(name, "["), "] ")
	if !ok || !strings.HasPrefix(name, "[") {
		return "", ""
	}
	for _, f := range strings.Fields(head) {
		if !strings.Contains(f, "/") && f != "internal" {
			stage = f
		}
	}
	if cmd, ok := strings.CutPrefix(rest, "RUN "); ok {
		command = cmd
	}
	return stage, command
}

// stageAt returns the name of the stage that a line of a Dockerfile is in.
func stageAt(dockerfile []byte, line int) string {
	file, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return ""
	}
	stages, _, err := instructions.Parse(file.AST, nil)
	if err != nil {
		return ""
	}
	name := ""
	for _, s := range stages {
		if len(s.Location) > 0 && s.Location[0].Start.Line <= line {
			name = s.Name
		}
	}
	return name
}

// lost ends the run because the daemon is gone.
func (s *Solver) lost(err error) { s.cancel(s.conn.lost(err)) }
