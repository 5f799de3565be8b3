package gitfacts

import (
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// isolated keeps the user's git configuration out of a test.
func isolated(t *testing.T) {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(t.TempDir()))
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+who+"_NAME", "Ann")
		t.Setenv("GIT_"+who+"_EMAIL", "ann@example.com")
		t.Setenv("GIT_"+who+"_DATE", "2026-01-02T03:04:05+01:00")
	}
}

// do runs git commands, one a line, in a directory; "write FILE [TEXT]"
// writes one.
func do(t *testing.T, dir, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		if args[0] == "write" {
			if err := os.WriteFile(filepath.Join(dir, args[1]), []byte(args[len(args)-1]), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		cmd := osexec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", line, err, out)
		}
	}
}

// facts returns all facts of a directory that has them.
func facts(t *testing.T, dir string) map[string]string {
	t.Helper()
	r := Open(context.Background(), dir)
	got := map[string]string{}
	for _, f := range Facts() {
		v, err := r.Fact(f.Name)
		if err != nil {
			v = "error: " + err.Error()
		}
		got[f.Name] = v
	}
	return got
}

const begin = `
init -q -b main
write a
add a
commit -q -m one
`

func TestFacts(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want         map[string]string // of the facts that are not the same in all cases
	}{
		{"clean", begin, map[string]string{"branch": "main", "tag": "", "describe": "SHORT", "dirty": "false"}},
		{"changed", begin + "write a changed\n", map[string]string{"branch": "main", "tag": "", "describe": "SHORT-dirty", "dirty": "true"}},
		{"new file", begin + "write b\n", map[string]string{"branch": "main", "tag": "", "describe": "SHORT", "dirty": "true"}},
		{"ignored file", begin + "write .git/info/exclude *\nwrite b\n", map[string]string{"branch": "main", "tag": "", "describe": "SHORT", "dirty": "false"}},
		{"detached", begin + "checkout -q --detach\n", map[string]string{"branch": "", "tag": "", "describe": "SHORT", "dirty": "false"}},
		{"tags", begin + "tag v1.9.0\ntag v1.10.0\n", map[string]string{"branch": "main", "tag": "v1.10.0", "describe": "v1.10.0", "dirty": "false"}},
		{"after a tag", begin + "tag -a -m t v1.0\nwrite b\nadd b\ncommit -q -m two\nswitch -q -c feature/x\n",
			map[string]string{"branch": "feature/x", "tag": "", "describe": "v1.0-1-gSHORT", "dirty": "false"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			isolated(t)
			dir := t.TempDir()
			do(t, dir, c.script)
			got := facts(t, dir)
			commit, short := got["commit"], got["short"]
			if len(commit) != 40 || len(short) < 4 || !strings.HasPrefix(commit, short) {
				t.Fatalf("commit %q, short %q", commit, short)
			}
			want := map[string]string{"commit": commit, "short": short, "time": "2026-01-02T02:04:05Z"}
			for name, v := range c.want {
				want[name] = strings.ReplaceAll(v, "SHORT", short)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestOtherWorkTrees(t *testing.T) {
	isolated(t)
	dir := t.TempDir()
	do(t, dir, begin+"tag v1\nworktree add -q -b side linked\n")
	if err := os.MkdirAll(filepath.Join(dir, "sub/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := facts(t, filepath.Join(dir, "sub/deep")); got["tag"] != "v1" || got["branch"] != "main" {
		t.Errorf("in a folder of the work tree: %v", got)
	}
	linked := filepath.Join(dir, "linked")
	if got := facts(t, linked); got["tag"] != "v1" || got["branch"] != "side" {
		t.Errorf("in a linked work tree: %v", got)
	}
	if info, err := Open(context.Background(), linked).Info(); err != nil || info.Root != real(t, linked) {
		t.Errorf("root %v %v", info, err)
	}
}

func real(t *testing.T, path string) string {
	t.Helper()
	p, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNoCommitYet(t *testing.T) {
	isolated(t)
	dir := t.TempDir()
	do(t, dir, "init -q -b trunk\nremote add origin https://ann:secret@example.com/x.git\n")
	got := facts(t, dir)
	for _, name := range []string{"commit", "short", "tag", "describe", "time"} {
		if got[name] != "error: the git repository has no commit yet" {
			t.Errorf("%s is %s", name, got[name])
		}
	}
	if got["branch"] != "trunk" || got["dirty"] != "false" {
		t.Errorf("got %v", got)
	}
	info, err := Open(context.Background(), dir).Info()
	if want := (Info{Source: "https://xxxxx:xxxxx@example.com/x.git", Root: real(t, dir)}); info != want || err != nil {
		t.Errorf("got %+v %v", info, err)
	}
}

func TestNoWorkTree(t *testing.T) {
	isolated(t)
	dir := t.TempDir()
	for _, bare := range []bool{false, true} {
		if bare {
			do(t, dir, "init -q --bare\n")
		}
		r := Open(context.Background(), dir)
		for _, f := range Facts() {
			if v, err := r.Fact(f.Name); !errors.Is(err, ErrNoWorkTree) || !strings.HasPrefix(err.Error(), dir+": this is not in a git work tree") {
				t.Errorf("bare %v, %s: %q %v", bare, f.Name, v, err)
			}
		}
		if _, err := r.Info(); !errors.Is(err, ErrNoWorkTree) {
			t.Errorf("info: %v", err)
		}
		if _, err := r.Dirty(); !errors.Is(err, ErrNoWorkTree) {
			t.Errorf("dirty: %v", err)
		}
	}
}

func TestUnknownFact(t *testing.T) {
	isolated(t)
	dir := t.TempDir()
	do(t, dir, begin)
	if v, err := Open(context.Background(), dir).Fact("colour"); err == nil || err.Error() != "there is no fact git.colour" {
		t.Errorf("%q %v", v, err)
	}
}

func TestGitMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if v, err := Open(context.Background(), t.TempDir()).Fact("commit"); !errors.Is(err, ErrNoGit) {
		t.Errorf("%q %v", v, err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the user has had enough")
	cancel(why)
	if v, err := Open(ctx, t.TempDir()).Fact("commit"); !errors.Is(err, why) {
		t.Errorf("%q %v", v, err)
	}
}

// Nothing is run before a fact is asked for, and no fact twice.
func TestLazy(t *testing.T) {
	isolated(t)
	dir := t.TempDir()
	do(t, dir, begin)
	bin, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	git, err := osexec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho \"$3\" >> " + log + "\nexec " + git + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o700); err != nil { //nolint:gosec // it has to run
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	r := Open(context.Background(), dir)
	if _, err := os.Stat(log); err == nil {
		t.Error("git ran before anything was asked")
	}
	for range 3 {
		for _, name := range []string{"commit", "short", "time"} {
			if _, err := r.Fact(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	ran, err := os.ReadFile(log)
	if want := "rev-parse\nrev-parse\nshow\n"; string(ran) != want || err != nil {
		t.Errorf("ran %q %v, want %q", ran, err, want)
	}
}

func TestInfo(t *testing.T) {
	for _, c := range []struct{ name, script, source string }{
		{"none", begin, ""},
		{"origin", begin + "remote add upstream u\nremote add origin git@example.com:x/y.git\n", "git@example.com:x/y.git"},
		{"upstream", begin + "remote add upstream https://example.com/u\n", "https://example.com/u"},
		{"followed", begin + "remote add origin o\nremote add mine https://tok@example.com/m\nconfig branch.main.remote mine\n", "https://xxxxx@example.com/m"},
		{"detached", begin + "remote add origin o\ncheckout -q --detach\n", "o"},
	} {
		t.Run(c.name, func(t *testing.T) {
			isolated(t)
			dir := t.TempDir()
			do(t, dir, c.script)
			r := Open(context.Background(), dir)
			info, err := r.Info()
			commit, _ := r.Fact("commit")
			if want := (Info{Revision: commit, Source: c.source, Root: real(t, dir)}); info != want || err != nil || commit == "" {
				t.Errorf("got %+v %v, want %+v", info, err, want)
			}
			if dirty, err := r.Dirty(); dirty || err != nil {
				t.Errorf("dirty %v %v", dirty, err)
			}
			do(t, dir, "write .git/info/exclude *\nwrite ignored\n")
			if dirty, err := Open(context.Background(), dir).Dirty(); !dirty || err != nil {
				t.Errorf("with an ignored file: dirty %v %v", dirty, err)
			}
		})
	}
}

func TestMasked(t *testing.T) {
	for address, want := range map[string]string{
		"https://example.com/x":            "https://example.com/x",
		"https://u:p@example.com/x":        "https://xxxxx:xxxxx@example.com/x",
		"https://u@example.com/x":          "https://xxxxx@example.com/x",
		"https://:p@example.com/x":         "https://:xxxxx@example.com/x",
		"https://u:%zz@example.com/x":      "https://xxxxx@example.com/x",
		"git@example.com:x/y.git":          "git@example.com:x/y.git",
		"../elsewhere":                     "../elsewhere",
		"ssh://git@example.com:22/x/y.git": "ssh://xxxxx@example.com:22/x/y.git",
	} {
		if got := masked(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// Files are what git keeps or would keep, relative to the directory.
func TestFiles(t *testing.T) {
	isolated(t)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a b", "c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir).Files(); !errors.Is(err, ErrNoWorkTree) {
		t.Errorf("outside of a work tree: %v", err)
	}
	do(t, dir, `
		init -q
		write .gitignore *.log
		write top x
		write x.log x
	`)
	do(t, filepath.Join(dir, "a b"), `
		write kept x
		add kept
		write new x
		write c/deep x
		write y.log x
	`)
	for sub, want := range map[string][]string{".": {".gitignore", "a b/c/deep", "a b/kept", "a b/new", "top"}, "a b": {"c/deep", "kept", "new"}} {
		got, err := Open(t.Context(), filepath.Join(dir, sub)).Files()
		slices.Sort(got)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("in %q: %v (-want +got):\n%s", sub, err, diff)
		}
	}
}
