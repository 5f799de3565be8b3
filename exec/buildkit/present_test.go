package buildkit

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tonistiigi/fsutil"
)

// TestFileIsRemoved: what is removed while a directory is read is not there,
// and all that comes after it is.
func TestFileIsRemoved(t *testing.T) {
	removed := map[string][]string{"a": {"b", "g"}, "d/w": {"d/x"}} // when the first is seen
	for _, tt := range []struct {
		name string
		opt  fsutil.FilterOpt
		want []string
	}{
		{"all", fsutil.FilterOpt{}, []string{"a", "c", "d", "d/w", "d/y", "f", "h"}},
		{"some left out", fsutil.FilterOpt{ExcludePatterns: []string{"c"}}, []string{"a", "d", "d/w", "d/y", "f", "h"}},
		{"some asked for", fsutil.FilterOpt{IncludePatterns: []string{"a", "b", "d", "h"}}, []string{"a", "d", "d/w", "d/y", "h"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for _, name := range []string{"a", "b", "c", "d/w", "d/x", "d/y", "f", "g/v", "h"} {
				path := filepath.Join(root, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			dir, err := newLocals(nil).dir(root)
			if err != nil {
				t.Fatal(err)
			}
			files, err := fsutil.NewFilterFS(dir.fs, &tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			err = files.Walk(t.Context(), "/", func(path string, _ fs.DirEntry, err error) error {
				got = append(got, path)
				for _, name := range removed[path] {
					if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
						return err
					}
				}
				return err
			})
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}
