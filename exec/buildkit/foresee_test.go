package buildkit_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	pushed := func(name string) *config.Target {
		return &config.Target{Name: "a", Args: kv("N", "0"), Stage: "base", Tags: []string{newCountingRegistry(t).host + "/" + name}, Outputs: []config.Export{{Type: "registry"}}}
	}
	attested := pushed("attested")
	attested.Attest = []config.Attestation{{Type: "provenance", Attrs: kv("mode", "max")}}
	provenance := buildkit.Options{Store: newStore(t), Lower: buildkit.LowerOptions{Provenance: true}}
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
		// The daemon's frontend reads the Dockerfile, once it is known that the registry lacks the image.
		{"pushed", provenance, []*config.Target{pushed("plain")}, ".dockerignore Dockerfile shared/a shared/deep/er/b shared/empty svc/0/f"},
		{"attested", provenance, []*config.Target{attested}, ".dockerignore Dockerfile shared/a shared/deep/er/b shared/empty svc/0/f"},
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
			_, got := foreseen(t, s, tt.opt.Store != nil)
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

// TestForeseeBases: what a Dockerfile is built from, with the values of its
// arguments, the lines, and the named contexts that are read instead.
func TestForeseeBases(t *testing.T) {
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, tt := range []struct{ file, stage, want, args string }{
		{"FROM scratch\n", "", "", ""},
		{"FROM alpine\n", "", "docker.io/library/alpine:latest:1", ""},
		{"FROM alpine" + digest + "\n", "", "docker.io/library/alpine" + digest + ":1 pinned", ""},
		{"ARG V=1\nARG IMAGE=r.example.com/x:$V\nARG OTHER=o\nFROM ${IMAGE}\n", "", "r.example.com/x:1:4", "V=1 IMAGE=r.example.com/x:1"},
		{"ARG GO=1\nFROM golang:$GO\n", "", "docker.io/library/golang:9:2", "GO=9"},
		{"FROM --platform=$BUILDPLATFORM alpine\n", "", "docker.io/library/alpine:latest:1", ""},
		{"FROM alpine AS a\nFROM debian AS b\nFROM a\nCOPY --from=busybox:1 /x /y\n", "", "docker.io/library/alpine:latest:1 docker.io/library/busybox:1:4", ""},
		{"FROM alpine AS a\nFROM debian AS b\nFROM a\nCOPY --from=busybox:1 /x /y\n", "b", "docker.io/library/debian:latest:2", ""},
		{"FROM alpine AS a\nFROM scratch\nRUN --mount=from=a,target=/m --mount=from=debian,target=/d true\n", "", "docker.io/library/alpine:latest:1 docker.io/library/debian:latest:3", ""},
		{"FROM named\nCOPY --from=named / /\n", "", "named:1=named", ""},
		{"FROM debian AS named\nRUN x\nFROM named\n", "", "named:1=named", ""},
		{"FROM image\n", "", "image:1=image docker.io/library/alpine:3", ""},
		{"FROM nosuch AS unused\nFROM scratch\n", "", "", ""},
	} {
		dir := files(t, t.TempDir(), map[string]string{"Dockerfile": tt.file, "named/f": "f"})
		s := &session{dir: dir, targets: []*config.Target{{Name: "a", Stage: tt.stage, Args: kv("GO", "9"), Contexts: []config.NamedSource{
			{Name: "named", From: local("named")}, {Name: "image", From: config.Image{Ref: "alpine:3"}},
		}}}}
		f, _ := foreseen(t, s, true)
		var got, args []string
		for _, b := range f.Outlooks[0].Bases {
			text := b.Ref
			if b.Line > 0 {
				text += ":" + strconv.Itoa(b.Line)
			}
			if b.Pinned {
				text += " pinned"
			}
			if b.Context != "" {
				text += "=" + b.Context
			} else if len(b.Platforms) != 1 {
				t.Errorf("%q: %s is looked up for %v", tt.file, b.Ref, b.Platforms)
			}
			got = append(got, text)
		}
		for _, kv := range f.Outlooks[0].Dockerfile.FromArgs {
			args = append(args, kv.Key+"="+kv.Value)
		}
		if strings.Join(got, " ") != tt.want || strings.Join(args, " ") != tt.args {
			t.Errorf("%q: got %v, %v, want %s, %s", tt.file, got, args, tt.want, tt.args)
		}
	}
}

// TestForeseeAfter: what a target waits for may make what it reads. That is
// no failure, and it is said.
func TestForeseeAfter(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	after := []config.Ref{{Name: "gen"}}
	s := &session{dir: dir, targets: []*config.Target{
		{Name: "gen", Outputs: toDir("out")},
		{Name: "new", Context: local("out"), DependsOn: after},
		{Name: "there", DependsOn: after},
		{Name: "next", Contexts: []config.NamedSource{from("there", "there")}},
		{Name: "other", DependsOn: []config.Ref{{Name: "next"}}},
		{Name: "plain"},
	}}
	f, err := buildkit.Foresee(t.Context(), s.graph(t), buildkit.ForeseeOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, o := range f.Outlooks {
		if o.Err != nil {
			t.Errorf("%s: %v", o.Target, o.Err)
		}
		got[o.Target] = strings.Join(o.Unsure, "; ")
	}
	const writes = "a target that it waits for writes out, where it reads"
	want := map[string]string{"gen": "", "new": "as it is now, the context \"out\" does not exist", "there": writes, "next": writes, "other": writes, "plain": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
