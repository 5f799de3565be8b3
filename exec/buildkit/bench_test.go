package buildkit_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// monorepo is one directory of 200 services, which one Dockerfile builds.
func monorepo(t testing.TB, n int) (string, []*config.Target) {
	tree := map[string]string{}
	for i := range 50 {
		tree[fmt.Sprintf("shared/f%02d", i)] = fmt.Sprint("shared ", i)
	}
	var targets []*config.Target
	for i := range n {
		name := fmt.Sprintf("s%03d", i)
		for j := range 10 {
			tree[fmt.Sprintf("svc/%s/f%d", name, j)] = fmt.Sprint(name, j)
		}
		targets = append(targets, &config.Target{Name: name, Args: kv("NAME", name)})
	}
	tree["Dockerfile"] = busyboxLines + "COPY shared /shared\nARG NAME\nCOPY svc/$NAME /svc\nRUN echo $NAME > /name\n"
	return withBusybox(t, files(t, t.TempDir(), tree)), targets
}

// cpu returns the CPU time that a process has used.
func cpu(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	sys, _ := strconv.Atoi(f[12])
	return time.Duration(user+sys) * 10 * time.Millisecond
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCached builds 200 targets whose steps are all cached, with and
// without an export to the store, on an engine of its own.
func BenchmarkCached(b *testing.B) {
	d := testenv.Start(b)
	dir, targets := monorepo(b, 200)
	st := newStore(b)
	for _, bench := range []struct {
		name string
		opt  buildkit.Options
	}{
		{"solve", buildkit.Options{}},
		{"store", buildkit.Options{Store: st}},
		{"solve-frontend", buildkit.Options{Frontend: true}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := &session{addr: d.Addr, dir: dir, targets: targets, opt: bench.opt}
			s.must(b) // fills the cache
			s.conn = nil
			client, daemon := ownCPU(), cpu(d.PID)
			for b.Loop() {
				s.conn = nil
				s.must(b)
			}
			n := float64(b.N)
			b.ReportMetric((ownCPU()-client).Seconds()/n, "client-cpu-s/op")
			b.ReportMetric((cpu(d.PID)-daemon).Seconds()/n, "daemon-cpu-s/op")
		})
	}
}
