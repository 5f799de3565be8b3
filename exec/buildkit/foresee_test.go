package buildkit_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

// sentFiles records what a daemon asks for.
type sentFiles struct {
	mu    sync.Mutex
	files map[string]bool
}

func (s *sentFiles) add(dir, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[string]bool{}
	}
	s.files[filepath.Join(dir, path)] = true
}

func (s *sentFiles) sorted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.files))
}

// foreseen lists the files that Foresee says will be sent.
func foreseen(t *testing.T, s *session, own bool) (*buildkit.Foresight, []string) {
	t.Helper()
	f, err := buildkit.Foresee(t.Context(), s.graph(t), buildkit.ForeseeOptions{Dir: s.dir, Lower: s.opt.Lower, Frontend: s.opt.Frontend, Own: own})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range f.Outlooks {
		if o.Err != nil || o.Diags.HasErrors() || len(o.Unsure) > 0 {
			t.Fatalf("%s: %v, %v, %v", o.Target, o.Err, o.Diags, o.Unsure)
		}
	}
	var all sentFiles
	for _, u := range f.Uploads {
		if err := u.Walk(t.Context(), func(path string, _ int64) error { all.add(u.Dir, path); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return f, all.sorted()
}

// TestForesee: what Foresee says will be sent is what a daemon asks for that
// has none of it.
func TestForesee(t *testing.T) {
	tree := map[string]string{
		"Dockerfile": "ARG BASE=scratch\nFROM $BASE AS base\nARG N\nCOPY shared /shared\nCOPY svc/$N /svc\n\nFROM base AS unused\nCOPY unasked /\n\nFROM base\nCOPY --from=named dir /\nCOPY glob/*.txt /glob/\n",
		"shared/a":   "a", "shared/empty": "", "shared/deep/er/b": "bb", "shared/no": "n",
		"unasked/big": "u", "glob/a.txt": "t", "glob/b.bin": "b", "svc/0/f": "0", "svc/1/f": "1",
		".dockerignore": "shared/no\n**/*.swp\n", "shared/x.swp": "s",
		"named/dir/f": "f", "named/other": "o",
		"own.Dockerfile": "FROM scratch\nCOPY . /\n", "own.Dockerfile.dockerignore": "*\n!svc\n!shared/a\n",
		"late.Dockerfile": "FROM scratch\nCOPY unasked /\n",
	}
	named := []config.NamedSource{{Name: "named", From: local("named")}}
	for _, tt := range []struct {
		name    string
		opt     buildkit.Options
		targets []*config.Target
		want    string // "" leaves it to the daemon
	}{
		{"union", buildkit.Options{}, []*config.Target{
			{Name: "a", Args: kv("N", "0"), Contexts: named, Outputs: cacheOnly},
			{Name: "b", Args: kv("N", "1"), Contexts: named, Outputs: cacheOnly},
		}, "glob/a.txt named/dir/f shared/a shared/deep/er/b shared/empty svc/0/f svc/1/f"},
		{"stage", buildkit.Options{}, []*config.Target{{Name: "a", Args: kv("N", "0"), Stage: "unused", Outputs: cacheOnly}},
			"shared/a shared/deep/er/b shared/empty svc/0/f unasked/big"},
		{"lists", buildkit.Options{}, []*config.Target{
			{Name: "a", Args: kv("N", "0"), Stage: "base", Outputs: cacheOnly},
			{Name: "own", Dockerfile: "own.Dockerfile", Outputs: cacheOnly},
		}, ""},
		{"daemon's frontend", buildkit.Options{Frontend: true}, []*config.Target{
			{Name: "a", Args: kv("N", "0"), Contexts: named, Outputs: cacheOnly},
			{Name: "own", Dockerfile: "own.Dockerfile", Outputs: cacheOnly},
			{Name: "inline", DockerfileInline: "FROM scratch\nCOPY glob/b.bin /\n", Outputs: cacheOnly},
		}, ""},
		{"inline", buildkit.Options{}, []*config.Target{{Name: "inline", DockerfileInline: "FROM scratch\nCOPY glob/b.bin /\n", Outputs: cacheOnly}}, "glob/b.bin"},
		{"after", buildkit.Options{}, []*config.Target{
			{Name: "first", DockerfileInline: "FROM scratch\nCOPY glob/b.bin /\n", Outputs: cacheOnly},
			{Name: "late", Dockerfile: "late.Dockerfile", DependsOn: []config.Ref{{Name: "first"}}, Outputs: cacheOnly},
		}, "glob/b.bin unasked/big"},
		{"cache exported", buildkit.Options{}, []*config.Target{
			{Name: "a", Args: kv("N", "0"), Stage: "base", Outputs: cacheOnly, CacheTo: []config.Cache{{Type: "local", Attrs: kv("dest", "out")}}},
		}, "shared/a shared/deep/er/b shared/empty svc/0/f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := files(t, t.TempDir(), tree)
			if err := os.Link(filepath.Join(dir, "shared/a"), filepath.Join(dir, "shared/hard")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("svc", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			s := &session{dir: dir, targets: tt.targets, opt: tt.opt}
			_, got := foreseen(t, s, false)
			sent := &sentFiles{}
			s.opt.Sent = sent.add
			s.must(t)
			if diff := cmp.Diff(sent.sorted(), got); diff != "" {
				t.Errorf("the daemon asked for (-), foreseen was (+):\n%s", diff)
			}
			var rel []string
			for _, path := range got {
				r, _ := filepath.Rel(dir, path)
				rel = append(rel, r)
			}
			// Of the hard links shared/a and shared/hard the first is sent.
			if tt.want != "" && strings.Join(rel, " ") != tt.want {
				t.Errorf("foreseen were %v, want %v", rel, tt.want)
			}
		})
	}
}
