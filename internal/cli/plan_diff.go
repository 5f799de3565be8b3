package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/internal/gitfacts"
	planning "github.com/kilnbuild/kiln/internal/plan"
)

// Comparing with the plan of another revision. That revision is checked out
// in a directory of its own, and planned there as if the user stood in the
// same place of it; the user's work tree and repository are not touched.

// diffPlans is the flow of `kiln plan --diff`.
func (a *app) diffPlans(ctx context.Context, o planOptions, args []string) error {
	stdin, err := a.readStdin(o.files)
	if err != nil {
		return err
	}
	a.In = bytes.NewReader(stdin)
	_, is, err := a.makePlan(ctx, o, args)
	if err != nil {
		return err
	}
	a.In = bytes.NewReader(stdin)
	was, commit, err := a.planAt(ctx, o, args)
	if err != nil {
		return err
	}
	changes := planning.Diff(was, is)
	changes.Old, changes.New = fmt.Sprintf("%s (%.12s)", o.diff, commit), "work tree"
	if o.json {
		err = writeJSON(a.Out, changes)
	} else {
		_, err = io.WriteString(a.Out, changes.Text(a.planText()))
	}
	if err == nil && o.exitCode && changes.Any() {
		return &exitError{code: codeFailed, told: true}
	}
	return err
}

// readStdin reads standard input if it is one of the build files: both plans
// are made of it.
func (a *app) readStdin(files []string) ([]byte, error) {
	if !slices.Contains(files, "-") || a.In == nil {
		return nil, nil
	}
	data, err := readAll(a.In)
	if err != nil {
		return nil, usagef("read standard input: %w", err)
	}
	return data, nil
}

// planAt plans what args name at the revision, and returns its commit.
func (a *app) planAt(ctx context.Context, o planOptions, args []string) (*planning.Plan, string, error) {
	dir, err := os.MkdirTemp("", "kiln-plan-")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, "", err
	}
	tree, err := a.workTree(ctx).Checkout(ctx, o.diff, dir)
	switch {
	case errors.Is(err, gitfacts.ErrNoRevision):
		return nil, "", usagef("--diff %s: %w; `git log` and `git branch -a` list those there are", o.diff, gitfacts.ErrNoRevision)
	case err != nil:
		return nil, "", usagef("--diff %s: %w", o.diff, err)
	}
	if _, err := os.Stat(tree.Dir); err != nil {
		return nil, "", usagef("--diff %s: it does not have the directory %s", o.diff, relativeTo(tree.Root, tree.Dir))
	}
	a.noteTree(o.diff, tree)
	var said bytes.Buffer
	then := *a
	then.dir, then.repo, then.Err = tree.Dir, tree.Repo(ctx), &said
	o.files = mapFiles(o.files, tree)
	p, err := then.planThere(ctx, o, args)
	if err != nil {
		fmt.Fprintf(a.Err, "at %s:\n%s", o.diff, strings.ReplaceAll(said.String(), tree.Root+string(filepath.Separator), ""))
	}
	return p, tree.Commit, err
}

// planThere plans what a revision has of the names.
func (a *app) planThere(ctx context.Context, o planOptions, args []string) (*planning.Plan, error) {
	d, err := a.planDefinition(ctx, o)
	if err != nil {
		return nil, err
	}
	if known := knownNames(d, args); len(args) > 0 {
		if len(known) == 0 {
			return &planning.Plan{}, nil
		}
		args = known
	}
	g, err := a.selected(d, args, o.variant)
	if err != nil {
		return nil, err
	}
	return a.planOf(ctx, o, d, g)
}

// noteTree says what a checkout lacks.
func (a *app) noteTree(revision string, tree *gitfacts.Checkout) {
	if tree.Submodules {
		fmt.Fprintf(a.Err, "note: %s has submodules, which are not fetched: what its targets read of them is missing from its plan\n", revision)
	}
	if tree.LFS {
		fmt.Fprintf(a.Err, "note: %s has files in Git LFS, which are not fetched: Dockerfiles among them cannot be read\n", revision)
	}
}

// mapFiles returns build files of the user's work tree as those of a
// checkout. Relative ones are found there by themselves.
func mapFiles(files []string, tree *gitfacts.Checkout) []string {
	out := slices.Clone(files)
	for i, f := range out {
		if rel, err := filepath.Rel(tree.Own, f); filepath.IsAbs(f) && err == nil && filepath.IsLocal(rel) {
			out[i] = filepath.Join(tree.Root, rel)
		}
	}
	return out
}

// relativeTo names a path below a directory.
func relativeTo(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil {
		return rel
	}
	return path
}
