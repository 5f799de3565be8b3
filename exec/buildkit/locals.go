package buildkit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/buildkit/util/staticfs"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// locals are the directories of this machine that a run's builds may read.
// Each has one name for the whole run, made from its path: two directories
// can never be taken for each other, whatever the targets call them.
type locals struct {
	trail *Trail // notes what is sent; may be nil

	sent func(dir, path string) // as in Options
	// mu guards the fields below.
	mu     sync.Mutex
	byPath map[string]*localDir
	byName map[string]*localDir
}

// A localDir is a directory that builds may read.
type localDir struct {
	name string // of the mount, for the daemon
	hint string // under which the daemon keeps what it has received: stable between runs
	root string // absolute path; "" if it is held in memory
	text string // of the Dockerfile in it, if it is held in memory
	fs   fsutil.FS
}

func newLocals(sent func(dir, path string)) *locals {
	return &locals{sent: sent, byPath: map[string]*localDir{}, byName: map[string]*localDir{}}
}

// dir returns the directory at an absolute path.
func (l *locals) dir(path string) (*localDir, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d, ok := l.byPath[path]; ok {
		return d, nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", path)
	}
	if d, ok := l.byPath[real]; ok {
		l.byPath[path] = d
		return d, nil
	}
	files, err := fsutil.NewFS(real)
	if err != nil {
		return nil, err
	}
	d, err := l.add(real, filepath.Base(real), real, presentFS{files})
	if err == nil {
		l.byPath[path], l.byPath[real] = d, d
	}
	return d, err
}

// inlineName is the name of a Dockerfile that the build file holds.
const inlineName = "Dockerfile"

// text returns a directory, held in memory, with a Dockerfile of that text.
func (l *locals) text(text string) (*localDir, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := "text:" + text
	if d, ok := l.byPath[key]; ok {
		return d, nil
	}
	fs := staticfs.NewFS()
	fs.Add(inlineName, inlineStat(text), []byte(text))
	d, err := l.add(key, "dockerfile-inline", "", fs)
	if err == nil {
		d.text = text
		l.byPath[key] = d
	}
	return d, err
}

// inlineStat describes the file of text. It says nothing of time, so that the
// same text is the same file in every run.
func inlineStat(text string) *fstypes.Stat {
	return &fstypes.Stat{Path: inlineName, Mode: 0o600, Size: int64(len(text))}
}

// add names a directory by what makes it the same one in every run. The
// caller holds the lock.
func (l *locals) add(key, base, root string, fs fsutil.FS) (*localDir, error) {
	// Owners of files on this machine mean nothing in an image.
	fs, err := fsutil.NewFilterFS(fs, &fsutil.FilterOpt{Map: func(_ string, st *fstypes.Stat) fsutil.MapResult {
		st.Uid, st.Gid = 0, 0
		return fsutil.MapResultKeep
	}})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(key))
	hint := hex.EncodeToString(sum[:])
	if l.sent != nil {
		fs = toldFS{fs, func(path string) { l.sent(root, path) }}
	}
	d := &localDir{name: mountName(base) + "-" + hint[:12], hint: hint, root: root, fs: l.trail.noted(fs, root)}
	l.byName[d.name] = d
	return d, nil
}

// mountName keeps of a directory's name what a mount's name may hold.
func mountName(base string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, base)
}

// LookupDir implements filesync.DirSource for the run's session.
func (l *locals) LookupDir(name string) (fsutil.FS, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.byName[name]
	if !ok {
		return nil, false
	}
	return d.fs, true
}

// A toldFS tells of each file that is opened to be sent.
type toldFS struct {
	fsutil.FS
	tell func(path string)
}

// Open implements fsutil.FS.
func (t toldFS) Open(path string) (io.ReadCloser, error) {
	t.tell(path)
	return t.FS.Open(path)
}

// oneDir answers to every name with one directory: the source of a session
// that serves a frontend, which calls its mounts as it likes.
type oneDir struct{ fs fsutil.FS }

func (d oneDir) LookupDir(string) (fsutil.FS, bool) { return d.fs, true }
