package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/graph"
	planning "github.com/kilnbuild/kiln/internal/plan"
)

// Saved plans: what `kiln plan --save` writes, and `kiln build --plan` builds.

// savePlan writes a plan of a graph to a file.
func (a *app) savePlan(ctx context.Context, file string, g *graph.Graph, p *planning.Plan) error {
	if err := checkOutputFile("--save", file); err != nil {
		return err
	}
	commit := ""
	if info, err := a.workTree(ctx).Info(); err == nil {
		commit = info.Revision
	}
	if err := p.Save(g, commit, a.discretion()); err != nil {
		return usagef("--save: %w", err)
	}
	var b bytes.Buffer
	err := writeJSON(&b, p)
	if err == nil {
		err = writeFileAtomic(linked(file), b.Bytes(), 0o644)
	}
	if err != nil {
		return usagef("--save %s: %w", file, cause(err))
	}
	fmt.Fprintf(a.Err, "saved the plan: `kiln build --plan %s` builds it\n", file)
	return nil
}

// changesPlan are the flags of `kiln build` that say what is built. A saved
// plan says that itself.
var changesPlan = []string{
	"file", "var", "set", "variant", "push", "load", "no-cache", "pull", "call", "check", "sbom", "provenance", "policy", "list",
	"list-targets", "list-variables",
}

// checkPlanFlags finds what cannot go with --plan.
func checkPlanFlags(c *cobra.Command, o buildOptions, args []string) error {
	if !c.Flags().Changed("plan") {
		return nil
	}
	var wrong []string
	for _, name := range changesPlan {
		if c.Flags().Changed(name) {
			wrong = append(wrong, "--"+name)
		}
	}
	for _, t := range o.timeouts {
		if strings.Contains(t, "=") {
			wrong = append(wrong, "--timeout "+t)
		}
	}
	if len(args) > 0 {
		wrong = append(wrong, strings.Join(args, " "))
	}
	switch {
	case o.planFile == "":
		return usagef("--plan needs the name of a file that kiln plan --save has written")
	case len(wrong) > 0:
		return usagef("--plan builds just what is in the plan, which %s would change; make another plan, with kiln plan --save and the same arguments", strings.Join(wrong, ", "))
	}
	return nil
}

// reopen takes the definition of p from a saved plan, and returns the names
// of the targets to build.
func (a *app) reopen(ctx context.Context, file string, p *plan) ([]string, error) {
	data, err := os.ReadFile(a.path(file))
	if err != nil {
		return nil, usagef("--plan %s: %w", file, cause(err))
	}
	saved, err := planning.Read(data)
	if err != nil {
		return nil, usagef("--plan %s: %w", file, err)
	}
	if saved.Build == nil {
		return nil, usagef("--plan %s: it is a plan to look at, of --json; kiln plan --save writes one to build", file)
	}
	if changed := a.changedFiles(saved.Build.Files); len(changed) > 0 {
		return nil, usagef("--plan %s: what it rests on is not as it was: %s. Make the plan again with kiln plan --save", file, strings.Join(changed, ", "))
	}
	cfg, err := saved.Build.Config(a.lookupEnv)
	if err != nil {
		return nil, usagef("--plan %s: %w", file, err)
	}
	p.definition = &definition{cfg: cfg}
	a.noteCommit(ctx, saved.Build.Commit)
	return saved.Build.Requested, nil
}

// changedFiles says which of the files a plan rests on are others now.
func (a *app) changedFiles(files []planning.SavedFile) []string {
	var out []string
	for _, f := range files {
		data, err := os.ReadFile(a.path(f.Path))
		gone := err != nil
		sum := sha256.Sum256(data)
		switch {
		case gone && f.Digest == "":
		case gone:
			out = append(out, fmt.Sprintf("%s cannot be read (%s)", f.Path, cause(err)))
		case f.Digest == "":
			out = append(out, f.Path+" is new")
		case f.Digest != "sha256:"+hex.EncodeToString(sum[:]):
			out = append(out, f.Path+" was changed")
		}
	}
	return slices.Compact(out)
}

// noteCommit tells if the work tree is at another commit than the plan.
func (a *app) noteCommit(ctx context.Context, commit string) {
	info, err := a.workTree(ctx).Info()
	if err != nil || commit == "" || info.Revision == "" || info.Revision == commit {
		return
	}
	fmt.Fprintf(a.Err, "note: the plan was made at commit %.12s, and the work tree is at %.12s now\n", commit, info.Revision)
}
