//go:build linux

package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/worker"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// importLimit is how long a registry may take to answer for a cache. BuildKit
// asks it while it holds the lock of its scheduler, with a context that no
// build's end ends: a registry that hangs would hold up every build of the
// engine, and for good. After the limit the build goes on without the cache.
const importLimit = 15 * time.Second

// boundImports limits the time of a cache importer's every question.
func boundImports(resolve remotecache.ResolveCacheImporterFunc, limit time.Duration) remotecache.ResolveCacheImporterFunc {
	return func(ctx context.Context, g session.Group, attrs map[string]string) (remotecache.Importer, ocispec.Descriptor, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, limit, noAnswer(limit))
		defer cancel()
		im, desc, err := resolve(ctx, g, attrs)
		if err != nil {
			return nil, desc, causeOf(ctx, err)
		}
		return boundImporter{im, limit}, desc, nil
	}
}

// A boundImporter is an importer with a limit of time.
type boundImporter struct {
	remotecache.Importer
	limit time.Duration
}

// Resolve implements remotecache.Importer.
func (b boundImporter) Resolve(ctx context.Context, desc ocispec.Descriptor, id string, w worker.Worker) (solver.CacheManager, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.limit, noAnswer(b.limit))
	defer cancel()
	cm, err := b.Importer.Resolve(ctx, desc, id, w)
	return cm, causeOf(ctx, err)
}

func noAnswer(limit time.Duration) error {
	return fmt.Errorf("the registry has not answered for %v; the build goes on without this cache", limit)
}

// causeOf puts why ctx ended in place of an error that says only that it did.
func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
