package store

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// childVar names what the test binary does instead of testing.
const childVar = "KILN_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	children := map[string]func(args []string) error{
		"writer":   writeForEver,
		"full":     fillDisk,
		"readonly": writeReadOnly,
		"build":    buildUnderLoad,
		"list":     listUnderLoad,
		"remove":   removeUnderLoad,
		"mixed":    workForEver,
	}
	if child := children[os.Getenv(childVar)]; child != nil {
		if err := child(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, kind string, args ...string) *osexec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), childVar+"="+kind)
	return cmd
}

// writeForEver puts image after image, and says which are in.
func writeForEver(args []string) error {
	dir, id := args[0], args[1]
	s, err := Open(dir)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		// Layers that all writers share, so that they meet on blobs too.
		d, err := addImage(s.Content(), strings.Repeat(fmt.Sprintf("layer %d ", i), 20_000))
		if err != nil {
			return err
		}
		ref := fmt.Sprintf("%s:v%d", id, i)
		if err := s.Put(context.Background(), []string{ref, "moving"}, d); err != nil {
			return err
		}
		fmt.Println(ref, d.Digest)
	}
}

// Processes write to one store and are killed at random moments. After each
// round the layout is whole, and every name that a process was told to be
// stored is there.
func TestKilledWritersLeaveAWholeLayout(t *testing.T) {
	const rounds, writers = 8, 4
	dir := filepath.Join(t.TempDir(), "store")
	stored := make(map[string]string)
	for round := range rounds {
		for ref, dgst := range killChildren(t, "writer", dir, round, writers) {
			stored[ref] = dgst
		}
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		checkWhole(t, s)
		for ref, want := range stored {
			if got, err := s.Resolve(t.Context(), ref); err != nil || got.Digest.String() != want {
				t.Errorf("%s: got %v, %v, want %s", ref, got.Digest, err, want)
			}
		}
	}
	checkLayout(t, dir)
	if len(stored) < rounds {
		t.Errorf("only %d images were stored: the writers did not get to work", len(stored))
	}
	t.Logf("%d images by %d killed processes", len(stored), rounds*writers)
}

// A saying is what a process has said. Its mark is closed when that begins.
type saying struct {
	said bytes.Buffer
	once *sync.Once
	mark chan struct{}
}

func (s *saying) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.mark) })
	return s.said.Write(p)
}

// killChildren runs processes until each is killed, and returns what they said
// they had stored. The first is killed only after one of them has stored
// something: on a busy machine they take a while to begin.
func killChildren(t *testing.T, kind, dir string, round, writers int) map[string]string {
	t.Helper()
	var cmds []*osexec.Cmd
	var outs, errs []*bytes.Buffer
	once, atWork := new(sync.Once), make(chan struct{})
	for i := range writers {
		cmd := child(t, kind, dir, fmt.Sprintf("%s%d-%d", kind, round, i))
		out, stderr := &saying{once: once, mark: atWork}, new(bytes.Buffer)
		cmd.Stdout, cmd.Stderr = out, stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds, outs, errs = append(cmds, cmd), append(outs, &out.said), append(errs, stderr)
	}
	select {
	case <-atWork:
	case <-time.After(2 * time.Minute):
		t.Error("none of the processes has stored anything")
	}
	stored := make(map[string]string)
	for i, cmd := range cmds {
		time.Sleep(time.Duration(30+rand.IntN(150)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // says that it was killed
		if errs[i].Len() > 0 {
			t.Errorf("writer %d: %s", i, errs[i])
		}
		for lines := bufio.NewScanner(outs[i]); lines.Scan(); {
			if ref, dgst, ok := strings.Cut(lines.Text(), " "); ok && len(dgst) == len("sha256:")+64 {
				stored[ref] = dgst
			}
		}
	}
	return stored
}

// checkWhole verifies every image of the store, and its name.
func checkWhole(t *testing.T, s *Store) {
	t.Helper()
	images, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range images {
		if err := s.verify(t.Context(), &change{names: []string{im.Name}, desc: im.Target}); err != nil {
			t.Error(err)
		}
		if _, err := name.ParseReference(im.Name, name.StrictValidation); err != nil {
			t.Error(err)
		}
	}
}

// fillDisk makes a store on a small file system and fills it.
func fillDisk(args []string) error {
	dir := args[0]
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		return err
	}
	s, err := Open(filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	d, err := addImage(s.Content(), "small")
	if err != nil {
		return err
	}
	if err := s.Put(context.Background(), []string{"first"}, d); err != nil {
		return err
	}
	if _, err := addImage(s.Content(), strings.Repeat("garbage ", 5_000)); err != nil { // named by nobody
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(filepath.Join(dir, "store")); err != nil {
		return err
	}
	old := time.Now().Add(-time.Hour)
	for _, path := range s.glob("blobs/*/*") {
		if err := os.Chtimes(path, old, old); err != nil {
			return err
		}
	}
	fill := filepath.Join(dir, "fill")
	_ = os.WriteFile(fill, make([]byte, 1<<20), 0o644) // as much as there is room for
	full := s.Put(context.Background(), []string{"second"}, d)
	if full == nil {
		return fmt.Errorf("the disk is not full")
	}
	fmt.Println(full)
	if _, err := s.Resolve(context.Background(), "first"); err != nil {
		return err
	}
	if err := readAll(s); err != nil {
		return err
	}
	// What is garbage makes room for the list without an image.
	removed, err := s.Remove(context.Background(), func(Image) bool { return true })
	if err != nil || len(removed) != 1 {
		return fmt.Errorf("removed %v, %v", removed, err)
	}
	if err := os.Remove(fill); err != nil {
		return err
	}
	return s.Put(context.Background(), []string{"second"}, d)
}

// writeReadOnly opens a store on a file system that is then read-only.
func writeReadOnly(args []string) error {
	dir := args[0]
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return err
	}
	s, err := Open(dir)
	if err != nil {
		return err
	}
	d, err := addImage(s.Content(), "small")
	if err != nil {
		return err
	}
	if err := s.Put(context.Background(), []string{"first"}, d); err != nil {
		return err
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	s, err = Open(dir)
	if err != nil {
		return err
	}
	if _, err := s.Resolve(context.Background(), "first"); err != nil {
		return err
	}
	if err := readAll(s); err != nil {
		return err
	}
	fmt.Println(s.Put(context.Background(), []string{"second"}, d))
	_, err = Open(filepath.Join(dir, "new"))
	fmt.Println(err)
	_, err = s.Remove(context.Background(), func(Image) bool { return true })
	fmt.Println(err)
	fmt.Println(s.PutRecord(d.Digest, "target", nil))
	return nil
}

// readAll does what only reads the store, which has one image that is whole.
func readAll(s *Store) error {
	ctx := context.Background()
	d, err := s.Use(ctx, "first")
	if err != nil {
		return err
	}
	list, err := s.List(ctx)
	if err != nil || len(list) != 1 {
		return fmt.Errorf("the list is %v, %w", list, err)
	}
	if k, wrong := s.Know(ctx, list, nil); k.Of(d.Digest) == nil || len(wrong) > 0 {
		return fmt.Errorf("known is %v, %v", k.Of(d.Digest), wrong)
	}
	if c, err := s.Check(ctx); err != nil || len(c.Faults) > 0 {
		return fmt.Errorf("faults %v, %w", c.Faults, err)
	}
	if _, err := s.GC(ctx, GCOptions{DryRun: true}); err != nil {
		return err
	}
	_, err = s.Usage(ctx)
	return err
}

func TestFullAndReadOnlyDisks(t *testing.T) {
	tests := []struct{ kind, want string }{
		{"full", "no space left on device; free some space there"},
		{"readonly", "read-only file system; it must be writable"},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			cmd := child(t, tt.kind, t.TempDir())
			cmd.SysProcAttr = mountNamespace()
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
				if !strings.Contains(line, tt.want) {
					t.Errorf("got %q, want %q in it", line, tt.want)
				}
			}
			if stderr.Len() > 0 {
				t.Errorf("standard error: %s", stderr.String())
			}
		})
	}
}

// mountNamespace lets a child mount file systems that vanish with it.
func mountNamespace() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // makes what is mounted private
	if os.Getuid() != 0 {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}
