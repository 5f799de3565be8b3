//go:build linux

package engine

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/cache/metadata"
)

// How BuildKit keeps the context of a build, for the next to send but what has
// changed: source/local/source.go, cache/metadata.go and
// cache/contenthash/checksum.go there.
const (
	sharedKeyIndex  = "local.sharedKey:"        // of the directories that contexts are sent to
	keyEqualMutable = "cache.equalMutable"      // of a ref: the directory that it has the content of
	keyContentHash  = "buildkit.contenthash.v0" // of a directory: the digests of its files
)

// mendSources forgets the digests of files in a context that was being sent
// when an engine ended. They are written when all is sent: until then the
// directory has the new files with the digests of the old ones, and what is
// built next would be taken from the cache as it was before. A context that
// was sent whole has a ref, which goes when the next sending begins.
func mendSources(ctx context.Context, store *metadata.Store) error {
	contexts, err := store.Search(ctx, sharedKeyIndex, true)
	if err != nil || len(contexts) == 0 {
		return err
	}
	all, err := store.All()
	if err != nil {
		return err
	}
	whole := map[string]bool{}
	for _, item := range all {
		var id string
		if v := item.Get(keyEqualMutable); v != nil {
			if err := v.Unmarshal(&id); err != nil {
				return fmt.Errorf("cache record %s: %w", item.ID(), err)
			}
			whole[id] = true
		}
	}
	for _, item := range contexts {
		if !whole[item.ID()] {
			if err := item.SetExternal(keyContentHash, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
