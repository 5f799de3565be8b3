package buildkit

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
)

// A resolving client answers as its function does.
type resolving struct {
	gateway.Client
	answer func() (string, error)
}

func (c *resolving) ResolveImageConfig(context.Context, string, sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	ref, err := c.answer()
	return ref, "", nil, err
}

// A waiting context tells when somebody waits for its end.
type waiting struct {
	context.Context
	told func()
}

func (c waiting) Done() <-chan struct{} {
	c.told()
	return c.Context.Done()
}

// A target that is stopped while it asks what an image is takes nobody with
// it who waits for the answer.
func TestResolveOutlivesAsker(t *testing.T) {
	s := &Solver{router: newRouter(nil)}
	ask := func(ctx context.Context, name string, answer func() (string, error)) (string, error) {
		g := &frontendGateway{Client: &resolving{answer: answer}, s: s, j: &job{name: name}}
		ref, _, _, err := g.ResolveImageConfig(ctx, "base", sourceresolver.Opt{})
		return ref, err
	}
	failed := errors.New("the build has ended")
	first, stop := context.WithCancel(t.Context())
	asked, waits := make(chan struct{}), make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		if _, err := ask(first, "first", func() (string, error) {
			close(asked)
			<-waits
			stop()
			return "", failed
		}); err == nil {
			t.Error("the target that was stopped has an answer")
		}
	})
	both.Go(func() {
		<-asked
		ctx := waiting{t.Context(), sync.OnceFunc(func() { close(waits) })}
		if ref, err := ask(ctx, "second", func() (string, error) { return "second's", nil }); ref != "second's" || err != nil {
			t.Errorf("the other has %q, %v", ref, err)
		}
	})
	both.Wait()
	if _, err := ask(t.Context(), "third", func() (string, error) { return "", failed }); err != nil {
		t.Errorf("the answer was not kept: %v", err)
	}
}

// What is wrong with the image itself is told to all that wait.
func TestResolveTellsErrors(t *testing.T) {
	s := &Solver{router: newRouter(nil)}
	failed := errors.New("no such image")
	g := &frontendGateway{Client: &resolving{answer: func() (string, error) { return "", failed }}, s: s, j: &job{name: "one"}}
	if _, _, _, err := g.ResolveImageConfig(t.Context(), "base", sourceresolver.Opt{}); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}
