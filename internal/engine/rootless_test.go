//go:build linux

package engine

import (
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/user"
)

// A rootlessUser is an ordinary user of the machine and what it needs to be
// kiln, in a directory of its own.
type rootlessUser struct {
	name     string
	uid, gid uint32
	home     string
	tools    string // directory of newuidmap and newgidmap
	self     string // this test binary
	options  Options
}

// newUser adds a user to the machine for the duration of the test. Without
// root there is just one user to be: the present one.
func newUser(t *testing.T) *rootlessUser {
	t.Helper()
	home, err := os.MkdirTemp("", "kiln-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil && os.Geteuid() == 0 {
			t.Error(err)
		}
	})
	u := &rootlessUser{home: home, tools: filepath.Join(home, "tools"), self: filepath.Join(home, "kiln")}
	if os.Geteuid() == 0 {
		u.name = "kiln-test-" + strconv.Itoa(os.Getpid())
		mustRun(t, "useradd", "--no-create-home", "--home-dir", home, "--shell", "/bin/sh", u.name)
		t.Cleanup(func() {
			eventually(t, "the user's processes end", func() bool { return !u.isAtWork(t) })
			mustRun(t, "userdel", "--force", u.name) // also where nobody has taken note of their ends yet
		})
	}
	me, err := osuser.Current()
	if u.name != "" {
		me, err = osuser.Lookup(u.name)
	}
	if err != nil {
		t.Fatal(err)
	}
	u.name = me.Username
	u.uid, u.gid = number(t, me.Uid), number(t, me.Gid)
	u.equip(t)
	return u
}

// isAtWork reports whether a process of the user is alive.
func (u *rootlessUser) isAtWork(t *testing.T) bool {
	t.Helper()
	for _, path := range globProc(t, "status") {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		uid, _, _ := strings.Cut(field(string(b), "Uid"), "\t")
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && uid == strconv.Itoa(int(u.uid)) && isAlive(pid) {
			return true
		}
	}
	return false
}

func number(t *testing.T, s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// equip gives the user this binary, a runtime, the step program, and the tools
// that map IDs.
func (u *rootlessUser) equip(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	steps, err := stepDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(u.home, "step"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, self, u.self)
	copyFile(t, testRuntime(t), filepath.Join(u.home, "runc"))
	copyFile(t, knownRaces, filepath.Join(u.home, "races.txt"))
	copyFile(t, filepath.Join(steps, "step"), filepath.Join(u.home, "step", "step"))
	u.options = Options{
		StateDir: filepath.Join(u.home, "state"), RuntimeDir: filepath.Join(u.home, "run"), Runtime: filepath.Join(u.home, "runc"),
		Idle: defaultIdle, LogLevel: "info", Version: "v1.0.0",
	}
	u.findTools(t)
	if os.Geteuid() == 0 {
		if err := os.Chmod(u.home, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{u.home, filepath.Join(u.home, "step")} {
			if err := os.Chown(dir, int(u.uid), int(u.gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// findTools takes newuidmap and newgidmap of the machine, else Debian's.
func (u *rootlessUser) findTools(t *testing.T) {
	t.Helper()
	if path, err := osexec.LookPath("newuidmap"); err == nil {
		u.tools = filepath.Dir(path)
		return
	}
	if os.Geteuid() != 0 {
		t.Fatal("newuidmap is missing: install it (Debian, Ubuntu: apt-get install uidmap), or run the tests as root")
	}
	unpacked := t.TempDir()
	mustRun(t, "sh", "../../scripts/debs.sh", unpacked, "uidmap")
	if err := os.Mkdir(u.tools, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		path := filepath.Join(u.tools, tool)
		copyFile(t, filepath.Join(unpacked, "usr/bin", tool), path)
		if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
			t.Fatal(err)
		}
	}
}

func mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := osexec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	r, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// kiln is a helper that the user runs, with PATH holding tools.
func (u *rootlessUser) kiln(mode, tools string) *osexec.Cmd {
	cmd := helper(u.options, mode)
	cmd.Path, cmd.Args = u.self, []string{u.self}
	cmd.Env = slices.DeleteFunc(cmd.Env, func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"GORACE", "HOME", "USER", "LOGNAME", "PATH", "TEST_STEP", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"}, name)
	})
	cmd.Env = append(cmd.Env, "HOME="+u.home, "USER="+u.name, "PATH="+tools, "TEST_STEP="+filepath.Join(u.home, "step"),
		"GORACE=suppressions="+filepath.Join(u.home, "races.txt"))
	cmd.Dir = u.home
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.uid, Gid: u.gid}}
	}
	return cmd
}

func (u *rootlessUser) path() string { return u.tools + ":/usr/bin:/bin" }

func TestRootless(t *testing.T) {
	u := newUser(t)
	o := u.options
	t.Cleanup(func() { cleanUp(t, o) })
	a, err := ask(t, u.kiln("build", u.path()))
	if err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	if !a.Status.Rootless || !a.Started {
		t.Errorf("the engine: %+v", a.Status)
	}
	if got := field(a.Proc, "Seccomp"); got != "2" {
		t.Errorf("Seccomp in RUN: %q", got)
	}
	if got := field(a.Proc, "Uid"); got != "0\t0\t0\t0" {
		t.Errorf("Uid in RUN: %q", got)
	}
	proc, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.Status.PID))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(field(string(proc), "Uid"))[0]; got != strconv.Itoa(int(u.uid)) {
		t.Errorf("the engine runs as user %s, not %d", got, u.uid)
	}
	again, err := ask(t, u.kiln("build", u.path()))
	if err != nil || again.Started || again.Status.PID != a.Status.PID {
		t.Errorf("a second kiln: %+v, %v", again.Status, err)
	}
	u.testKilled(t, a.Status.PID)
	if a, err := ask(t, u.kiln("stop", u.path())); err != nil || a.Error != "" {
		t.Error(err, a.Error)
	}
	in, err := ask(t, u.kiln("in-process", u.path()))
	if err != nil || in.Error != "" || field(in.Proc, "Seccomp") != "2" || !in.Status.InProcess {
		t.Errorf("in process: %v, %+v", err, in)
	}
	eventually(t, "the engine of that kiln ends", func() bool { return isGone(in.Status.PID) })
	other := startHelper(t, u.kiln("sleep-in-process", u.path()))
	if a, err := ask(t, u.kiln("connect", u.path())); err != nil || !strings.Contains(a.Error, ErrLocked.Error()) {
		t.Errorf("beside an engine in process: %v, %+v", err, a)
	}
	sleeper := findProcess(t, "/step", "sleep", "10m", "sleep-in-process")
	other.Process.Kill()
	other.Wait()
	eventually(t, "the engine of the killed kiln ends", func() bool {
		s, err := Query(t.Context(), o)
		return err == nil && !s.Running
	})
	if !isGone(sleeper) {
		t.Errorf("the RUN process %d of the killed kiln lives on", sleeper)
	}
}

// testKilled kills the engine in the middle of a step of another user, which
// lives in a user namespace that nobody else enters.
func (u *rootlessUser) testKilled(t *testing.T, pid int) {
	t.Helper()
	startHelper(t, u.kiln("sleep-as-user", u.path()))
	sleeper := findProcess(t, "/step", "sleep", "10m", "sleep-as-user")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	next, err := ask(t, u.kiln("build", u.path()))
	if err != nil || next.Error != "" || !next.Started {
		t.Errorf("after the crash: %+v, %v", next, err)
	}
	if !isGone(sleeper) {
		t.Errorf("the RUN process %d lives on", sleeper)
	}
}

func TestRootlessLacks(t *testing.T) {
	u := newUser(t)
	t.Cleanup(func() { cleanUp(t, u.options) })
	plain := t.TempDir()
	if err := os.Chmod(filepath.Dir(plain), 0o755); err != nil { // t.TempDir's parent is for the owner only
		t.Fatal(err)
	}
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		copyFile(t, filepath.Join(u.tools, tool), filepath.Join(plain, tool)) // which drops the setuid bit
	}
	check := func(what, tools string, want ...string) {
		t.Helper()
		a, err := ask(t, u.kiln("connect", tools))
		if err != nil || !a.NoUser {
			t.Errorf("%s: %v, %q", what, err, a.Error)
		}
		for _, w := range want {
			if !strings.Contains(a.Error, w) {
				t.Errorf("%s: %q says nothing of %q", what, a.Error, w)
			}
		}
	}
	check("no newuidmap", t.TempDir(), "newuidmap is missing", "apt-get install uidmap")
	check("no setuid", plain, "newuidmap failed", "chmod u+s")
	if os.Geteuid() != 0 {
		return // the rest changes the machine's users
	}
	ranges, err := user.ParseSubIDFileFilter("/etc/subuid", func(s user.SubID) bool { return s.Name == u.name })
	if err != nil || len(ranges) == 0 {
		t.Fatalf("useradd gave %s no subordinate IDs: %v", u.name, err)
	}
	for _, r := range ranges {
		mustRun(t, "usermod", "--del-subuids", fmt.Sprintf("%d-%d", r.SubID, r.SubID+r.Count-1), u.name)
	}
	check("no subuid", u.path(), "/etc/subuid grants "+u.name+" 0", "--add-subuids")
}

func TestUsernsOff(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"on", map[string]string{"self/ns/user": "", "sys/user/max_user_namespaces": "95000\n"}, ""},
		{"by number", map[string]string{"self/ns/user": "", "sys/user/max_user_namespaces": "0\n"}, "user.max_user_namespaces is 0"},
		{"by Debian's switch", map[string]string{"self/ns/user": "", "sys/user/max_user_namespaces": "9\n", "sys/kernel/unprivileged_userns_clone": "0\n"}, "kernel.unprivileged_userns_clone is 0"},
		{"not in the kernel", nil, "this kernel has no user namespaces"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			proc := t.TempDir()
			for name, text := range tt.files {
				path := filepath.Join(proc, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := usernsOff(proc); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
