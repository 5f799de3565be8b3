package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A file is there whole or not at all, and nothing else stays.
func TestWriteOutput(t *testing.T) {
	dir := t.TempDir()
	a := &app{dir: dir}
	write := func(text string, err error) error {
		return a.writeOutput("out.tar", func(w io.Writer) error {
			_, wrote := io.WriteString(w, text)
			if left := names(t, dir); len(left) > 1 {
				t.Errorf("while it is written there are %v", left)
			}
			return errors.Join(wrote, err)
		})
	}
	if err := write("one", errors.New("broken")); err == nil || len(names(t, dir)) > 0 {
		t.Errorf("after an error (%v) there are %v", err, names(t, dir))
	}
	for _, text := range []string{"one", "two"} {
		if err := write(text, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "out.tar")); err != nil || string(got) != text || len(names(t, dir)) != 1 {
			t.Errorf("got %q (%v) and %v", got, err, names(t, dir))
		}
	}
	if err := write("three", errors.New("broken")); err == nil {
		t.Error("the error is lost")
	}
	if got, err := os.ReadFile(filepath.Join(dir, "out.tar")); err != nil || string(got) != "two" {
		t.Errorf("after an error it holds %q (%v)", got, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "out.tar")); err != nil || info.Mode().Perm()&0o077 == 0 {
		t.Errorf("only its owner can read it: %v %v", info.Mode(), err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
