package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/internal/format"
)

// A fmtOptions is `kiln fmt` after its flags were read.
type fmtOptions struct {
	check bool
	diff  bool
	files []string // -f: a definition, with what it includes
}

// fmtCommand is `kiln fmt`: build files in the canonical layout.
func fmtCommand(a *app) *cobra.Command {
	var o fmtOptions
	c := &cobra.Command{
		Use:   "fmt [FILE|DIR...]",
		Short: "Format build files",
		Long: `Write build files in one layout: indentation, alignment and blank lines change,
nothing else; comments, heredocs and what the file means stay. The names of the
files that change go to standard output.

Without arguments these are the files that kiln build would read, with -f too.
Of a directory they are all build.hcl and docker-bake.hcl in it and below, their
overrides and *.bake.hcl; - formats standard input to standard output. JSON and
Compose files are left as they are. A file with a syntax error is left, too,
and the exit code is 2.`,
		Example: "  kiln fmt\n  kiln fmt --check --diff .\n  kiln fmt - <build.hcl",
		RunE:    func(c *cobra.Command, args []string) error { return a.format(c.Context(), o, args) },
	}
	c.Flags().StringArrayVarP(&o.files, "file", "f", nil, "format this `file` and those that it includes, as kiln build reads them")
	c.Flags().BoolVar(&o.check, "check", false, "write nothing; exit code 1 if a file is not formatted")
	c.Flags().BoolVar(&o.diff, "diff", false, "write nothing; print what would change as a unified diff")
	return c
}

// format is the flow of `kiln fmt`.
func (a *app) format(ctx context.Context, o fmtOptions, args []string) error {
	switch named := slices.Concat(o.files, args); {
	case len(o.files) > 0 && len(args) > 0:
		return usagef("name the files with -f or without; not both")
	case slices.Contains(named, "-") && len(named) > 1 && !o.check && !o.diff:
		return usagef("- is standard input, which is formatted alone")
	}
	files, err := a.toFormat(ctx, o.files, args)
	if err != nil {
		return err
	}
	changed, wrong := 0, false
	for _, f := range files {
		was, ok, err := a.formatOne(o, f)
		if err != nil {
			return err
		}
		wrong = wrong || !ok
		if was {
			changed++
		}
	}
	switch {
	case wrong:
		return &exitError{code: codeUsage, told: true}
	case o.check && changed > 0:
		return &exitError{code: codeFailed, err: fmt.Errorf("%s not formatted; `kiln fmt` does it", countIs(changed, "file"))}
	}
	return nil
}

func countIs(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return fmt.Sprintf("%d %ss are", n, what)
}

// formatOne formats a file, and tells whether that changes it. It is not ok if
// the file cannot be formatted, which has been told.
func (a *app) formatOne(o fmtOptions, f config.File) (changed, ok bool, err error) {
	kind, diags := config.Syntax(f)
	switch {
	case kind != "hcl":
		fmt.Fprintf(a.Err, "%s: left as it is; kiln fmt formats HCL\n", f.Name)
		return false, true, nil
	case diags.HasErrors():
		a.tell(diags, []config.File{f})
		return false, false, nil
	}
	out, err := format.Source(f.Data)
	if err != nil {
		fmt.Fprintf(a.Err, "ERROR: %s: %v\n", f.Name, err)
		return false, false, nil
	}
	changed = !bytes.Equal(out, f.Data)
	switch {
	case o.diff && changed:
		_, err = fmt.Fprint(a.Out, a.discreet(format.Diff(f.Name, f.Data, out)))
	case o.diff:
	case f.Name == "-" && !o.check:
		_, err = a.Out.Write(out)
	case changed:
		_, err = fmt.Fprintln(a.Out, f.Name)
		if err == nil && !o.check {
			err = a.rewrite(f.Name, out)
		}
	}
	return changed, true, err
}

// rewrite writes a file whole or not at all, with the mode that it has, and
// where a link leads.
func (a *app) rewrite(name string, data []byte) error {
	path := linked(a.path(name))
	st, err := os.Stat(path)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(path, os.O_WRONLY, 0); err == nil { // what may not be written is not replaced
			f.Close()
			err = writeFileAtomic(path, data, st.Mode().Perm())
		}
	}
	if err != nil {
		return usagef("%s: %w", name, cause(err))
	}
	return nil
}

// toFormat reads the files that the arguments name; without any a definition,
// as -f names it.
func (a *app) toFormat(ctx context.Context, definition, args []string) ([]config.File, error) {
	if len(args) == 0 {
		fence, err := a.fence(nil, false)
		if err != nil {
			return nil, err
		}
		files, err := readDefinitions(fileOptions{names: definition, dir: a.dir, getenv: a.lookupEnv, stdin: a.In, fence: fence})
		if err != nil && len(files) == 0 {
			return nil, a.definitionError(err, files)
		}
		return files, nil // what is wrong with an include block does not matter here
	}
	r, err := newFileReader(fileOptions{dir: a.dir, getenv: a.lookupEnv, stdin: a.In})
	if err != nil {
		return nil, usagef("%w", err)
	}
	var files []config.File
	for _, arg := range args {
		if !strings.HasPrefix(arg, "cwd://") && strings.Contains(arg, "://") {
			return nil, usagef("fmt %s: this is no file of this machine", arg)
		}
		names := []string{arg}
		if arg != "-" && isDir(a.path(arg)) {
			if names, err = a.buildFilesBelow(ctx, arg); err != nil {
				return nil, err
			}
		}
		for _, name := range names {
			f, err := r.read("fmt", name)
			if err != nil {
				return nil, usagef("%w", err)
			}
			if !slices.ContainsFunc(files, func(g config.File) bool { return g.Name == f.Name }) {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// buildFilesBelow lists the build files in a directory and below, by name.
// Directories whose names begin with a dot are not looked into.
func (a *app) buildFilesBelow(ctx context.Context, dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(a.path(dir), func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrPermission) && d != nil && d.IsDir():
			fmt.Fprintf(a.Err, "%s: passed over: %v\n", path, cause(err))
			return fs.SkipDir
		case err != nil:
			return err
		case d.IsDir() && path != a.path(dir) && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.Type().IsRegular() && isBuildFile(d.Name()):
			rel, err := filepath.Rel(a.path(dir), path)
			if err != nil {
				return err
			}
			out = append(out, filepath.Join(dir, rel))
		}
		return nil
	})
	if err != nil {
		return nil, usagef("%s: %w", dir, cause(err))
	}
	if len(out) == 0 {
		fmt.Fprintf(a.Err, "%s: no build file there or below\n", dir)
	}
	return out, nil
}

// isBuildFile reports whether a file of this name is one in HCL that kiln or
// bake reads; other programs' files end in .hcl, too.
func isBuildFile(name string) bool {
	return name == ownName || name == ownOverrideName || strings.HasSuffix(name, ".hcl") && slices.Contains(bakeNames, name) ||
		strings.HasSuffix(name, ".bake.hcl") || strings.HasPrefix(name, "docker-bake.") && strings.HasSuffix(name, ".hcl")
}
