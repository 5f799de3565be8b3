package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// staleAfter is the age from which a temporary file has no owner any more.
const staleAfter = 24 * time.Hour

// sweep removes what killed processes left: half written blobs, index files
// that were never renamed, and the directories containerd tries fs-verity in.
// What cannot be removed is left for the next time.
func (s *Store) sweep() {
	limit := s.now().Add(-staleAfter)
	for _, pattern := range []string{"ingest/*", tempPrefix + "*", ".fsverity-check-*"} {
		paths, _ := filepath.Glob(filepath.Join(globEscape(s.dir), pattern)) // the only error is a bad pattern
		for _, path := range paths {
			if youngest(path).Before(limit) {
				_ = os.RemoveAll(path)
			}
		}
	}
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
