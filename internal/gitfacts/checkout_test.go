package gitfacts

import (
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listing returns the files of a directory with their text, but for .git.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == ".git" {
			return filepath.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// history makes a repository with two commits, a tag of each kind, and a
// changed work tree.
func history(t *testing.T) string {
	t.Helper()
	isolated(t)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	do(t, dir, `
		init -q -b main
		write file one
		write gone gone
		write sub/file one
		add .
		commit -q -m one
		tag v1
		tag -a -m annotated v1.0
		rm -q gone
		write file two
		commit -q -a -m two
		write file three
		write new new`)
	return dir
}

// state is what git and the file system say of a work tree.
func state(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	for _, args := range []string{"status --porcelain", "rev-parse HEAD", "for-each-ref", "worktree list", "stash list", "count-objects -v"} {
		cmd := osexec.Command("git", strings.Fields(args)...)
		cmd.Dir = dir
		text, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	return out.String()
}

// A revision is checked out beside the work tree, which stays as it is, and
// its facts are its own.
func TestCheckout(t *testing.T) {
	dir := history(t)
	before, files := state(t, dir), listing(t, dir)
	into := t.TempDir()
	c, err := Open(t.Context(), filepath.Join(dir, "sub")).Checkout(t.Context(), "v1.0", into)
	if err != nil {
		t.Fatal(err)
	}
	if c.Dir != filepath.Join(into, "sub") || c.Root != into || c.Submodules || c.LFS {
		t.Errorf("%+v", c)
	}
	if diff := cmp.Diff(map[string]string{"file": "one", "gone": "gone", "sub/file": "one"}, listing(t, into)); diff != "" {
		t.Errorf("the revision's files: %s", diff)
	}
	repo := c.Repo(t.Context())
	for fact, want := range map[string]string{"commit": c.Commit, "branch": "main", "tag": "v1.0", "describe": "v1.0", "dirty": "false"} {
		if got, err := repo.Fact(fact); got != want || err != nil {
			t.Errorf("git.%s is %q, %v, want %q", fact, got, err, want)
		}
	}
	if diff := cmp.Diff(before, state(t, dir)); diff != "" {
		t.Errorf("the repository has changed: %s", diff)
	}
	if diff := cmp.Diff(files, listing(t, dir)); diff != "" {
		t.Errorf("the work tree has changed: %s", diff)
	}
}

// What the environment says to git of the user's work tree leads nobody to
// write there.
func TestCheckoutInHook(t *testing.T) {
	dir := history(t)
	before, files := state(t, dir), listing(t, dir)
	t.Setenv("GIT_DIR", filepath.Join(dir, ".git"))
	t.Setenv("GIT_WORK_TREE", dir)
	t.Setenv("GIT_INDEX_FILE", filepath.Join(dir, ".git", "index"))
	into := t.TempDir()
	c, err := Open(t.Context(), dir).Checkout(t.Context(), "HEAD~1", into)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Repo(t.Context()).Fact("commit"); got != c.Commit || err != nil {
		t.Errorf("git.commit is %q, %v, want %q", got, err, c.Commit)
	}
	for _, name := range []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"} {
		os.Unsetenv(name) // t.Setenv brings it back
	}
	if got := listing(t, into)["file"]; got != "one" {
		t.Errorf("file is %q", got)
	}
	if diff := cmp.Diff(before, state(t, dir)) + cmp.Diff(files, listing(t, dir)); diff != "" {
		t.Errorf("the user's work tree has changed: %s", diff)
	}
}

// A clone without all of history, a detached head, submodules and LFS.
func TestCheckoutOfClones(t *testing.T) {
	dir := history(t)
	do(t, dir, `
		write .gitmodules [submodule]
		write .gitattributes *.bin
		add .
		commit -q -m three`)
	if err := os.WriteFile(filepath.Join(dir, ".gitattributes"), []byte("*.bin filter=lfs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, dir, "commit -q -a -m four")
	shallow := filepath.Join(t.TempDir(), "shallow")
	do(t, dir, "-c protocol.file.allow=always clone -q --depth 2 file://"+dir+" "+shallow)
	do(t, shallow, "checkout -q --detach")
	into := t.TempDir()
	c, err := Open(t.Context(), shallow).Checkout(t.Context(), "HEAD~1", into)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Submodules || c.LFS {
		t.Errorf("%+v", c)
	}
	if branch, err := c.Repo(t.Context()).Fact("branch"); branch != "" || err != nil {
		t.Errorf("git.branch is %q, %v", branch, err)
	}
	if c, err = Open(t.Context(), shallow).Checkout(t.Context(), "HEAD", t.TempDir()); err != nil || !c.LFS {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Open(t.Context(), shallow).Checkout(t.Context(), "HEAD~3", t.TempDir()); !errors.Is(err, ErrNoRevision) {
		t.Errorf("what the clone does not have: %v", err)
	}
	if _, err := Open(t.Context(), shallow).Checkout(t.Context(), "--help", t.TempDir()); !errors.Is(err, ErrNoRevision) {
		t.Errorf("a flag: %v", err)
	}
	if _, err := Open(t.Context(), t.TempDir()).Checkout(t.Context(), "HEAD", t.TempDir()); !errors.Is(err, ErrNoWorkTree) {
		t.Errorf("outside of a work tree: %v", err)
	}
}
