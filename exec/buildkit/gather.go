package buildkit

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/moby/buildkit/session"
)

// Gathering. A session's protocol is written frame by frame, and each write
// becomes a message to the daemon: one for each file that is told of. What is
// written while a message is on its way goes together into the next.

const (
	mostGathered = 256 << 10             // bytes; who writes more waits
	lastWords    = 50 * time.Millisecond // for what was written before Close; the daemon can do without
)

// gathering is dial with gathered connections.
func gathering(dial session.Dialer) session.Dialer {
	return func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
		c, err := dial(ctx, proto, meta)
		if err != nil {
			return nil, err
		}
		g := &gathered{Conn: c, patience: lastWords, ended: make(chan struct{})}
		g.changed.L = &g.mu
		go g.send()
		return g, nil
	}
}

// A gathered connection sends what is written to it from a goroutine of its
// own, which ends with Close, or when it cannot send.
type gathered struct {
	net.Conn
	patience time.Duration // of Close
	ended    chan struct{} // nothing more is sent
	changed  sync.Cond     // of the fields below

	// mu guards the fields below.
	mu     sync.Mutex
	buf    []byte
	err    error // why nothing more can be written
	closed bool
}

// Write implements net.Conn. An error may be that of an earlier write.
func (g *gathered) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.buf) > mostGathered && g.err == nil {
		g.changed.Wait()
	}
	if g.err != nil {
		return 0, g.err
	}
	if g.closed {
		return 0, net.ErrClosed
	}
	g.buf = append(g.buf, b...)
	g.changed.Broadcast()
	return len(b), nil
}

func (g *gathered) send() {
	defer close(g.ended)
	var sending []byte
	for {
		g.mu.Lock()
		for len(g.buf) == 0 && !g.closed {
			g.changed.Wait()
		}
		sending, g.buf = g.buf, sending[:0]
		g.changed.Broadcast()
		g.mu.Unlock()
		if len(sending) == 0 {
			return // closed, and all is sent
		}
		if _, err := g.Conn.Write(sending); err != nil {
			g.mu.Lock()
			g.err = err
			g.changed.Broadcast()
			g.mu.Unlock()
			return
		}
	}
}

// Close implements net.Conn. It waits a moment for what was written.
func (g *gathered) Close() error {
	g.mu.Lock()
	g.closed = true
	g.changed.Broadcast()
	g.mu.Unlock()
	select {
	case <-g.ended:
	case <-time.After(g.patience):
	}
	return g.Conn.Close()
}
