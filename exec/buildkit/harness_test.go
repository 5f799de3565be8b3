package buildkit_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/store"
	"github.com/kilnbuild/kiln/internal/testenv"
)

func TestMain(m *testing.M) {
	if helper := os.Getenv(dialStdio); helper != "" {
		os.Exit(dialStdioMain(helper))
	}
	os.Exit(testenv.Main(m))
}

// files writes a tree; a name that ends in "!" is executable.
func files(t testing.TB, dir string, tree map[string]string) string {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		mode := os.FileMode(0o644)
		path := filepath.Join(dir, strings.TrimSuffix(name, "!"))
		if strings.HasSuffix(name, "!") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(tree[name]), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// withBusybox copies a busybox into a context, for Dockerfiles that begin
// with busyboxLines.
func withBusybox(t testing.TB, dir string) string {
	t.Helper()
	data, err := os.ReadFile(testenv.Busybox(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

const busyboxLines = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n"

// A session is what a test says of a run.
type session struct {
	addr    string // "" is the package's engine
	dir     string
	targets []*config.Target
	names   []string // requested; none is all
	opt     buildkit.Options
	mode    exec.Mode
	jobs    int // most targets at once; 0 is no limit
	sink    exec.Sink
	conn    *buildkit.Conn
	wrap    func(exec.Solver) exec.Solver // around the solver of the daemon; nil is none
}

func local(path string) config.Source { return config.Local{Path: path} }

func from(name, target string) config.NamedSource {
	return config.NamedSource{Name: name, From: config.FromTarget{Target: target}}
}

func toDir(dir string) []config.Export { return []config.Export{{Type: "local", Dest: dir}} }

var cacheOnly = []config.Export{{Type: "cacheonly"}}

// graph links the targets.
func (s *session) graph(t testing.TB) *graph.Graph {
	t.Helper()
	for _, target := range s.targets {
		if target.Context == nil {
			target.Context = local(".")
		}
	}
	g, diags := graph.New(&config.Config{Targets: s.targets})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if len(s.names) > 0 {
		if g, diags = g.Select(s.names...); diags.HasErrors() {
			t.Fatal(diags)
		}
	}
	return g
}

func dial(t testing.TB, addr string) *buildkit.Conn {
	t.Helper()
	if addr == "" {
		addr = testenv.Engine(t)
	}
	conn, err := buildkit.Dial(t.Context(), buildkit.DialOptions{Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// run builds and returns the outcomes by name.
func (s *session) run(t testing.TB, ctx context.Context) (map[string]exec.Outcome, error) {
	t.Helper()
	g := s.graph(t)
	if s.conn == nil {
		s.conn = dial(t, s.addr)
	}
	s.opt.Dir = s.dir
	solver, err := buildkit.Open(ctx, s.conn, g, s.opt)
	if err != nil {
		return nil, err
	}
	defer solver.Close()
	var around exec.Solver = solver
	if s.wrap != nil {
		around = s.wrap(solver)
	}
	outcomes, err := exec.Run(ctx, g, exec.WithTimeouts(around, func(n *graph.Node) time.Duration { return n.Target.Timeout }), exec.Options{Jobs: s.jobs, Mode: s.mode, Sink: s.sink})
	out := map[string]exec.Outcome{}
	for _, o := range outcomes {
		out[o.Node.Name()] = o
	}
	return out, err
}

// must builds, and fails the test if anything fails.
func (s *session) must(t testing.TB) map[string]exec.Outcome {
	t.Helper()
	out, err := s.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t testing.TB, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A recorder keeps the events of a run.
type recorder struct {
	mu     sync.Mutex
	events []exec.Event
}

func (r *recorder) Event(e exec.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// of returns the events of a kind.
func (r *recorder) of(kind exec.EventKind) []exec.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []exec.Event
	for _, e := range r.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// log returns all that the steps of a node printed.
func (r *recorder) log(node string) string {
	var b strings.Builder
	for _, e := range r.of(exec.Log) {
		if e.Node == node {
			b.Write(e.Log)
		}
	}
	return b.String()
}

// newStore opens an image store in a new directory.
func newStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// blob reads a blob of a store.
func blob(t testing.TB, s content.Store, desc ocispec.Descriptor) []byte {
	t.Helper()
	data, err := content.ReadBlob(t.Context(), s, desc)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
