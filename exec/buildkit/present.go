package buildkit

import (
	"context"
	"errors"
	"io/fs"

	"github.com/tonistiigi/fsutil"
)

// A presentFS passes over files that are removed while their directory is
// read, and over nothing else. fsutil takes one for a directory that is gone:
// it would go on without all that follows the file in its directory.
type presentFS struct{ fsutil.FS }

// Walk implements fsutil.FS.
func (p presentFS) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	return p.FS.Walk(ctx, target, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e == nil || e.IsDir() {
			return fn(path, e, err)
		}
		file := &presentFile{DirEntry: e}
		err = fn(path, file, nil)
		if file.gone && (err == fs.SkipDir || errors.Is(err, fs.ErrNotExist)) {
			return nil
		}
		return err
	})
}

// A presentFile notes whether it is gone when somebody looks.
type presentFile struct {
	fs.DirEntry
	gone bool
}

// Info implements fs.DirEntry.
func (f *presentFile) Info() (fs.FileInfo, error) {
	fi, err := f.DirEntry.Info()
	f.gone = errors.Is(err, fs.ErrNotExist)
	return fi, err
}
