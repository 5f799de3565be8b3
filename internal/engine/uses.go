//go:build linux

package engine

import (
	"context"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/stats"
)

// uses counts who uses a daemon: kilns that are attached, and requests to
// BuildKit under way. Asking how it is is no use. It is a stats.Handler of the
// gRPC server.
type uses struct {
	failed chan struct{} // gets a value when a request of BuildKit fails; holds one

	mu sync.Mutex // guards what follows

	n       int
	last    time.Time     // when n became 0, or since when somebody could have come
	used    bool          // somebody came
	refused bool          // nobody may attach any more
	zero    chan struct{} // closed when n is 0 and refused is true
}

func newUses() *uses {
	return &uses{failed: make(chan struct{}, 1), last: time.Now(), zero: make(chan struct{})}
}

// firstUse is how long a daemon waits at least for who started it: on a busy
// machine that may come a while after it was told that the daemon serves.
const firstUse = 20 * time.Second

// open says that from now on somebody could come.
func (u *uses) open() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.used {
		u.last = time.Now()
	}
}

// begin counts an attached kiln, unless the daemon is about to stop.
func (u *uses) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.refused {
		return false
	}
	u.n++
	u.used = true
	return true
}

func (u *uses) end() { u.add(-1) }

func (u *uses) add(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n += n
	u.used = true
	if u.n == 0 {
		u.last = time.Now()
		u.tell()
	}
}

// tell closes zero once; mu is held.
func (u *uses) tell() {
	if !u.refused {
		return
	}
	select {
	case <-u.zero:
	default:
		close(u.zero)
	}
}

func (u *uses) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.n
}

// refuse lets nobody attach from now on.
func (u *uses) refuse() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refused = true
	if u.n == 0 {
		u.tell()
	}
}

// refuseIfIdle refuses if there was no use for so long, and reports whether.
func (u *uses) refuseIfIdle(idle time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.used {
		idle = max(idle, firstUse)
	}
	if u.n > 0 || time.Since(u.last) < idle {
		return false
	}
	u.refused = true
	u.tell()
	return true
}

// none is closed when nobody uses the daemon and nobody will.
func (u *uses) none() <-chan struct{} { return u.zero }

type isUse struct{} // context key: the request counts

// TagRPC marks the requests that count: BuildKit's, not health and our own.
func (u *uses) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	name := strings.TrimPrefix(info.FullMethodName, "/")
	if strings.HasPrefix(name, serviceName+"/") || strings.HasPrefix(name, "grpc.") {
		return ctx
	}
	return context.WithValue(ctx, isUse{}, true)
}

// HandleRPC counts begins and ends.
func (u *uses) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if ctx.Value(isUse{}) == nil {
		return
	}
	switch s := s.(type) {
	case *stats.Begin:
		u.add(1)
	case *stats.End:
		u.add(-1)
		if s.Error == nil {
			return
		}
		select {
		case u.failed <- struct{}{}:
		default:
		}
	}
}

// TagConn is part of stats.Handler.
func (u *uses) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn is part of stats.Handler.
func (u *uses) HandleConn(context.Context, stats.ConnStats) {}
