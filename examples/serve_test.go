package examples

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// servedCommand is the first argument of the test binary where it is the
// parent of an image's command instead of a test.
const servedCommand = "serve-image"

// A served says what to start and what to ask it.
type served struct {
	Root   string // file system of the image
	Config v1.Config
	URLs   []string // asked in order; answers go to standard output, one JSON string a line
}

// image returns an image of kiln's store by its full reference.
func image(t *testing.T, ref string) v1.Image {
	t.Helper()
	dir, err := layout.FromPath(filepath.Join(shared.state, "images"))
	if err != nil {
		t.Fatal(err)
	}
	idx, err := dir.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if d.Annotations[ocispec.AnnotationRefName] != ref {
			continue
		}
		if d.MediaType.IsIndex() {
			sub, err := idx.ImageIndex(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return onlyImage(t, sub)
		}
		im, err := dir.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		return im
	}
	t.Fatalf("no image %s in the store", ref)
	return nil
}

// onlyImage returns the image of an index that holds one besides attestations.
func onlyImage(t *testing.T, idx v1.ImageIndex) v1.Image {
	t.Helper()
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if d.Platform != nil && d.Platform.OS == "unknown" {
			continue
		}
		im, err := idx.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		return im
	}
	t.Fatal("an index without an image")
	return nil
}

func config(t *testing.T, im v1.Image) v1.Config {
	t.Helper()
	f, err := im.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return f.Config
}

// unpack writes the file system of an image to a directory.
func unpack(t *testing.T, im v1.Image) string {
	t.Helper()
	root := t.TempDir()
	r := mutate.Extract(im)
	defer func() { _ = r.Close() }()
	tar := osexec.CommandContext(t.Context(), "tar", "-x", "-C", root)
	tar.Stdin = r
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return root
}

// ask starts the command of an image in its own file system, with a network
// of its own, and returns what it answers to each URL.
func ask(t *testing.T, im v1.Image, urls ...string) []string {
	t.Helper()
	order, err := json.Marshal(served{Root: unpack(t, im), Config: config(t, im), URLs: urls})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := osexec.CommandContext(ctx, self, servedCommand, string(order))
	cmd.SysProcAttr = isolated()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("start the image: %v\n%s", err, stderr.String())
	}
	var answers []string
	for d := json.NewDecoder(&stdout); ; {
		var a string
		if err := d.Decode(&a); errors.Is(err, io.EOF) {
			return answers
		} else if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
}

// isolated makes the child the first process of new namespaces: whatever it
// starts ends with it, and nobody else's ports are touched.
func isolated() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Unshareflags: syscall.CLONE_NEWNS,
	}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// servedMain is the child's side of ask.
func servedMain(args []string) int {
	var s served
	err := json.Unmarshal([]byte(args[0]), &s)
	if err == nil {
		err = s.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (s *served) run() error {
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	for _, dir := range []string{"proc", "dev"} {
		if err := os.MkdirAll(filepath.Join(s.Root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", filepath.Join(s.Root, "proc"), "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("/dev", filepath.Join(s.Root, "dev"), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	cmd, err := s.command()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%q: %w", cmd.Args, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	answers := json.NewEncoder(os.Stdout)
	for _, url := range s.URLs {
		body, err := get(url, ended)
		if err != nil {
			return err
		}
		if err := answers.Encode(body); err != nil {
			return err
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	<-ended
	return nil
}

// command is the image's own, in its file system.
func (s *served) command() (*osexec.Cmd, error) {
	argv := append(s.Config.Entrypoint, s.Config.Cmd...)
	if len(argv) == 0 {
		return nil, errors.New("the image has no command")
	}
	path, err := s.lookPath(argv[0])
	if err != nil {
		return nil, err
	}
	cmd := &osexec.Cmd{Path: path, Args: argv, Env: s.Config.Env, Dir: s.Config.WorkingDir, Stdout: os.Stderr, Stderr: os.Stderr}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: s.Root}
	if uid, err := strconv.Atoi(s.Config.User); err == nil && os.Getuid() == 0 && ownsMany() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	return cmd, nil
}

// ownsMany reports whether there are other users here than the first: in a
// user namespace of one, the command runs as root.
func ownsMany() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(text))
	return err == nil && len(fields) == 3 && fields[2] != "1"
}

// lookPath finds a program by the image's PATH, in the image.
func (s *served) lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, v := range s.Config.Env {
		dirs, ok := strings.CutPrefix(v, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(dirs) {
			if _, err := os.Lstat(filepath.Join(s.Root, dir, name)); err == nil {
				return filepath.Join(dir, name), nil
			}
		}
	}
	return "", fmt.Errorf("the image has no program %q", name)
}

// get asks until there is an answer or the server has ended.
func get(url string, ended <-chan error) (string, error) {
	var last error
	for range 600 {
		select {
		case err := <-ended:
			return "", fmt.Errorf("the server ended: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		resp, err := http.Get(url) //nolint:noctx // the process is killed when time is up
		if err != nil {
			last = err
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return "", fmt.Errorf("%s: %s: %w", url, resp.Status, err)
		}
		return string(body), nil
	}
	return "", last
}

// raiseLoopback brings up the loopback device of a new network namespace.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
