package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/testenv/fetched"
)

// A Docker is a Docker Engine of a test, with a state of its own and no
// network for containers.
type Docker struct {
	Name       string // for the names of subtests
	Host       string // unix://…
	Containerd bool   // images are in containerd's store

	client string // the docker command
	dir    string
	stdin  io.Closer // the engine ends when it is closed
	wait   func() error
}

// A DockerKind is a Docker Engine that can be started.
type DockerKind struct {
	Name    string
	program string
	flags   []string
}

// DockerKinds returns the engines to test with: Debian's, which scripts/docker.sh
// fetches, and those whose programs KILN_TEST_DOCKERD lists, each with both
// of its image stores. A test is skipped on machines where none can be had.
func DockerKinds(t testing.TB) []DockerKind {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a Docker Engine needs root")
	}
	dir := dockerDir(t)
	kinds := []DockerKind{{Name: "debian", program: filepath.Join(dir, "dockerd")}}
	for i, program := range filepath.SplitList(os.Getenv("KILN_TEST_DOCKERD")) {
		for _, containerd := range []bool{false, true} {
			name := fmt.Sprintf("other%d-classic", i)
			if containerd {
				name = fmt.Sprintf("other%d-containerd", i)
			}
			kinds = append(kinds, DockerKind{Name: name, program: program,
				flags: []string{fmt.Sprintf("--feature=containerd-snapshotter=%v", containerd)}})
		}
	}
	return kinds
}

// dockerDir returns where scripts/docker.sh has put an engine.
func dockerDir(t testing.TB) string {
	t.Helper()
	dir, err := fetched.Dir("docker", "")
	if err != nil {
		t.Fatalf("tests of the Docker Engine need one: %v", err)
	}
	if why, err := os.ReadFile(filepath.Join(dir, "none")); err == nil {
		t.Skipf("there is no Docker Engine for the tests: %s", why)
	}
	return dir
}

// Start starts an engine, which ends with the test.
func (k DockerKind) Start(t testing.TB) *Docker {
	t.Helper()
	dir, err := os.MkdirTemp("", "kd-") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d := &Docker{Name: k.Name, Host: "unix://" + dir + "/docker.sock", client: filepath.Join(Root(), ".cache", "docker", "docker"), dir: dir}
	// A shell ends the engine when its input ends: with the test, whatever
	// becomes of that.
	script := `"$@" & pid=$!; cat >/dev/null; kill $pid; wait $pid`
	cmd := osexec.Command("sh", append([]string{"-c", script, "sh", k.program, "-H", d.Host,
		"--data-root", dir + "/data", "--exec-root", dir + "/exec", "--pidfile", dir + "/pid",
		"--iptables=false", "--ip6tables=false", "--bridge=none"}, k.flags...)...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(Root(), ".cache/docker/root/usr/bin")+":"+filepath.Join(Root(), ".cache/docker/root/usr/sbin")+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = log, log
	if d.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.wait = cmd.Wait
	t.Cleanup(func() { d.stop(t) })
	if err := d.ready(); err != nil {
		said, _ := os.ReadFile(log.Name())
		t.Fatalf("start a Docker Engine (%s): %v\n%s", k.Name, err, tail(said))
	}
	return d
}

// tail is the end of a log.
func tail(log []byte) []byte {
	lines := bytes.SplitAfter(log, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-30):], nil)
}

// ready waits for the engine's answer, and asks where it keeps images.
func (d *Docker) ready() error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var n net.Dialer
		return n.DialContext(ctx, "unix", strings.TrimPrefix(d.Host, "unix://"))
	}}}
	var err error
	for until := time.Now().Add(2 * time.Minute); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		var resp *http.Response
		if resp, err = client.Get("http://docker/info"); err != nil {
			continue
		}
		var info struct{ DriverStatus [][2]string }
		err = json.NewDecoder(resp.Body).Decode(&info)
		resp.Body.Close()
		d.Containerd = slices.Contains(info.DriverStatus, [2]string{"driver-type", "io.containerd.snapshotter.v1"})
		return err
	}
	return err
}

// stop ends the engine and removes all that it leaves.
func (d *Docker) stop(t testing.TB) {
	d.stdin.Close()
	_ = d.wait() // it ends by a signal
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(d.dir))
	if err != nil {
		t.Error(err)
	}
	slices.Reverse(mounts)
	for _, m := range mounts {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil && err != unix.EINVAL { // gone with another
			t.Errorf("unmount %s: %v", m.Mountpoint, err)
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		t.Error(err)
	}
}

// Run runs the docker command with this engine, and returns what it printed.
func (d *Docker) Run(t testing.TB, args ...string) string {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), d.client, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.Host, "DOCKER_CONFIG="+d.dir, "DOCKER_CONTEXT=")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, errOut.Bytes())
	}
	return out.String()
}
