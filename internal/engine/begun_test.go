//go:build linux

package engine

import (
	"os"
	"path/filepath"
	"testing"
)

// An engine whose predecessor was killed while it made its files starts.
func TestBegunFiles(t *testing.T) {
	o := newOptions(t)
	mustSolve(t, newClient(t, connect(t, o)), run("status"))
	for _, pages := range []int64{0, 1, 3} {
		if err := Stop(t.Context(), o, true); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, pattern := range []string{"*.db", "runc-*/*.db", "runc-*/snapshots/*.db", "runc-*/workerid"} {
			all = append(all, below(o.root(), pattern)...)
		}
		if len(all) != 6 {
			t.Fatalf("the engine's files are %v", all)
		}
		for _, path := range all {
			size := pages * int64(os.Getpagesize())
			if filepath.Base(path) == "workerid" {
				size = 0
			}
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
		}
		mustSolve(t, newClient(t, connect(t, o)), run("status"))
		if id, err := os.ReadFile(below(o.root(), "runc-*/workerid")[0]); err != nil || len(id) == 0 {
			t.Errorf("the worker has the name %q, %v", id, err)
		}
	}
}
