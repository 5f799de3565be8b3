package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

// A formatted file keeps its mode, its byte order mark and its line breaks,
// and a link to it stays a link.
func TestFmtKeepsTheFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("real", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("real/file.hcl", []byte("\xef\xbb\xbfa   = 1\r\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("real", "file.hcl"), "build.hcl"); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := Main(context.Background(), []string{"fmt", "build.hcl"}, nil, Streams{Out: &out, Err: &errs}); code != codeDone {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	got, err := os.ReadFile("real/file.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if want := "\xef\xbb\xbfa = 1\r\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	st, err := os.Stat("real/file.hcl")
	if err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v (%v), want 0640", st.Mode(), err)
	}
	if link, err := os.Readlink("build.hcl"); err != nil || link != filepath.Join("real", "file.hcl") {
		t.Errorf("the link became %q, %v", link, err)
	}
	entries, err := os.ReadDir("real")
	if err != nil || len(entries) != 1 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}
