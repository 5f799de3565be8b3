//go:build linux

package engine

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/worker"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A slowImporter answers after a while, or when its context ends.
type slowImporter struct{ first, then time.Duration }

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slowImporter) resolve(ctx context.Context, _ session.Group, _ map[string]string) (remotecache.Importer, ocispec.Descriptor, error) {
	return s, ocispec.Descriptor{Size: 7}, wait(ctx, s.first)
}

func (s slowImporter) Resolve(ctx context.Context, _ ocispec.Descriptor, _ string, _ worker.Worker) (solver.CacheManager, error) {
	return nil, wait(ctx, s.then)
}

func TestImportsAreBound(t *testing.T) {
	for _, tt := range []struct {
		name        string
		first, then time.Duration
		fails       bool
		took        time.Duration
	}{
		{"soon", time.Second, time.Second, false, 2 * time.Second},
		{"slow at each question, but not too slow", 14 * time.Second, 14 * time.Second, false, 28 * time.Second},
		{"never", time.Hour, 0, true, importLimit},
		{"never after the first answer", 0, time.Hour, true, importLimit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				im, desc, err := boundImports(slowImporter{tt.first, tt.then}.resolve, importLimit)(t.Context(), nil, nil)
				if err == nil {
					if desc.Size != 7 {
						t.Errorf("the descriptor is %+v", desc)
					}
					_, err = im.Resolve(t.Context(), desc, "id", nil)
				}
				if (err != nil) != tt.fails {
					t.Errorf("error %v, want one: %t", err, tt.fails)
				}
				if err != nil && !strings.Contains(err.Error(), "has not answered for 15s") {
					t.Error(err)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
			})
		})
	}
}
