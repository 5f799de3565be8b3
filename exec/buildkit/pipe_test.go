package buildkit_test

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/kilnbuild/kiln/config"
)

// TestOutputToPipe: what is no regular file is written to, not replaced. The
// other such file that people name is /dev/null.
func TestOutputToPipe(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"word": "hello\n", "Dockerfile": "FROM scratch\nCOPY word /word\n"})
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	// Opened for both, so that nobody waits for anybody; it holds the whole tar.
	r, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := &session{dir: dir, targets: []*config.Target{{Name: "tar", Outputs: []config.Export{{Type: "tar", Dest: "pipe"}}}}}
	s.must(t)
	if fi, err := os.Lstat(pipe); err != nil || fi.Mode()&os.ModeNamedPipe == 0 {
		t.Fatalf("the pipe is %v, %v", fi, err)
	}
	data := make([]byte, 64<<10)
	n, err := r.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := entries(t, data[:n]); !slices.Contains(got, "word") {
		t.Errorf("through the pipe came %q", got)
	}
}
