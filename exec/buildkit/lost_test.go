package buildkit_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// TestLostSteps has the daemon say that it has lost a step, as it does when
// another build of the step is given up in the wrong moment: the step is built
// without the cache, and no more than it is, where the daemon says which.
func TestLostSteps(t *testing.T) {
	t.Parallel()
	const lostB = "failed to compute cache key: failed to get state for index 0 on [2/3] RUN cat /proc/sys/kernel/random/uuid > /b"
	for _, tt := range []struct {
		name     string
		frontend bool
		times    int64 // that the daemon says so
		words    string
		anew     string // the files that are made anew
		warnings int
		err      string // "" is none
	}{
		{"a step", false, 1, lostB, "b", 1, ""},
		{"a step twice", false, 2, lostB, "a b", 2, ""},
		{"a step of another name", false, 1, "failed to get edge: inconsistent graph state in edge other sha256:0 0", "a b", 1, ""},
		{"at every time", false, 1 << 30, lostB, "", 2, lostB},
		{"in a frontend", true, 1, lostB, "a b", 1, ""},
		{"in a frontend at every time", true, 1 << 30, lostB, "", 1, lostB},
		{"nothing", false, 1, "something else", "", 0, "something else"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// The base is another target's, and stays as it is.
			dir := files(t, withBusybox(t, t.TempDir()), map[string]string{
				"base":       busyboxLines + "ARG N\nRUN cat /proc/sys/kernel/random/uuid > /base\n",
				"Dockerfile": "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /a\nRUN cat /proc/sys/kernel/random/uuid > /b\n",
			})
			var left atomic.Int64
			addr := testenv.Engine(t)
			conn := dial(t, addr)
			err := conn.Intercept(t.Context(), addr, func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				if r, ok := req.(*gatewaypb.SolveRequest); ok && asksForB(r) && left.Add(-1) >= 0 {
					return grpcstatus.Error(codes.Unknown, tt.words)
				}
				return invoke(ctx, method, req, reply, cc, opts...)
			})
			if err != nil {
				t.Fatal(err)
			}
			rec := &recorder{}
			s := &session{dir: dir, conn: conn, sink: rec, opt: buildkit.Options{Frontend: tt.frontend}, targets: []*config.Target{
				{Name: "base", Dockerfile: "base", Args: kv("N", t.Name())},
				{Name: "app", Contexts: []config.NamedSource{from("base", "base")}, Outputs: toDir("out")},
			}}
			contents := func() map[string]string {
				return map[string]string{"base": read(t, dir, "out/base"), "a": read(t, dir, "out/a"), "b": read(t, dir, "out/b")}
			}
			s.must(t)
			before := contents()
			left.Store(tt.times)
			_, err = s.run(t, t.Context())
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error is %v, want %q", err, tt.err)
				}
			case err != nil:
				t.Error(err)
			}
			if left.Load() == tt.times {
				t.Error("nothing was lost")
			}
			for name, now := range contents() {
				if anew := now != before[name]; anew != (strings.Contains(" "+tt.anew+" ", " "+name+" ")) {
					t.Errorf("%s was made anew: %t", name, anew)
				}
			}
			var told []exec.Event
			for _, w := range rec.of(exec.Warning) {
				if w.Node == "app" && strings.Contains(string(w.Log), "the daemon has lost") {
					told = append(told, w)
				}
			}
			if len(told) != tt.warnings {
				t.Errorf("%d warnings, want %d: %+v", len(told), tt.warnings, told)
			}
		})
	}
}

// TestLostWords has a command say what the daemon says of lost steps: it has
// failed, and does not run again.
func TestLostWords(t *testing.T) {
	t.Parallel()
	dir := files(t, withBusybox(t, t.TempDir()), map[string]string{
		"Dockerfile": busyboxLines + "RUN echo ran; echo inconsistent graph state; : inconsistent graph state; exit 3\n",
	})
	rec := &recorder{}
	s := &session{dir: dir, sink: rec, targets: []*config.Target{{Name: "app", Outputs: cacheOnly}}}
	_, err := s.run(t, t.Context())
	if err == nil || !strings.Contains(err.Error(), "inconsistent graph state") || !strings.Contains(err.Error(), "exit code: 3") {
		t.Errorf("error is %v", err)
	}
	if n := strings.Count(rec.log("app"), "ran\n"); n != 1 || len(rec.of(exec.Warning)) > 0 {
		t.Errorf("the command ran %d times, warnings: %+v", n, rec.of(exec.Warning))
	}
}

// asksForB reports whether a request is for all of the app of TestLostSteps.
func asksForB(r *gatewaypb.SolveRequest) bool {
	if r.Frontend != "" {
		return len(r.FrontendInputs) > 0 // the base has none
	}
	for _, md := range r.Definition.GetMetadata() {
		if strings.HasSuffix(md.Description["llb.customname"], "> /b") {
			return r.Evaluate
		}
	}
	return false
}
