//go:build linux

package engine

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/util/disk"
	"github.com/moby/buildkit/util/network/cniprovider"
	"github.com/moby/buildkit/util/network/netproviders"
	"github.com/moby/buildkit/version"
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/runc"
	"github.com/moby/sys/userns"
	"golang.org/x/sync/semaphore"
)

// newWorker makes the worker that runs RUN steps. The seccomp profile
// is BuildKit's default; AppArmor's and SELinux's are never asked for, since
// asking fails where the kernel lacks them.
func newWorker(ctx context.Context, o Options, ociRuntime string, hosts docker.RegistryHosts) (*base.Worker, error) {
	rootless := userns.RunningInUserNS()
	network := netproviders.Opt{Mode: "auto", CNI: cniprovider.Opt{
		Root:       o.root(),
		ConfigPath: "/etc/buildkit/cni.json",
		BinaryDir:  "/opt/cni/bin",
	}}
	if rootless {
		network.Mode = "host"
	}
	opt, err := runc.NewWorkerOpt(o.root(), snapshotter(ctx, o.root()), rootless, oci.ProcessSandbox, nil, nil,
		network, nil, ociRuntime, "", false, semaphore.NewWeighted(int64(steps(o))), "", "", nil)
	if err != nil {
		return nil, err
	}
	if err := mendSources(ctx, opt.MetadataStore); err != nil {
		return nil, err
	}
	opt.RegistryHosts = hosts
	opt.BuildkitVersion = client.BuildkitVersion{Package: version.Package, Version: version.Version, Revision: version.Revision}
	if opt.GCPolicy, err = gcPolicy(o); err != nil {
		return nil, err
	}
	return base.NewWorker(ctx, opt)
}

func steps(o Options) int {
	if o.Steps > 0 {
		return o.Steps
	}
	return max(runtime.NumCPU(), 4) // many a step waits for the network
}

// snapshotter is overlayfs where the kernel and the file system allow it.
func snapshotter(ctx context.Context, root string) runc.SnapshotterFactory {
	name, open := "overlayfs", func(dir string) (snapshots.Snapshotter, error) {
		return overlay.NewSnapshotter(dir, overlay.AsynchronousRemove)
	}
	if err := overlayutils.Supported(root); err != nil {
		name, open = "native", native.NewSnapshotter
	}
	return runc.SnapshotterFactory{Name: name, New: func(dir string) (snapshots.Snapshotter, error) {
		if err := mendSnapshots(ctx, dir); err != nil {
			return nil, err
		}
		return open(dir)
	}}
}

func gcPolicy(o Options) ([]client.PruneInfo, error) {
	limit, total, err := cacheSize(o)
	if err != nil {
		return nil, err
	}
	var list []client.PruneInfo
	for _, r := range gcRules(limit, total) {
		list = append(list, client.PruneInfo{
			Filter: r.filters, All: r.internal, KeepDuration: r.keep,
			ReservedSpace: r.reserved, MaxUsedSpace: r.most, MinFreeSpace: r.free,
		})
	}
	return list, nil
}

// cacheSize is what the cache may take, and the size of the disk.
func cacheSize(o Options) (limit, total int64, err error) {
	st, err := disk.GetDiskStat(o.root())
	if err != nil {
		return 0, 0, err
	}
	return cacheLimit(o.CacheMax, st.Total), st.Total, nil
}

// leastFree is what the engine wants free on its disk to begin: its databases
// alone take a few MB, and a write that fails in the middle of one is worse
// than a refusal.
const leastFree = 16 << 20

func checkRoom(o Options) error {
	st, err := disk.GetDiskStat(o.root())
	if err != nil {
		return err
	}
	free := st.Available
	if os.Geteuid() == 0 {
		free = st.Free
	}
	if free < leastFree {
		return fmt.Errorf("%w: only %d MB are free in %s, and the engine needs %d MB to begin: free some space there, or set KILN_STATE_DIR to a directory on another disk",
			ErrDiskFull, free>>20, o.StateDir, leastFree>>20)
	}
	return nil
}
