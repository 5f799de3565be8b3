package buildkit

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file that was written to just now is looked at when its time can be told
// from that of the next writing; one that is written to for ever, as it was.
func TestFilesSettle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func() {
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write()
	fi, err := settled(func() (fs.FileInfo, error) { return os.Stat(path) })
	if err != nil || time.Since(fi.ModTime()) < fileTick {
		t.Errorf("the file is taken %v after it was written: %v", time.Since(fi.ModTime()), err)
	}
	var began time.Time
	fi, err = settled(func() (fs.FileInfo, error) {
		write()
		now, err := os.Stat(path)
		if err == nil && began.IsZero() {
			began = now.ModTime()
		}
		return now, err
	})
	if err != nil || !fi.ModTime().Equal(began) && time.Since(fi.ModTime()) < fileTick { // the test may have been held up
		t.Errorf("the file is taken as of %v, want %v: %v", fi.ModTime(), began, err)
	}
}
