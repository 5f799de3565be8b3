package store

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// faultsOf checks a store and returns "reason of which images" by blob.
func faultsOf(t *testing.T, s *Store) map[digest.Digest]string {
	t.Helper()
	c, err := s.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[digest.Digest]string{}
	for _, f := range c.Faults {
		reason, _, _ := strings.Cut(f.Reason, " sha256:")
		out[f.Digest] = strings.TrimSpace(reason + ": " + strings.Join(f.Images, " "))
	}
	return out
}

func TestCheckAndRepair(t *testing.T) {
	s := open(t)
	shared, own, gone := digest.FromString("shared"), digest.FromString("own"), digest.FromString("gone")
	mustPut(t, s, mustImage(t, s, "shared"), "one", "two")
	mustPut(t, s, mustImage(t, s, "own"))
	mustPut(t, s, mustImage(t, s, "gone"), "three")
	mustImage(t, s, "garbage")
	if got := faultsOf(t, s); len(got) > 0 {
		t.Errorf("of a whole store: %v", got)
	}
	overwrite(t, s.blobs.path(shared), "SHARED")
	overwrite(t, s.blobs.path(own), "ow")
	overwrite(t, s.blobs.path(digest.FromString("garbage")), "GARBAGE")
	remove(t, s.blobs.path(gone))
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(im Image) bool { return im.Name == "" })
	want := map[digest.Digest]string{
		shared:                       "has the content of: docker.io/library/one:latest docker.io/library/two:latest",
		own:                          "has the content of: " + list[i].Target.Digest.String(),
		gone:                         "is missing: docker.io/library/three:latest",
		digest.FromString("garbage"): "has the content of:",
	}
	if diff := cmp.Diff(want, faultsOf(t, s)); diff != "" {
		t.Error(diff)
	}

	c, err := s.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, s.blobs.path(own), "own") // somebody was faster
	if err := s.Repair(t.Context(), c.Faults); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.Faults {
		if want := f.Digest == shared || f.Digest == digest.FromString("garbage"); f.Removed != want {
			t.Errorf("%s %s: removed %v", f.Digest, f.Reason, f.Removed)
		}
	}
	mustImage(t, s, "shared")
	mustImage(t, s, "gone")
	if got := faultsOf(t, s); len(got) > 0 {
		t.Errorf("after the repair: %v", got)
	}
}

// Of an index some platforms may be absent, but not all.
func TestCheckOfAnIndex(t *testing.T) {
	s := open(t)
	a, b := mustImage(t, s, "a"), mustImage(t, s, "b")
	mustPut(t, s, mustIndex(t, s, a, b), "both")
	remove(t, s.blobs.path(b.Digest))
	if got := faultsOf(t, s); len(got) > 0 {
		t.Errorf("with one platform: %v", got)
	}
	remove(t, s.blobs.path(a.Digest))
	want := map[digest.Digest]string{
		a.Digest: "is missing: docker.io/library/both:latest",
		b.Digest: "is missing: docker.io/library/both:latest",
	}
	if diff := cmp.Diff(want, faultsOf(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestCheckTellsOfWhatItCannotRead(t *testing.T) {
	s := open(t)
	mustPut(t, s, mustImage(t, s, "a"), "app")
	path := s.blobs.path(digest.FromString("a"))
	remove(t, path)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := faultsOf(t, s)[digest.FromString("a")]; got == "" {
		t.Error("a directory in the place of a layer was taken for it")
	}
}
