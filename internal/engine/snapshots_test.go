//go:build linux

package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
)

// Whatever a killed engine left among the snapshots, the next makes its own,
// and has those that were committed.
func TestSnapshotsOfAKilledEngine(t *testing.T) {
	for name, open := range map[string]func(dir string) (snapshots.Snapshotter, error){ // each for itself
		"overlayfs": func(dir string) (snapshots.Snapshotter, error) {
			return overlay.NewSnapshotter(dir, overlay.AsynchronousRemove)
		},
		"native": native.NewSnapshotter,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := mendSnapshots(t.Context(), dir); err != nil {
				t.Fatalf("before the first start: %v", err)
			}
			within := func(do func(snapshots.Snapshotter)) {
				t.Helper()
				s, err := open(dir)
				if err != nil {
					t.Fatal(err)
				}
				do(s)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if err := mendSnapshots(t.Context(), dir); err != nil {
					t.Fatal(err)
				}
			}
			within(func(snapshots.Snapshotter) {}) // no snapshot at all
			within(func(s snapshots.Snapshotter) {
				if _, err := s.Prepare(t.Context(), "active", ""); err != nil {
					t.Fatal(err)
				}
				if err := s.Commit(t.Context(), "kept", "active"); err != nil {
					t.Fatal(err)
				}
				for _, left := range []string{"2", "3", "4", "new-5", "rm-6"} { // never committed; 6 was removed
					if err := os.MkdirAll(filepath.Join(dir, "snapshots", left, "fs"), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				if name == "native" { // its removal was not committed
					if err := os.Rename(filepath.Join(dir, "snapshots", "1"), filepath.Join(dir, "snapshots", "rm-1")); err != nil {
						t.Fatal(err)
					}
				}
			})
			within(func(s snapshots.Snapshotter) {
				entries, err := os.ReadDir(filepath.Join(dir, "snapshots"))
				if err != nil || len(entries) != 1 || entries[0].Name() != "1" {
					t.Errorf("there are %v, want 1 alone: %v", entries, err)
				}
				for _, key := range []string{"two", "three"} {
					if _, err := s.Prepare(t.Context(), key, "kept"); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}
