package store

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
)

// What a killed process left goes when the store is opened again; what a
// living one writes stays.
func TestAbandonedIngestsGoAtOnce(t *testing.T) {
	dir := t.TempDir()
	begin := func(s *Store, ref string) {
		w, err := s.Content().Writer(t.Context(), content.WithRef(ref))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("half of it")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil { // the ingest stays, to be resumed
			t.Fatal(err)
		}
	}
	refs := func() (refs []string) {
		paths, err := filepath.Glob(filepath.Join(dir, "ingest", "*", "ref"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			ref, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			refs = append(refs, filepath.Base(string(ref)))
		}
		slices.Sort(refs)
		return refs
	}
	living, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	begin(living, "living")
	begin(dead, "dead")
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if got := refs(); !slices.Equal(got, []string{"dead", "living"}) {
		t.Errorf("while both live there are %q", got)
	}
	f, err := dead.Content().(*ownContent).owned() // as the system does at a process's end
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(dir, tempPrefix+"1")
	if err := os.WriteFile(temp, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if got := refs(); !slices.Equal(got, []string{"living"}) {
		t.Errorf("after the death of one there are %q", got)
	}
	if _, err := os.Stat(temp); !os.IsNotExist(err) {
		t.Errorf("an index that was never renamed is left: %v", err)
	}
	runtime.KeepAlive(living) // what the collector frees is no owner any more
}
