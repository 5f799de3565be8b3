package buildkit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
)

// An openBuild is a build whose function waits, so that all that was solved
// in it stays with the daemon.
type openBuild struct {
	gw     gateway.Client
	let    chan struct{} // closed: the build may end
	ended  chan struct{}
	cancel context.CancelCauseFunc
	err    error // of the build; set when ended is closed
}

// openBuild opens a build that ordinary targets of the run share.
func (s *Solver) openBuild(status chan *client.SolveStatus) (*openBuild, error) {
	b, err := s.open(client.SolveOpt{SharedSession: s.sess.Session, SessionPreInitialized: true, Internal: true}, status)
	if err == nil {
		s.mu.Lock()
		s.opened = append(s.opened, b)
		s.mu.Unlock()
	}
	return b, err
}

// open begins a build and returns when it can be used.
func (s *Solver) open(opt client.SolveOpt, status chan *client.SolveStatus) (*openBuild, error) {
	if opt.SourcePolicy == nil {
		opt.SourcePolicy = s.policy
	}
	ctx, cancel := context.WithCancelCause(s.run)
	b := &openBuild{let: make(chan struct{}), ended: make(chan struct{}), cancel: cancel}
	ready := make(chan gateway.Client, 1)
	s.wait.Add(1)
	go func() {
		defer s.wait.Done()
		defer close(b.ended)
		defer cancel(nil)
		_, b.err = s.conn.client.Build(ctx, opt, "kiln", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
			ready <- gw
			select {
			case <-b.let:
				return nil, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}, status)
		select {
		case <-b.let:
		default:
			if s.run.Err() == nil && b.err != nil {
				s.lost(fmt.Errorf("%w: %w", errBroken, b.err))
			}
		}
	}()
	select {
	case b.gw = <-ready:
		return b, nil
	case <-b.ended:
		if b.err == nil {
			b.err = errors.New("the daemon ended the build at once")
		}
		return nil, b.err
	}
}

// release lets the build end, and cuts it off after a time.
func (b *openBuild) release(after time.Duration) {
	close(b.let)
	select {
	case <-b.ended:
	case <-time.After(after):
		b.cancel(errClosed)
	}
}
