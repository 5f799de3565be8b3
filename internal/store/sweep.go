package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// staleAfter is the age from which a temporary file has no owner any more.
const staleAfter = 24 * time.Hour

// unnamedAfter is the same for a blob's directory that is still empty: to say
// whose it is takes no time.
const unnamedAfter = time.Minute

// sweep removes what killed processes left: half written blobs, index files
// that were never renamed, and the directories containerd tries fs-verity in.
// What has no living owner goes at once; where that cannot be told, what is
// old does. What cannot be removed is left for the next time.
func (s *Store) sweep() {
	for _, path := range s.glob("ingest/*") {
		ref, err := os.ReadFile(filepath.Join(path, "ref"))
		o, ok := ownerOf(string(ref))
		unnamed := (err != nil || len(ref) == 0) && youngest(path).Before(s.now().Add(-unnamedAfter)) // killed before it said whose it is
		if unnamed || err == nil && ok && isAbandoned(s.dir, o) {
			_ = os.RemoveAll(path)
		}
	}
	s.sweepIndexes()
	limit := s.now().Add(-staleAfter)
	for _, pattern := range []string{"ingest/*", tempPrefix + "*", ".fsverity-check-*"} {
		for _, path := range s.glob(pattern) {
			if youngest(path).Before(limit) {
				_ = os.RemoveAll(path)
			}
		}
	}
}

// sweepIndexes removes index files that were never renamed. They are written
// under the lock, so that who has it knows that nobody writes one.
func (s *Store) sweepIndexes() {
	paths := s.glob(tempPrefix + "*")
	if len(paths) == 0 {
		return
	}
	l := flock.New(filepath.Join(s.dir, lockFile))
	if held, err := l.TryLock(); err != nil || !held {
		return
	}
	defer func() { _ = l.Close() }()
	for _, path := range paths {
		_ = os.Remove(path)
	}
}

func (s *Store) glob(pattern string) []string {
	paths, _ := filepath.Glob(filepath.Join(globEscape(s.dir), pattern)) // the only error is a bad pattern
	return paths
}

// youngest returns the latest time at which path, or what is in it, changed.
// What vanishes meanwhile belongs to a living process and counts as new.
func youngest(path string) time.Time {
	var latest time.Time
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(latest) {
			latest = info.ModTime()
		}
		return nil
	})
	if err != nil {
		return time.Now()
	}
	return latest
}

func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}
