package atomicfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/internal/atomicfile"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, tt := range []struct {
		text string
		o    atomicfile.Options
		mode fs.FileMode
	}{
		{"one", atomicfile.Options{}, 0o600},
		{"two", atomicfile.Options{Mode: 0o644, Prefix: ".other-", Sync: true}, 0o644},
		{"", atomicfile.Options{Mode: 0o640}, 0o640},
	} {
		if err := atomicfile.Write(path, []byte(tt.text), tt.o); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(path)
		if err != nil || fi.Mode() != tt.mode {
			t.Errorf("%+v: mode %v, %v", tt.o, fi.Mode(), err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != tt.text {
			t.Errorf("%+v: %q, %v", tt.o, got, err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("beside the file: %v, %v", left, err)
	}
}

// What cannot be replaced stays, and nothing is left beside it.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	if err := atomicfile.Write(filepath.Join(dir, "none", "file"), nil, atomicfile.Options{}); !os.IsNotExist(err) {
		t.Errorf("without a directory: %v", err)
	}
	path := filepath.Join(dir, "file")
	if err := os.MkdirAll(filepath.Join(path, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(path, []byte("text"), atomicfile.Options{}); err == nil {
		t.Error("a directory was replaced")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("beside it: %v, %v", left, err)
	}
}
