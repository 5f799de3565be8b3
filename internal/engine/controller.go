//go:build linux

package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/cache/remotecache/azblob"
	"github.com/moby/buildkit/cache/remotecache/gha"
	"github.com/moby/buildkit/cache/remotecache/inline"
	"github.com/moby/buildkit/cache/remotecache/local"
	"github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/cache/remotecache/s3"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/resolver"
	"github.com/moby/buildkit/version"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	bolt "go.etcd.io/bbolt"
)

// newController opens the state below o.root and puts BuildKit together over
// it, with the worker that does the work. Stopping is closed when no new work
// should begin.
func newController(ctx context.Context, o Options, runtime string, stopping <-chan struct{}) (*control.Controller, *base.Worker, error) {
	if v := buildKitVersion(); v != "" {
		version.Version = v // else a client is told "v0.0.0+unknown"
	}
	sessions, err := session.NewManager()
	if err != nil {
		return nil, nil, err
	}
	hosts := resolver.NewRegistryConfig(nil)
	w, err := newWorker(ctx, o, runtime, hosts)
	if err != nil {
		return nil, nil, fmt.Errorf("worker: %w", err)
	}
	workers := &worker.Controller{}
	if err := workers.Add(w); err != nil {
		return nil, nil, err
	}
	gw, err := gateway.NewGatewayFrontend(workers.Infos(), nil)
	if err != nil {
		return nil, nil, err
	}
	cache, err := bboltcachestorage.NewStore(filepath.Join(o.root(), "cache.db"))
	if err != nil {
		return nil, nil, fmt.Errorf("cache.db: %w", err)
	}
	history, err := boltutil.SafeOpen(filepath.Join(o.root(), "history.db"), 0o600, &bolt.Options{
		FreelistType:   bolt.FreelistMapType,
		NoFreelistSync: true,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("history.db: %w", err)
	}
	exporters, importers := cacheKinds(sessions, w, hosts)
	c, err := control.NewController(control.Opt{
		SessionManager:   sessions,
		WorkerController: workers,
		Frontends: map[string]frontend.Frontend{
			"dockerfile.v0": forwarder.NewGatewayForwarder(workers.Infos(), dockerfile.Build),
			"gateway.v0":    gw,
		},
		ResolveCacheExporterFuncs: exporters,
		ResolveCacheImporterFuncs: importers,
		CacheManager:              solver.NewCacheManager(ctx, "local", cache, worker.NewCacheResultStorage(workers)),
		Entitlements:              o.Entitlements,
		HistoryDB:                 history,
		HistoryConfig:             recordsOf(o),
		CacheStore:                cache,
		LeaseManager:              w.LeaseManager(),
		ContentStore:              w.ContentStore(),
		GarbageCollect:            w.GarbageCollect,
		GracefulStop:              stopping,
	})
	return c, w, err
}

// recordsOf says how many records of builds are kept. None unless they are
// asked for: a record costs more than many a build.
func recordsOf(o Options) *config.HistoryConfig {
	most := int64(o.Records)
	return &config.HistoryConfig{MaxEntries: &most, MaxAge: config.Duration{Duration: 48 * time.Hour}}
}

// cacheKinds are the places that build cache can be written to and read from.
func cacheKinds(sessions *session.Manager, w *base.Worker, hosts docker.RegistryHosts) (map[string]remotecache.ResolveCacheExporterFunc, map[string]remotecache.ResolveCacheImporterFunc) {
	exporters := map[string]remotecache.ResolveCacheExporterFunc{
		"registry": registry.ResolveCacheExporterFunc(sessions, hosts),
		"local":    local.ResolveCacheExporterFunc(sessions),
		"inline":   inline.ResolveCacheExporterFunc(),
		"gha":      gha.ResolveCacheExporterFunc(nil, nil),
		"s3":       s3.ResolveCacheExporterFunc(),
		"azblob":   azblob.ResolveCacheExporterFunc(),
	}
	importers := map[string]remotecache.ResolveCacheImporterFunc{ // inline is read as registry
		"registry": boundImports(registry.ResolveCacheImporterFunc(sessions, w.ContentStore(), hosts), importLimit),
		"local":    local.ResolveCacheImporterFunc(sessions),
		"gha":      gha.ResolveCacheImporterFunc(nil, nil),
		"s3":       s3.ResolveCacheImporterFunc(),
		"azblob":   azblob.ResolveCacheImporterFunc(),
	}
	return exporters, importers
}

// makeRoot makes the directory that BuildKit works in, with room for its
// temporary files.
func makeRoot(o Options) error {
	return tellDisk(o.StateDir, os.MkdirAll(o.tmp(), 0o700))
}

func (o Options) tmp() string { return filepath.Join(o.root(), "tmp") }
