//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Sweeping. An engine that was killed leaves RUN processes, mounts, and the
// directories and files of its containers behind. Whoever holds the state
// directory's lock may clear them away; there is then no engine that could
// need them.

// sweep clears away what is left below root. The runtime forgets its
// containers too; "" leaves that out. Where nothing is left it costs a
// millisecond.
func sweep(ctx context.Context, root, ociRuntime string) error {
	left := bundles(root)
	if len(left) > 0 {
		if err := killLeft(ctx, root); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return nil // the rest is for the user namespace's root
	}
	for _, bundle := range left {
		if ociRuntime != "" {
			// Fails where the runtime has no such container: it was not begun, or ended.
			osexec.CommandContext(ctx, ociRuntime, "delete", "--force", filepath.Base(bundle)).Run()
		}
	}
	if err := unmountBelow(root); err != nil {
		return err
	}
	for _, path := range append(below(root, "runc-*/executor/*"), filepath.Join(root, "tmp")) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// A place is a directory as mountinfo tells it: a device, and a path in it.
type place struct {
	major, minor int
	path         string
}

// placeOf finds the place of dir: mounts of it in other namespaces show the
// same.
func placeOf(dir string) (place, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return place{}, err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(dir))
	if err != nil {
		return place{}, err
	}
	if len(mounts) == 0 {
		return place{}, fmt.Errorf("no mount holds %s", dir)
	}
	m := slices.MaxFunc(mounts, func(a, b *mountinfo.Info) int {
		if d := len(a.Mountpoint) - len(b.Mountpoint); d != 0 {
			return d
		}
		return a.ID - b.ID
	})
	rel, err := filepath.Rel(m.Mountpoint, dir)
	return place{m.Major, m.Minor, filepath.Join(m.Root, rel)}, err
}

// holds reports whether m mounts something from below p.
func (p place) holds(m *mountinfo.Info) bool {
	return m.Major == p.major && m.Minor == p.minor && strings.HasPrefix(m.Root, p.path+"/")
}

// killLeft kills the processes of containers below root and waits until they
// are gone. They are known by their mounts: BuildKit gives each container
// /etc/hosts and /etc/resolv.conf from its executor's directory, whatever the
// runtime, the snapshotter and the user namespace.
func killLeft(ctx context.Context, root string) error {
	at, err := placeOf(root)
	if err != nil {
		return err
	}
	mine := func(m *mountinfo.Info) bool {
		return (m.Mountpoint == "/etc/hosts" || m.Mountpoint == "/etc/resolv.conf") && at.holds(m)
	}
	for {
		pids, err := processesWith(mine)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill the process %d of a RUN step that outlived its engine: %w", pid, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes of RUN steps that outlived their engine don't end: %v: %w", pids, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// processesWith lists the processes that have a mount of a kind.
func processesWith(kind func(*mountinfo.Info) bool) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		f, err := os.Open(filepath.Join("/proc", e.Name(), "mountinfo"))
		if err != nil {
			continue // gone, or another user's
		}
		mounts, err := mountinfo.GetMountsFromReader(f, func(m *mountinfo.Info) (skip, stop bool) {
			is := kind(m)
			return !is, is
		})
		f.Close()
		if err == nil && len(mounts) > 0 { // reading fails for a process that just ended
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// unmountBelow takes away the mounts that are below root or show something of
// it elsewhere, last mounted first.
func unmountBelow(root string) error {
	at, err := placeOf(root)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		mine := strings.HasPrefix(m.Mountpoint, real+"/") || isTemporary(m) && (at.holds(m) || overlays(m, real))
		return !mine, false
	})
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // it went with another
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}

// isTemporary reports whether m is one of the mounts that BuildKit makes in
// the system's temporary directory. Others, that a user made of our state, are
// not ours to take away.
func isTemporary(m *mountinfo.Info) bool {
	return strings.HasPrefix(filepath.Base(m.Mountpoint), "buildkit-mount") || strings.Contains(m.Mountpoint, "/containerd-mount")
}

func overlays(m *mountinfo.Info, root string) bool {
	return m.FSType == "overlay" && strings.Contains(m.VFSOptions, "="+root+"/")
}
