package buildkit

import (
	"context"
	"time"

	"github.com/moby/buildkit/client"
	"google.golang.org/grpc"
)

// SetDrain sets how long Close waits for the last words of a daemon that is well.
func (s *Solver) SetDrain(d time.Duration) { s.drain = d }

// Intercept has all later requests to the daemon, which is at addr, go through i.
func (c *Conn) Intercept(ctx context.Context, addr string, i grpc.UnaryClientInterceptor) error {
	through, err := client.New(ctx, addr, client.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(i)))
	if err != nil {
		return err
	}
	before := c.client
	c.client = through
	return before.Close()
}
