package buildkit

import (
	"context"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/kilnbuild/kiln/exec"
)

// What passes by of a transfer is a list of its files, with a checksum of
// those whose content was asked for; two transfers of a directory are one list.
func TestTrailOfUploads(t *testing.T) {
	trail := &Trail{}
	stat := func(path string, size int64) *fstypes.Packet {
		return &fstypes.Packet{Type: fstypes.PACKET_STAT, Stat: &fstypes.Stat{Path: path, Mode: 0o644, Size: size, ModTime: 5}}
	}
	data := func(id uint32, text string) *fstypes.Packet {
		return &fstypes.Packet{Type: fstypes.PACKET_DATA, ID: id, Data: []byte(text)}
	}
	first, ok := trail.noted(nil, "/ctx").(notedDir)
	if !ok {
		t.Fatal("the directory is not noted")
	}
	u := first.begin()
	for _, p := range []*fstypes.Packet{stat("b", 5), stat("a", 0), {Type: fstypes.PACKET_STAT}, data(0, "he"), data(1, ""), data(0, "llo"), data(0, ""), data(99, "x")} {
		u.packet(p)
	}
	again := first.begin()
	for _, p := range []*fstypes.Packet{stat("a", 0), stat("c", 1)} {
		again.packet(p)
	}
	sum := crc32.Checksum([]byte("hello"), castagnoli())
	want := []exec.Listing{{Dir: "/ctx", Files: []exec.ListedFile{
		{Path: "a", Mode: 0o644, Time: 5, Check: emptyCheck}, {Path: "b", Mode: 0o644, Size: 5, Time: 5, Check: sum}, {Path: "c", Mode: 0o644, Size: 1, Time: 5},
	}}}
	if diff := cmp.Diff(want, trail.Listings()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var nothing *Trail
	if nothing.noted(nil, "/ctx") != nil || nothing.Listings() != nil || nothing.Recipes() != nil {
		t.Error("a nil trail notes something")
	}
	(*upload)(nil).packet(stat("a", 1))
}

// A recipe says what a step is made of, and hides what is secret.
func TestTrailOfSteps(t *testing.T) {
	base := llb.Image("docker.io/library/alpine:3")
	run := base.Dir("/src").AddEnv("MODE", "fast").AddEnv("API_TOKEN", "correct-horse").
		Run(llb.Args([]string{"/bin/sh", "-c", "make correct-horse"}), llb.IgnoreCache, llb.AddMount("/cache", llb.Scratch(), llb.AsPersistentCacheDir("go", llb.CacheMountShared))).Root()
	copied := run.File(llb.Copy(llb.Local("here", llb.SharedKeyHint("x")), "/lib/*.c", "/lib/", &llb.CopyInfo{AllowWildcard: true}).Mkfile("/f", 0o600, []byte("text")))
	def, err := copied.Marshal(context.Background(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	s := &Solver{redact: newRedactor(), locals: newLocals(nil)}
	s.redact.add([]byte("correct-horse"))
	j := &job{name: "app", req: &Request{Dockerfile: "Dockerfile"}, mounts: map[string]*localDir{"here": {root: "/ctx"}}}
	trail := &Trail{}
	trail.claim(s, j, def.ToPB())
	trail.claim(s, j, def.ToPB())
	byKind := map[exec.RecipeKind]exec.Recipe{}
	for _, r := range trail.Recipes() {
		if diff := cmp.Diff([]string{"app"}, r.Targets); diff != "" || r.Digest == "" || r.Check == "" {
			t.Errorf("%+v", r)
		}
		byKind[r.Kind] = r
	}
	if len(byKind) != 4 {
		t.Fatalf("recipes: %+v", byKind)
	}
	ran := byKind[exec.RecipeRun]
	if ran.Command != "make xxxxx" || !ran.NoCache || ran.Env[0] != "MODE=fast" && ran.Env[1] != "MODE=fast" {
		t.Errorf("the command: %+v", ran)
	}
	if all := strings.Join(ran.Env, " "); strings.Contains(all, "correct") || !strings.Contains(all, "API_TOKEN=(hidden ") {
		t.Errorf("the environment: %s", all)
	}
	if diff := cmp.Diff([]string{"directory=/src", "mount /cache=cache go", "platform=linux/amd64", "shell=/bin/sh -c"}, ran.Settings); diff != "" {
		t.Error(diff)
	}
	if got := byKind[exec.RecipeImage].Source; got != "docker.io/library/alpine:3" {
		t.Errorf("the image: %s", got)
	}
	if got := byKind[exec.RecipeLocal].Source; got != "/ctx" {
		t.Errorf("the directory: %s", got)
	}
	file := byKind[exec.RecipeFile]
	if want := "copy /lib/*.c to /lib/\nwrite /f: 4 bytes"; !strings.HasPrefix(file.Command, want) {
		t.Errorf("the files: %q", file.Command)
	}
	want := []exec.RecipeInput{{Step: ran.Digest}, {Step: byKind[exec.RecipeLocal].Digest, Paths: []string{"/lib/*.c"}}}
	if diff := cmp.Diff(want, file.Inputs); diff != "" {
		t.Errorf("what is read (-want +got):\n%s", diff)
	}
}
