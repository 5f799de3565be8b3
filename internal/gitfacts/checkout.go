package gitfacts

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A Checkout is a work tree of another revision, beside the user's own. It
// has the objects of the user's repository, and nothing is written there.
type Checkout struct {
	Commit string // all digits
	Dir    string // the directory in it that belongs to the one that Open was given; it may not exist
	Root   string // of the work tree
	Own    string // root of the user's work tree
	// Submodules says that there are some; their directories are empty. LFS
	// says that there may be files whose content is elsewhere; they hold the
	// pointers to it.
	Submodules, LFS bool
}

// Repo answers for the revision.
func (c *Checkout) Repo(ctx context.Context) *Repo {
	r := Open(ctx, c.Dir)
	r.alone = true
	return r
}

// ofRepository are the variables that say which repository and work tree git
// is to use, as git rev-parse --local-env-vars lists them, but for those of
// its configuration.
var ofRepository = []string{
	"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE",
	"GIT_GRAFT_FILE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX",
	"GIT_SHALLOW_FILE", "GIT_COMMON_DIR", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE",
}

// environ is the environment of a git command.
func (r *Repo) environ() []string {
	if !r.alone {
		return os.Environ()
	}
	out := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(ofRepository, name)
	})
	return append(out, "GIT_LFS_SKIP_SMUDGE=1", "GIT_NO_LAZY_FETCH=1")
}

// ErrNoRevision is returned by Checkout, wrapped, for what names no commit.
var ErrNoRevision = errors.New("there is no such revision")

// Checkout makes a work tree of a revision in a new directory, which must
// exist and be empty. Nothing is fetched. Facts of the work tree are those of
// the revision, but for the branch: that is the user's.
func (r *Repo) Checkout(ctx context.Context, revision, into string) (*Checkout, error) {
	own, err := r.root()
	if err != nil {
		return nil, err
	}
	commit, err := r.git("rev-parse", "--quiet", "--verify", "--end-of-options", revision+"^{commit}")
	var exit *osexec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("%q: %w", revision, ErrNoRevision)
	}
	if err != nil {
		return nil, err
	}
	c := &Checkout{Commit: commit, Root: into, Own: own}
	if err := r.populate(ctx, c); err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(r.dir)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(own, real)
	if err != nil {
		return nil, err
	}
	c.Dir = filepath.Join(into, rel)
	_, err = os.Stat(filepath.Join(into, ".gitmodules"))
	c.Submodules = err == nil
	attrs, err := os.ReadFile(filepath.Join(into, ".gitattributes"))
	c.LFS = err == nil && strings.Contains(string(attrs), "filter=lfs")
	return c, nil
}

// populate makes the work tree. It is a repository of its own that borrows
// the objects of the user's.
func (r *Repo) populate(ctx context.Context, c *Checkout) error {
	git := func(args ...string) (string, error) {
		in := &Repo{ctx: ctx, dir: c.Root, alone: true}
		return in.git(args...)
	}
	objects, err := r.git("rev-parse", "--path-format=absolute", "--git-path", "objects")
	if err != nil {
		return err
	}
	format, err := r.git("rev-parse", "--show-object-format")
	if err != nil {
		return err
	}
	branch, err := r.branch()
	if err != nil {
		return err
	}
	if _, err := git("init", "--quiet", "--object-format="+format, "--template="); err != nil {
		return err
	}
	gitDir := filepath.Join(c.Root, ".git")
	if err := os.MkdirAll(filepath.Join(gitDir, "objects", "info"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(gitDir, "objects", "info", "alternates"), []byte(objects+"\n"), 0o644); err != nil {
		return err
	}
	if err := r.copyShallow(gitDir); err != nil {
		return err
	}
	if err := r.copyTags(gitDir); err != nil {
		return err
	}
	head := c.Commit + "\n"
	if branch != "" {
		if _, err := git("update-ref", "refs/heads/"+branch, c.Commit); err != nil {
			return err
		}
		head = "ref: refs/heads/" + branch + "\n"
	}
	if err := os.WriteFile(filepath.Join(gitDir, "HEAD"), []byte(head), 0o644); err != nil {
		return err
	}
	_, err = git("-c", "core.hooksPath="+os.DevNull, "-c", "advice.detachedHead=false", "reset", "--quiet", "--hard", c.Commit)
	return err
}

// copyShallow tells where history ends, if it does before its beginning.
func (r *Repo) copyShallow(gitDir string) error {
	path, err := r.git("rev-parse", "--path-format=absolute", "--git-path", "shallow")
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(gitDir, "shallow"), data, 0o644)
}

// copyTags takes over the tags, for git.tag and git.describe.
func (r *Repo) copyTags(gitDir string) error {
	tags, err := r.git("for-each-ref", "--format=%(objectname) %(refname)%0a^%(*objectname)", "refs/tags")
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# pack-refs with: peeled fully-peeled \n")
	for line := range strings.Lines(tags + "\n") {
		if line = strings.TrimSpace(line); line != "" && line != "^" { // one that is no annotated tag has nothing to peel
			b.WriteString(line + "\n")
		}
	}
	return os.WriteFile(filepath.Join(gitDir, "packed-refs"), []byte(b.String()), 0o644)
}
