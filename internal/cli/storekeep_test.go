package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/store"
)

// garbage writes a blob that no image leads to, so old.
func garbage(t *testing.T, dir, text string, age time.Duration) (path string) {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	if err := content.WriteBlob(t.Context(), s.Content(), text, strings.NewReader(text), d); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "blobs", "sha256", d.Digest.Encoded())
	at := time.Now().Add(-age)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOldGarbageIsCollected(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	var log bytes.Buffer
	collectOld(t.Context(), dir, &log)
	if _, err := os.Stat(dir); err == nil || log.Len() > 0 {
		t.Errorf("a store was made to be cleaned: %s", &log)
	}
	old, young := garbage(t, dir, "old", 25*time.Hour), garbage(t, dir, "young", 23*time.Hour)
	collectOld(t.Context(), dir, &log)
	if _, err := os.Stat(old); err == nil {
		t.Error("old garbage stays")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
	if got := log.String(); got != "freed 3B of old garbage in the image store\n" {
		t.Errorf("log %q", got)
	}
	log.Reset()
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	collectOld(t.Context(), dir, &log)
	if got := log.String(); !strings.Contains(got, "was not collected: ") {
		t.Errorf("log %q", got)
	}
}

// The engine looks a minute after its start, then once a day, and not after
// its end.
func TestStoreIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir() // of a store whose list is damaged, which each look tells
		for name, text := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": "{"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		stop := keepStore(t.Context(), dir, &log)
		time.Sleep(collectFirst + 3*collectEvery)
		synctest.Wait()
		stop()
		time.Sleep(collectEvery)
		if got := strings.Count(log.String(), "was not collected"); got != 4 {
			t.Errorf("it was looked %d times, want 4:\n%s", got, &log)
		}
	})
}
