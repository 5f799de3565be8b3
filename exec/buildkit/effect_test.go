package buildkit_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/store"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// An effect is a test of one attribute, from the text of a build file to what
// a real daemon makes of it. It fails where the attribute gets lost on the way.
type effect struct {
	attr string // of the table of attributes, or several with spaces between
	name string // what of the attribute
	test func(*testing.T, *lab)
}

// effects are the tests of all attributes, in the files effect_*_test.go.
func effects() []effect {
	return slices.Concat(targetEffects(), sourceEffects(), imageEffects(), outputEffects(), stepEffects(), cacheEffects())
}

// TestEffects walks the table of attributes: each has at least one test, and
// each test passes with the frontend in kiln and with the daemon's.
func TestEffects(t *testing.T) {
	shown := map[string]bool{}
	for _, e := range effects() {
		for attr := range strings.FieldsSeq(e.attr) {
			shown[attr] = true
		}
	}
	for _, a := range config.Attributes() {
		if !shown[a.Name] {
			t.Errorf("no test shows that the attribute %q takes effect", a.Name)
		}
		delete(shown, a.Name)
	}
	if len(shown) > 0 {
		t.Errorf("there are tests of attributes that there are not: %v", shown)
	}
	other := sync.OnceValue(func() string { return testenv.Start(t).Addr })
	for _, e := range effects() {
		for _, path := range []string{"kiln", "daemon"} {
			t.Run(strings.ReplaceAll(e.attr, " ", ",")+"/"+e.name+"/"+path, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, path == "daemon")
				l.other = other
				e.test(t, l)
			})
		}
	}
}

// A lab is a directory with a build file, and what its builds are given.
type lab struct {
	dir   string
	addr  string        // "" is the package's engine
	other func() string // starts another engine, at the first call, and returns its address
	env   []string
	jobs  int
	sink  exec.Sink
	opt   buildkit.Options
	store *store.Store
}

// prelude begins every build file of a lab: sh is a Dockerfile's beginning
// that has a shell.
const prelude = `variable "sh" { default = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n" }
`

func newLab(t *testing.T, frontend bool) *lab {
	t.Helper()
	l := &lab{dir: withBusybox(t, t.TempDir()), store: newStore(t)}
	l.opt = buildkit.Options{Store: l.store, Frontend: frontend, Lower: buildkit.LowerOptions{Platform: "linux/amd64"}}
	return l
}

// files writes files into the lab's directory.
func (l *lab) files(t *testing.T, tree map[string]string) { t.Helper(); files(t, l.dir, tree) }

// read returns a file of the lab's directory.
func (l *lab) read(t *testing.T, path string) string {
	t.Helper()
	return read(t, l.dir, path)
}

// build builds the targets of a build file; without names, all.
func (l *lab) build(t *testing.T, hcl string, names ...string) (map[string]exec.Outcome, error) {
	t.Helper()
	cfg, diags := config.Load([]config.File{{Name: "build.hcl", Data: []byte(prelude + hcl)}}, config.Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if len(names) == 0 {
		for _, target := range cfg.Targets {
			names = append(names, target.Name)
		}
	}
	s := &session{addr: l.addr, dir: l.dir, targets: cfg.Targets, names: names, opt: l.opt, jobs: l.jobs, sink: l.sink}
	s.opt.Getenv = env(l.env...)
	return s.run(t, t.Context())
}

// must builds, and fails the test if anything fails.
func (l *lab) must(t *testing.T, hcl string, names ...string) map[string]exec.Outcome {
	t.Helper()
	out, err := l.build(t, hcl, names...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// refused builds, which has to fail with want in what it says.
func (l *lab) refused(t *testing.T, want, hcl string) {
	t.Helper()
	if _, err := l.build(t, hcl); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want %q in it", err, want)
	}
}

// image returns an image of the store with its configuration.
func (l *lab) image(t *testing.T, ref string) (ocispec.Manifest, ocispec.Image) {
	t.Helper()
	desc, err := l.store.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return imageOf(t, l.store, desc)
}

// contents compares files of the lab's directory with what they should hold.
func (l *lab) contents(t *testing.T, want map[string]string) {
	t.Helper()
	for path, text := range want {
		got, err := os.ReadFile(filepath.Join(l.dir, path))
		if err != nil || strings.TrimSuffix(string(got), "\n") != text {
			t.Errorf("%s holds %q, %v; want %q", path, got, err, text)
		}
	}
}

// absent checks that there is no such file in the lab's directory.
func (l *lab) absent(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(l.dir, path)); err == nil {
		t.Errorf("there is a file %s", path)
	}
}

// targetEffects are those of the attributes that make targets and their order.
func targetEffects() []effect {
	files := map[string]string{"one": "1", "two": "2"}
	const dockerfile = `dockerfile-inline = "FROM scratch\nARG V\nCOPY $V /got\n"`
	expect := func(hcl string, want map[string]string) func(*testing.T, *lab) {
		return func(t *testing.T, l *lab) {
			l.files(t, files)
			l.must(t, strings.ReplaceAll(hcl, "DOCKERFILE", dockerfile))
			l.contents(t, want)
		}
	}
	return []effect{
		{"name", "instances", expect(`target "m" {
				name = "m-${v}"
				matrix = { v = ["one", "two"] }
				args = { V = v }
				DOCKERFILE
				output = ["out/${v}"]
			}
			target "reader" {
				contexts = { m = "target:m-two" }
				dockerfile-inline = "FROM m\n"
				output = ["out/reader"]
			}`, map[string]string{"out/one/got": "1", "out/two/got": "2", "out/reader/got": "2"})},
		{"matrix", "two axes", expect(`target "m" {
				name = "m-${v}-${w}"
				matrix = { v = ["one", "two"], w = ["x", "y"] }
				args = { V = v }
				DOCKERFILE
				output = ["out/${v}${w}"]
			}`, map[string]string{"out/onex/got": "1", "out/oney/got": "1", "out/twox/got": "2", "out/twoy/got": "2"})},
		{"variants", "list and block", expect(`variant "prod" { args = { V = "one" } }
			target "v" {
				variants = ["prod"]
				variant "dev" { args = { V = "two" } }
				DOCKERFILE
				output = ["out/${variant}"]
			}`, map[string]string{"out/prod/got": "1", "out/dev/got": "2"})},
		{"inherits", "later parents win", expect(`target "p1" {
				args = { V = "one" }
				DOCKERFILE
				output = ["type=cacheonly"]
			}
			target "p2" {
				args = { V = "two" }
				DOCKERFILE
				output = ["type=cacheonly"]
			}
			target "c" {
				inherits = ["p1", "p2"]
				output = ["out"]
			}`, map[string]string{"out/got": "2"})},
		{"depends-on", "reads what was exported", expect(`target "maker" {
				dockerfile-inline = "FROM scratch\nCOPY one /made\n"
				output = ["gen"]
			}
			target "user" {
				depends-on = ["maker"]
				context = "gen"
				dockerfile-inline = "FROM scratch\nCOPY made /got\n"
				output = ["out"]
			}`, map[string]string{"out/got": "1"})},
		{"weight", "against the limit of jobs", weightEffect},
		{"timeout", "ends a step", func(t *testing.T, l *lab) {
			l.refused(t, "500ms", `target "t" {
				timeout = "500ms"
				dockerfile-inline = "${sh}RUN echo `+t.Name()+`; sleep 60\n"
			}`)
		}},
		{"description", "stays with the outcome", func(t *testing.T, l *lab) {
			// What is made of it (lists, --call) is in the script tests.
			out := l.must(t, `target "d" {
				description = "what it is for"
				dockerfile-inline = "FROM scratch\n"
			}`)
			if got := out["d"].Node.Target.Description; got != "what it is for" {
				t.Errorf("the description is %q", got)
			}
		}},
	}
}

// weightEffect builds targets of which any two are too heavy to be built at once.
func weightEffect(t *testing.T, l *lab) {
	r := &recorder{}
	l.jobs, l.sink = 3, r
	l.must(t, `target "t" {
		name = "t${n}"
		matrix = { n = [1, 2, 3] }
		weight = 2
		dockerfile-inline = "${sh}RUN echo `+t.Name()+`${n}; sleep 0.1\n"
	}`)
	var steps []*exec.Vertex
	seen := map[string]bool{}
	for _, e := range r.of(exec.VertexKind) {
		if v := e.Vertex; strings.Contains(v.Name, "RUN") && !v.Completed.IsZero() && !seen[v.Digest] {
			seen[v.Digest] = true
			steps = append(steps, v)
		}
	}
	if len(steps) != 3 {
		t.Errorf("%d steps ran, want 3", len(steps))
	}
	for i, a := range steps {
		for _, b := range steps[:i] {
			if a.Started.Before(b.Completed) && b.Started.Before(a.Completed) {
				t.Errorf("%s and %s ran at once", a.Name, b.Name)
			}
		}
	}
}

// TestEffectOrder: of targets with depends-on, each begins after the exports
// of those that it waits for.
func TestEffectOrder(t *testing.T) {
	r := &recorder{}
	l := newLab(t, false)
	l.sink = r
	l.must(t, `target "t" {
		name = "t${n}"
		matrix = { n = [1, 2, 3, 4] }
		depends-on = n == 1 ? [] : ["t${n - 1}"]
		dockerfile-inline = "FROM scratch\nLABEL n=${n}\n"
		output = ["type=oci,dest=out/${n}.tar"]
	}`)
	var order []string
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == exec.Started || e.Kind == exec.Finished {
			order = append(order, e.Node+" "+string(e.Kind))
		}
	}
	var want []string
	for _, n := range []string{"t1", "t2", "t3", "t4"} {
		want = append(want, n+" started", n+" finished")
	}
	if !slices.Equal(order, want) {
		t.Errorf("the order is %q", order)
	}
}
