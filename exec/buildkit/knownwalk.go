package buildkit

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// Walks over what the daemon may know: a lean one, to see whether anything has
// changed, and one that repeats it, for the daemon, where something has.

// listed returns the files in the order of a look at them that was taken, so
// that there is no second one.
func (w *knownWalk) listed(dir fsutil.FS) fsutil.FS {
	if w == nil {
		return dir
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.files == nil {
		return dir
	}
	return listedFS{dir, w.dir.root, w.files}
}

// A listedFS is a directory of which the files are known.
type listedFS struct {
	fsutil.FS
	root  string
	files []*fstypes.Stat
}

// whole describes a file as it is sent, with all its attributes.
func (l listedFS) whole(path string) (*fstypes.Stat, error) {
	st, err := fsutil.Stat(filepath.Join(l.root, filepath.FromSlash(path)))
	if err == nil {
		st.Path, st.Uid, st.Gid = path, 0, 0
	}
	return st, err
}

// A leanFS is a directory of which only that is looked at by which a change
// shows.
type leanFS struct {
	root string
	seen map[string]fs.FileInfo // what was asked for
}

// Walk implements fsutil.FS.
func (l *leanFS) Walk(_ context.Context, target string, fn fs.WalkDirFunc) error {
	return filepath.WalkDir(filepath.Join(l.root, target), func(path string, d fs.DirEntry, err error) error {
		if path == l.root {
			return err
		}
		rel := strings.TrimPrefix(path[len(l.root):], string(filepath.Separator))
		return fn(rel, leanEntry{d, l, rel}, err)
	})
}

// Open implements fsutil.FS: nothing is read.
func (l *leanFS) Open(path string) (io.ReadCloser, error) {
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
}

type leanEntry struct {
	fs.DirEntry
	in   *leanFS
	path string
}

// Info implements fs.DirEntry.
func (e leanEntry) Info() (fs.FileInfo, error) {
	fi, err := e.DirEntry.Info()
	if err != nil {
		return nil, err
	}
	st := &fstypes.Stat{Path: e.path, Mode: uint32(fi.Mode()), ModTime: fi.ModTime().UnixNano()}
	if !fi.IsDir() {
		st.Size = fi.Size()
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		if st.Linkname, err = os.Readlink(filepath.Join(e.in.root, e.path)); err != nil {
			return nil, err
		}
	}
	e.in.seen[e.path] = fi
	return &fsutil.StatInfo{Stat: st}, nil
}

// Walk implements fsutil.FS.
func (l listedFS) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	if target != "/" {
		return l.FS.Walk(ctx, target, fn)
	}
	skipped := ""
	for _, st := range l.files {
		if skipped != "" && strings.HasPrefix(st.Path, skipped) {
			continue
		}
		st, err := l.whole(st.Path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // as if it had gone before
		}
		if err != nil {
			return err
		}
		e := &fsutil.DirEntryInfo{Stat: st}
		err = fn(st.Path, e, ctx.Err())
		switch {
		case err == nil:
		case err == fs.SkipAll:
			return nil
		case err != fs.SkipDir:
			return err
		case e.IsDir():
			skipped = st.Path + "/"
		default:
			skipped = filepath.Dir(st.Path) + "/"
		}
	}
	return nil
}
