package runs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/runs"
)

func record(definition string, n int) *runs.Run {
	at := time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC)
	return &runs.Run{Version: runs.Version, ID: at.Format("20060102-150405") + "-000abc", Definition: definition, Started: at, Ended: at.Add(time.Second), Status: "built", Targets: []*runs.Target{}}
}

func TestKeeper(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there")
	k := runs.Open(dir)
	if got := k.Entries(); len(got) != 0 {
		t.Fatalf("%d entries of nothing", len(got))
	}
	for i := range 3 {
		for _, definition := range []string{"/a", "/b"} {
			if err := k.Save(record(definition, i), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	of := runs.Of(k.Entries(), "/a")
	if len(of) != 3 || of[0].ID != record("/a", 2).ID {
		t.Fatalf("entries of /a: %+v", of)
	}
	got, err := k.Load(of[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(record("/a", 2), got); diff != "" {
		t.Error(diff)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("records of a user can be read by others: %v, %v", fi.Mode(), err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Load(of[0]); !errors.Is(err, runs.ErrNoRun) {
		t.Errorf("of a record that is gone: %v", err)
	}
}

// The last twenty runs of a definition stay, whatever the others do.
func TestKeeperLetsGo(t *testing.T) {
	k := runs.Open(t.TempDir())
	if err := k.Save(record("/other", 0), nil); err != nil {
		t.Fatal(err)
	}
	for i := range 25 {
		if err := k.Save(record("/a", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	of := runs.Of(k.Entries(), "/a")
	if len(of) != 20 || of[0].ID != record("/a", 24).ID || of[19].ID != record("/a", 5).ID {
		t.Errorf("%d are left, from %s to %s", len(of), of[len(of)-1].ID, of[0].ID)
	}
	if len(runs.Of(k.Entries(), "/other")) != 1 {
		t.Error("the run of another definition is gone")
	}
}

// What is broken, or of another kiln, is an error and disturbs nothing else.
func TestKeeperOfBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	k := runs.Open(dir)
	later := record("/a", 1)
	later.Version = runs.Version + 1
	for _, r := range []*runs.Run{record("/a", 0), later} {
		if err := k.Save(r, nil); err != nil {
			t.Fatal(err)
		}
	}
	entries := k.Entries()
	if _, err := k.Load(entries[0]); err == nil || !strings.Contains(err.Error(), "another kiln") {
		t.Errorf("a record of another format: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Truncate(f, 30); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"junk", "no-record.json.gz", ".new-1", "x.json.gz"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("junk"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range k.Entries() {
		if _, err := k.Load(e); err == nil {
			t.Errorf("%s was read", e.ID)
		}
	}
	if err := k.Save(record("/a", 2), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Load(runs.Of(k.Entries(), "/a")[0]); err != nil {
		t.Error(err)
	}
}

// Several kilns may end at once.
func TestKeeperOfManyWriters(t *testing.T) {
	dir := t.TempDir()
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			l := exec.Listing{Dir: "/a", Files: []exec.ListedFile{{Path: fmt.Sprint(i % 3), Size: 1}}}
			if err := runs.Open(dir).Save(record("/a", i), []exec.Listing{l}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	k := runs.Open(dir)
	entries := k.Entries()
	if len(entries) != 16 {
		t.Errorf("%d records of 16", len(entries))
	}
	for _, e := range entries {
		r, err := k.Load(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Listing(r.Listings[0].ID); err != nil {
			t.Error(err)
		}
	}
}

func TestListings(t *testing.T) {
	k := runs.Open(t.TempDir())
	files := func(check uint32) []exec.ListedFile {
		return []exec.ListedFile{
			{Path: "dir", Mode: 1<<31 | 0o755, Time: 5},
			{Path: "dir/a \"quoted\" \n name", Mode: 0o644, Size: 12, Time: 1764000000123456789, Check: check},
			{Path: "dir/link", Mode: 1<<27 | 0o777, Link: "a b", Time: -1},
		}
	}
	save := func(n int, f []exec.ListedFile) *runs.Run {
		r := record("/a", n)
		if err := k.Save(r, []exec.Listing{{Dir: "/ctx", Files: f, More: n}}); err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := save(0, files(0xdeadbeef))
	got, err := k.Listing(first.Listings[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files(0xdeadbeef), got); diff != "" {
		t.Error(diff)
	}
	// The daemon did not ask for the same file again, so nothing was learned
	// of its content, and nothing has to be written.
	again := save(1, files(0))
	if again.Listings[0].ID != first.Listings[0].ID {
		t.Error("the same files make another list")
	}
	// Another file came; of the first it is known what it holds.
	more := append(files(0), exec.ListedFile{Path: "new", Mode: 0o644, Size: 1, Check: 7})
	third := save(2, more)
	got, err = k.Listing(third.Listings[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 4 || got[1].Check != 0xdeadbeef || got[3].Check != 7 {
		t.Errorf("contents were forgotten: %+v", got)
	}
	if _, err := k.Listing("../../etc/passwd"); err == nil {
		t.Error("a list outside was read")
	}
}
