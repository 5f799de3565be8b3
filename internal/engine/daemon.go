//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/util/grpcerrors"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // BuildKit's messages marshal themselves
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/label"
	"github.com/moby/sys/userns"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Bounds of the end of an engine.
const (
	drainWait  = 30 * time.Second // for builds that still run when the system asks it to end
	cancelWait = 10 * time.Second // for builds that were told to end
	settleWait = 3 * time.Second  // for their RUN processes
)

const collectEvery = time.Second // at most

// A daemon is BuildKit's controller behind a gRPC server, with an account of
// who uses it.
type daemon struct {
	controller *control.Controller
	worker     *base.Worker
	server     *grpc.Server
	health     *health.Server
	uses       *uses
	about      Status // what does not change
	options    Options

	stopping chan struct{} // closed when no new work should begin
	ending   chan struct{} // closed when running work should end
	once     struct{ stopping, ending sync.Once }
}

// newDaemon opens the state directory, whose lock the caller holds, and clears
// away what an earlier engine left there.
func newDaemon(ctx context.Context, o Options) (*daemon, error) {
	ociRuntime, err := findRuntime(ctx, o.Runtime)
	if err != nil {
		return nil, err
	}
	if err := makeRoot(o); err != nil {
		return nil, err
	}
	if err := checkRoom(o); err != nil {
		return nil, err
	}
	err = sweep(ctx, o.root(), ociRuntime)
	if err == nil {
		err = mendBegun(o.root())
	}
	if err != nil {
		return nil, fmt.Errorf("clear away what an earlier engine left in %s: %w", o.root(), err)
	}
	if err := makeRoot(o); err != nil {
		return nil, err
	}
	d := &daemon{options: o, uses: newUses(), health: health.NewServer(), stopping: make(chan struct{}), ending: make(chan struct{})}
	// The controller outlives ctx: it ends in stop, not when the caller is
	// told to.
	d.controller, d.worker, err = newController(context.WithoutCancel(ctx), o, ociRuntime, d.stopping)
	if err != nil {
		return nil, tellDisk(o.StateDir, fmt.Errorf("open the engine's state in %s: %w", o.root(), err))
	}
	limit, _, err := cacheSize(o)
	if err != nil {
		return nil, err
	}
	d.about = Status{
		Running: true, Healthy: true, PID: os.Getpid(), Version: o.Version, Build: build(), BuildKit: buildKitVersion(),
		StateDir: o.StateDir, Runtime: ociRuntime, Snapshots: d.worker.Labels()[label.Snapshotter],
		Rootless: userns.RunningInUserNS(), Started: time.Now(), Idle: o.Idle, CacheMax: limit,
	}
	d.server = grpc.NewServer(
		grpc.StatsHandler(d.uses),
		grpc.ChainUnaryInterceptor(grpcerrors.UnaryServerInterceptor),
		grpc.ChainStreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
		grpc.WaitForHandlers(true),
	)
	d.controller.Register(d.server)
	grpc_health_v1.RegisterHealthServer(d.server, d.health)
	registerService(d.server, d)
	return d, nil
}

// serve answers on l until the daemon closes.
func (d *daemon) serve(l net.Listener) error {
	collected := make(chan struct{})
	ended := make(chan struct{})
	go func() { defer close(collected); d.collect(ended) }()
	err := d.server.Serve(l)
	close(ended)
	<-collected
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// collect gives back the room of what failed builds left half made. BuildKit
// would do so a minute later: on a disk that such a build has filled, every
// build until then would fail too.
func (d *daemon) collect(ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case <-d.uses.failed:
		}
		ctx, cancel := context.WithTimeout(context.Background(), cancelWait)
		if err := d.worker.GarbageCollect(ctx); err != nil {
			logrus.Warnf("collect what a failed build left: %v", err)
		}
		cancel()
		select {
		case <-ended:
			return
		case <-time.After(collectEvery):
		}
	}
}

func (d *daemon) status() Status {
	s := d.about
	s.Uses = d.uses.count()
	return s
}

// stop begins the end. Force also ends the builds that run.
func (d *daemon) stop(force bool) {
	d.uses.refuse()
	d.once.stopping.Do(func() { close(d.stopping) })
	if force {
		d.once.ending.Do(func() { close(d.ending) })
	}
}

// attach holds the daemon in use until the caller goes away or work must end.
func (d *daemon) attach(ctx context.Context, ready func() error) error {
	if !d.uses.begin() {
		return status.Error(codes.Unavailable, "the engine is about to stop")
	}
	defer d.uses.end()
	if err := ready(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-d.ending:
	}
	return nil
}

// close ends the daemon: it lets running builds finish for a while, then ends
// them, and leaves no RUN process behind.
func (d *daemon) close() error {
	d.stop(false)
	d.health.Shutdown()
	select {
	case <-d.uses.none():
	case <-d.ending:
	case <-time.After(drainWait):
	}
	d.stop(true)
	stopped := make(chan struct{})
	go func() { d.server.Stop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(cancelWait):
	}
	d.settle()
	ctx, cancel := context.WithTimeout(context.Background(), cancelWait)
	defer cancel()
	return errors.Join(sweep(ctx, d.options.root(), d.about.Runtime), d.controller.Close())
}

// settle waits until the executor has let go of its last container.
func (d *daemon) settle() {
	for deadline := time.Now().Add(settleWait); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if len(bundles(d.options.root())) == 0 {
			return
		}
	}
}

// bundles are the directories of running containers, as BuildKit's executor
// lays them out: runc-SNAPSHOTTER/executor/ID.
func bundles(root string) []string {
	configs := below(root, "runc-*/executor/*/config.json")
	for i, c := range configs {
		configs[i] = filepath.Dir(c)
	}
	return configs
}

// below lists what of dir's content a pattern matches, whatever is in the name
// of dir.
func below(dir, pattern string) []string {
	paths, _ := fs.Glob(os.DirFS(dir), pattern) // the only error is a bad pattern
	for i, p := range paths {
		paths[i] = filepath.Join(dir, p)
	}
	return paths
}
