//go:build linux

package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
)

// mendSnapshots brings the directories below dir, a snapshotter's, in line
// with its database: an engine that is killed between moving a directory and
// the commit that tells of it leaves the two apart. A directory whose snapshot
// was never committed goes, since the snapshot that takes its number next
// could not be made; one that native had moved out of the way of a removal
// that was never committed comes back. Nothing may use dir meanwhile.
func mendSnapshots(ctx context.Context, dir string) error {
	all := filepath.Join(dir, "snapshots")
	entries, err := os.ReadDir(all)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the first start
	} else if err != nil {
		return err
	}
	known, err := snapshotNumbers(ctx, filepath.Join(dir, "metadata.db"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := known[e.Name()]; ok {
			continue
		}
		at := filepath.Join(all, e.Name())
		if number, ok := strings.CutPrefix(e.Name(), "rm-"); ok && known[number] != "" {
			if err := os.Rename(at, filepath.Join(all, number)); err != nil {
				return err
			}
			continue
		}
		if err := os.RemoveAll(at); err != nil {
			return err
		}
	}
	return nil
}

// snapshotNumbers are the keys of a database's snapshots, by their number,
// which names the directory.
func snapshotNumbers(ctx context.Context, database string) (known map[string]string, err error) {
	store, err := storage.NewMetaStore(database)
	if err != nil {
		return nil, err
	}
	err = store.WithTransaction(ctx, false, func(ctx context.Context) error {
		known, err = storage.IDMap(ctx)
		if errdefs.IsNotFound(err) {
			return nil // nothing was ever committed
		}
		return err
	})
	return known, errors.Join(err, store.Close())
}
