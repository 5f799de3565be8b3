//go:build linux

package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"os/signal"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/user"
)

// An ordinary user's engine is root of a user namespace: user 0 there is the
// user, and from 1 on come the subordinate IDs that the system granted in
// /etc/subuid and /etc/subgid. Only newuidmap and newgidmap, which are setuid,
// may write such a map, and only from outside: so the engine's process starts
// in the new namespace, waits for the map, and executes itself again, by which
// it gains the namespace's capabilities.

// startMapped starts the process in a user and a mount namespace and writes
// the maps. Only from outside that namespace can it be told which processes an
// earlier one left, and can they all be killed.
func (p *process) startMapped(o Options) error {
	maps, err := idMaps()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), endWait)
	defer cancel()
	if err := sweep(ctx, o.root(), ""); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	p.hand(envMap, r)
	p.Env = append(p.Env, rootlessEnviron(o)...)
	p.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	err = p.Start()
	r.Close()
	if err != nil {
		return fmt.Errorf("%w: the system refused to make one: %w: %s", ErrNoUserns, err, usernsRemedy())
	}
	for _, m := range maps {
		if err := m.write(p.Process.Pid); err != nil {
			p.Process.Kill()
			p.Wait()
			return err
		}
	}
	_, err = w.Write([]byte{1})
	return err
}

// rootlessEnviron makes runc keep its own state where the user may write: it
// would take /run/runc for a user that is called root.
func rootlessEnviron(o Options) []string {
	return []string{"XDG_RUNTIME_DIR=" + o.RuntimeDir, "USER=kiln"}
}

// enterUserns is the first life of the process in its namespace.
func enterUserns(fd string) error {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return fmt.Errorf("%s=%q is no number", envMap, fd)
	}
	f := os.NewFile(uintptr(n), envMap)
	if _, err := io.ReadFull(f, make([]byte, 1)); err != nil {
		return fmt.Errorf("%w: whoever started the engine is gone", ErrNoUserns)
	}
	f.Close()
	os.Unsetenv(envMap)
	return fmt.Errorf("execute the engine again: %w", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// serveRootless is "kiln engine serve" as an ordinary user types it: the engine
// runs in a child, which gets this one's signals.
func serveRootless(ctx context.Context, o Options) error {
	lock, err := lockState(ctx, o, time.Second)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := makePrivate(o.RuntimeDir); err != nil {
		return err
	}
	cmd, err := command(o)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr.Setpgid = true // else a Ctrl-C reaches it twice
	cmd.hand(envLock, lock)
	if err := cmd.startMapped(o); err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	done := ctx.Done()
	for {
		select {
		case err := <-gone:
			return err
		case <-done:
			done = nil
			cmd.Process.Signal(syscall.SIGTERM)
		case s := <-signals:
			cmd.Process.Signal(s)
		}
	}
}

// An idMap is a map of user or group IDs, to be written by its tool.
type idMap struct {
	tool, file string // newuidmap, /etc/subuid
	own        int
	ranges     []user.SubID
}

// idMaps are the maps of this user, or what the system lacks for them.
func idMaps() ([]idMap, error) {
	me, err := osuser.Current()
	if err != nil {
		return nil, fmt.Errorf("%w: who is the user %d: %w", ErrNoUserns, os.Getuid(), err)
	}
	if why := usernsOff("/proc"); why != "" {
		return nil, fmt.Errorf("%w: %s: %s", ErrNoUserns, why, usernsRemedy())
	}
	maps := []idMap{
		{tool: "newuidmap", file: "/etc/subuid", own: os.Getuid()},
		{tool: "newgidmap", file: "/etc/subgid", own: os.Getgid()},
	}
	for i := range maps {
		if err := maps[i].prepare(me); err != nil {
			return nil, err
		}
	}
	return maps, nil
}

func (m *idMap) prepare(me *osuser.User) error {
	path, err := osexec.LookPath(m.tool)
	if err != nil {
		return fmt.Errorf("%w: %s is missing: install it (Debian, Ubuntu: apt-get install uidmap; Fedora: dnf install shadow-utils; Alpine: apk add shadow-uidmap; Arch: pacman -S shadow)", ErrNoUserns, m.tool)
	}
	m.tool = path
	m.ranges, err = user.ParseSubIDFileFilter(m.file, func(s user.SubID) bool {
		return s.Name == me.Username || s.Name == me.Uid
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNoUserns, err)
	}
	var n int64
	for _, r := range m.ranges {
		n += r.Count
	}
	const least = 65536 // IDs that images use
	if n < least-1 {
		return fmt.Errorf("%w: %s grants %s %d subordinate IDs, and images need %d: as root, usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s (with a range that nobody else has)",
			ErrNoUserns, m.file, me.Username, n, least, me.Username)
	}
	return nil
}

// write maps the namespace of pid.
func (m *idMap) write(pid int) error {
	args := []string{strconv.Itoa(pid), "0", strconv.Itoa(m.own), "1"}
	next := int64(1)
	for _, r := range m.ranges {
		args = append(args, strconv.FormatInt(next, 10), strconv.FormatInt(r.SubID, 10), strconv.FormatInt(r.Count, 10))
		next += r.Count
	}
	out, err := osexec.Command(m.tool, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s failed (%s)%s", ErrNoUserns, m.tool, strings.TrimSpace(string(out)), m.notSetuid())
}

// notSetuid explains the commonest reason for a failure of the tool.
func (m *idMap) notSetuid() string {
	fi, err := os.Stat(m.tool)
	if err != nil || fi.Mode()&os.ModeSetuid != 0 {
		return ""
	}
	return fmt.Sprintf(": it is not setuid root: as root, chmod u+s %s (where it has file capabilities instead, the file system may have lost them)", m.tool)
}

// usernsOff says which setting of the system keeps ordinary users from making
// user namespaces; "" is none.
func usernsOff(proc string) string {
	for _, s := range []struct{ file, name string }{
		{"sys/user/max_user_namespaces", "user.max_user_namespaces is 0"},
		{"sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone is 0"},
	} {
		if readLine(filepath.Join(proc, s.file)) == "0" {
			return s.name
		}
	}
	if _, err := os.Stat(filepath.Join(proc, "self/ns/user")); err != nil {
		return "this kernel has no user namespaces"
	}
	return ""
}

func usernsRemedy() string {
	if readLine("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
		return "as root, sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give kiln an AppArmor profile that allows userns; or run kiln as root, or name a builder with --builder"
	}
	return "as root, sysctl -w user.max_user_namespaces=28633 (and kernel.unprivileged_userns_clone=1 where that exists); or run kiln as root, or name a builder with --builder"
}

func readLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	return strings.TrimSpace(line)
}
