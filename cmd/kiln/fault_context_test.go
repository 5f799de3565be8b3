package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const contextDefinition = `
target "default" {
  dockerfile-inline = "FROM scratch\nCOPY . /\n"
  output            = ["type=local,dest=out"]
  context           = "src"
}
`

// meanwhile does something again and again until the returned function is
// called, which tells how long the longest took.
func meanwhile(t *testing.T, do func(n int) error) (stop func() time.Duration) {
	end, ended := make(chan struct{}), make(chan error, 1)
	began := make(chan struct{})
	var longest time.Duration // read once ended has said so
	go func() {
		for n := 0; ; n++ {
			at := time.Now()
			err := do(n)
			longest = max(longest, time.Since(at))
			if n == 1 || err != nil && n == 0 {
				close(began)
			}
			select {
			case <-end:
				ended <- err
				return
			default:
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	<-began
	return func() time.Duration {
		close(end)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return longest
	}
}

// held is less than the time after which kiln takes a file that nobody writes
// to for settled, with a tick of the file system's clock.
const held = 10 * time.Millisecond

// A file that changes while it is read is told, or is in the result as it
// was at one moment; and a later build has what is there then.
func TestContextChangesWhileRead(t *testing.T) {
	const size = 4 << 20
	s := newShell(t)
	s.write("build.hcl", contextDefinition)
	if err := os.MkdirAll(filepath.Join(s.dir, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(s.dir, "src", "large")
	of := func(n int) []byte { return bytes.Repeat([]byte{byte('a' + n%26)}, size) }
	if err := os.WriteFile(large, of(0), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		do   func(n int) error
	}{
		{"written over", func(n int) error {
			f, err := os.OpenFile(large, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.Write(of(n))
			return err
		}},
		{"truncated", func(n int) error { return os.WriteFile(large, of(n), 0o644) }},
		{"renamed", func(n int) error {
			if err := os.WriteFile(large+".new", of(n), 0o644); err != nil {
				return err
			}
			return os.Rename(large+".new", large)
		}},
		// Writing comes first: the build before may have left no file.
		{"removed", func(n int) error {
			if n%2 == 1 {
				return os.Remove(large)
			}
			return os.WriteFile(large, of(n), 0o644)
		}},
		{"grown", func(n int) error {
			f, err := os.OpenFile(large, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.Write(of(n)[:1<<10])
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told := 0
			for range 4 {
				stop := meanwhile(t, tt.do)
				out := s.run("rm -rf out; kiln build --progress=plain --retries=0 2>&1")
				longest := stop()
				if strings.Contains(out, "1 target built") {
					// A writer that was held up in the middle of writing over leaves
					// two versions for as long: that is what was there at that moment.
					s.oneLetter(t, tt.name == "grown" || tt.name == "written over" && longest > held)
					continue
				}
				told++
				if !strings.Contains(out, "large") || !strings.HasSuffix(out, "exit status 1\n") {
					t.Errorf("kiln says\n%s", out)
				}
			}
			t.Logf("%d of 4 builds failed", told)
			want := []byte(fmt.Sprintf("after it was %s\n", tt.name))
			if err := os.WriteFile(large, want, 0o644); err != nil {
				t.Fatal(err)
			}
			out := s.run("rm -rf out; kiln build 2>&1")
			got, err := os.ReadFile(filepath.Join(s.dir, "out", "large"))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("a later build has %q, %v\n%s", got[:min(len(got), 60)], err, out)
			}
		})
	}
}

// oneLetter checks that the file in the result is of one version, where it
// need not be of several.
func (s *shell) oneLetter(t *testing.T, several bool) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(s.dir, "out", "large"))
	if os.IsNotExist(err) || several {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if letters := len(bytes.TrimLeft(got, string(got[:min(1, len(got))]))); letters > 0 {
		t.Errorf("the result has a file of two versions: %d bytes of %d are of another", letters, len(got))
	}
}

// An engine that is killed while it is sent a context has files of two
// versions: the next build is of what is there then, and takes nothing for
// what it was before.
func TestKillEngineWhileSending(t *testing.T) {
	s := newShell(t)
	s.write("build.hcl", contextDefinition)
	if err := os.MkdirAll(filepath.Join(s.dir, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one\n", "two\n"} {
		s.write("src/first", text)
		s.write("src/last", "last\n")
		if text == "two\n" {
			s.killWhileSending("src/last", text)
		}
		out := s.run("rm -rf out; kiln build 2>&1")
		if got, err := os.ReadFile(filepath.Join(s.dir, "out", "first")); err != nil || string(got) != text {
			t.Errorf("the build has %q, want %q: %v\n%s", got, text, err, out)
		}
	}
}

// killWhileSending begins a build in which the named file is so long that the
// engine gets no end of it, kills the engine when it has the file before with
// that text, and makes the named one what it was.
func (s *shell) killWhileSending(long, text string) {
	s.t.Helper()
	pid := s.enginePID()
	was := s.read(long)
	if err := os.Truncate(filepath.Join(s.dir, long), 1<<40); err != nil { // of no blocks
		s.t.Fatal(err)
	}
	r := s.start("--progress=plain")
	has := func() bool {
		paths, _ := filepath.Glob(filepath.Join(s.stateDir(), "engine", "runc-*", "snapshots", "snapshots", "*", "fs", "first"))
		return slices.ContainsFunc(paths, func(path string) bool {
			got, err := os.ReadFile(path)
			part, partErr := os.Stat(filepath.Join(filepath.Dir(path), "last"))
			return err == nil && string(got) == text && partErr == nil && part.Size() > 1<<20
		})
	}
	for end := time.Now().Add(patience); !has(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("the engine is sent nothing:\n%s", r.text())
		}
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	if code := r.ends(); code != 3 {
		s.t.Errorf("exit code %d, want 3:\n%s", code, r.text())
	}
	s.write(long, was)
}
