package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/store"
)

// Each build that changes an image leaves the one before it as garbage in the
// store. So the engine, while it runs, collects what is old: a person waits
// for no collection, and a disk is not filled by building alone.
const (
	collectFirst = time.Minute    // after the engine's start
	collectEvery = 24 * time.Hour // from then on
	collectAge   = 24 * time.Hour // what was written or needed since stays
)

// keepStore collects old garbage from time to time, until the function that it
// returns is called, which waits for that.
func keepStore(ctx context.Context, dir string, log io.Writer) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wait := collectFirst; ; wait = collectEvery {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
				collectOld(ctx, dir, log)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// collectOld removes the old garbage of a store, if there is one. That it
// cannot is told to the log and no more.
func collectOld(ctx context.Context, dir string, log io.Writer) {
	if _, err := os.Stat(filepath.Join(dir, ocispec.ImageIndexFile)); err != nil {
		return // nothing was stored yet
	}
	s, err := store.Open(dir)
	var g store.Garbage
	if err == nil {
		g, err = s.GC(ctx, store.GCOptions{MinAge: collectAge})
	}
	switch {
	case err != nil && ctx.Err() == nil:
		fmt.Fprintf(log, "garbage of the image store was not collected: %v\n", err)
	case len(g.Removed) > 0:
		fmt.Fprintf(log, "freed %s of old garbage in the image store\n", humanSize(g.Size()))
	}
}
