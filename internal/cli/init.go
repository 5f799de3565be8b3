package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
	"github.com/kilnbuild/kiln/internal/gitfacts"
	"github.com/kilnbuild/kiln/internal/scaffold"
)

// An initOptions is `kiln init` after its flags were read.
type initOptions struct {
	yes   bool
	print bool
}

func initCommand(a *app) *cobra.Command {
	var o initOptions
	c := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a build.hcl that builds what is there",
		Long: `Look over a directory (by default, this one) and write a build.hcl that builds
its images: a target for each Dockerfile, with variants where stages or names say
prod, dev, debug or test, and a context where one Dockerfile begins from what
another builds. Bake and Compose files, and build.hcl of directories below, are
included, so that they plan what they planned before; where they cannot be, their
targets are written out.

The file is shown before it is written, and written if you say so. Files that git
ignores are passed over, and so are vendor, node_modules, testdata and hidden
directories. A build.hcl that is there is never overwritten.`,
		Example: "  kiln init\n  kiln init --print\n  kiln init services --yes",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("kiln init takes one directory at most")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return a.init(c.Context(), o, strings.Join(args, ""))
		},
	}
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "write without asking")
	c.Flags().BoolVar(&o.print, "print", false, "print the file, and write nothing")
	return c
}

// init is the flow of `kiln init`.
func (a *app) init(ctx context.Context, o initOptions, dir string) error {
	if o.yes && o.print {
		return usagef("--yes and --print exclude each other")
	}
	in := *a // as if it were run there
	if in.dir = a.path(dir); !isDir(in.dir) {
		return usagef("kiln init %s: there is no such directory", dir)
	}
	in.repo = nil
	file := filepath.Join(in.dir, scaffold.FileName)
	shown := filepath.Join(dir, scaffold.FileName)
	if _, err := os.Lstat(file); err == nil && !o.print {
		return usagef("%s is there already, and stays as it is; kiln init --print shows what would be written", shown)
	}
	r, err := in.scaffold(ctx)
	if err != nil {
		return err
	}
	if r.Text == "" {
		a.notes(r.Notes)
		return usagef("there is nothing to build in %s: no Dockerfile, no bake file, no Compose file that builds; see kiln init --help for what is passed over", in.dir)
	}
	if err := in.checkScaffold(ctx, r.Text); err != nil {
		return err
	}
	if o.print {
		a.notes(r.Notes)
		_, err := io.WriteString(a.Out, r.Text)
		return err
	}
	fmt.Fprintf(a.Err, "%s\n", r.Text)
	a.notes(r.Notes)
	if !o.yes {
		if err := a.confirm(ctx, fmt.Sprintf("Write this to %s?", shown), "nothing was written", "--yes writes the file, --print prints it"); err != nil {
			return err
		}
	}
	if err := writeNew(file, r.Text, os.Link); err != nil {
		return usagef("write %s: %w", shown, cause(err))
	}
	fmt.Fprintf(a.Err, "wrote %s: %s; kiln plan shows what it builds\n", shown, count(len(r.Targets), "target"))
	return nil
}

func (a *app) notes(notes []string) {
	for _, n := range notes {
		fmt.Fprintln(a.Err, "note:", diag.Visible(a.discreet(n)))
	}
}

// confirm asks for a yes where someone is there to answer. Without one the
// error says that nothing was done, and which flag does without an answer.
func (a *app) confirm(ctx context.Context, question, nothing, remedy string) error {
	if !isTerminal(a.In) {
		return usagef("%s, for there is nobody to ask: %s", nothing, remedy)
	}
	yes, err := a.agreed(ctx, question)
	if err == nil && !yes {
		err = usagef("%s", nothing)
	}
	return err
}

// agreed asks a question and reads whether the answer is yes. The error is
// that of reading, or says that ctx ended first.
func (a *app) agreed(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(a.Err, question+" [y/N] ")
	type answer struct {
		line string
		err  error
	}
	read := make(chan answer, 1)
	go func() { // what reads a terminal ends with the process, or with the line
		line, err := bufio.NewReader(a.In).ReadString('\n')
		read <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.Err)
		return false, usagef("interrupted")
	case got := <-read:
		if got.err != nil && !errors.Is(got.err, io.EOF) {
			return false, usagef("read the answer: %w", got.err)
		}
		line := strings.ToLower(strings.TrimSpace(got.line))
		return line == "y" || line == "yes", nil
	}
}

// writeNew writes a file that must not be there, whole or not at all. Link is
// os.Link, which does not replace a file.
func writeNew(file, text string, link func(from, to string) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".build-*.hcl")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	if err = link(tmp.Name(), file); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return writeExclusively(file, text)
}

// writeExclusively is writeNew for file systems without hard links: the file
// is there before it is whole.
func writeExclusively(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(file)
	}
	return err
}

// scaffold looks over the directory and makes the file.
func (a *app) scaffold(ctx context.Context) (scaffold.Result, error) {
	files, err := a.keptFiles(ctx)
	if err != nil {
		return scaffold.Result{}, usagef("look over %s: %w", a.dir, err)
	}
	in := scaffold.Input{
		Name:  filepath.Base(a.dir),
		Owner: ownerOf(ctx, a.dir),
		Has: func(p string) bool {
			_, err := os.Stat(filepath.Join(a.dir, filepath.FromSlash(p)))
			return err == nil
		},
		Holds: holds(files),
	}
	load, err := a.plainLoad(ctx)
	if err != nil {
		return scaffold.Result{}, err
	}
	in.Load = load
	var notes []string
	sets := map[string]*scaffold.Set{}
	for _, f := range files {
		name, dir := path.Base(f), path.Dir(f)
		isSet := slices.Contains(bakeNames, name) || name == ownName && dir != "."
		if !isSet && !scaffold.IsDockerfile(name) {
			continue
		}
		data, err := a.readKept(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // git knows of it yet
		}
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s is left out: %v", f, cause(err)))
			continue
		}
		if !isSet {
			g, err := buildkit.GlanceAt(data)
			if err != nil {
				notes = append(notes, fmt.Sprintf("%s is left out, for it is no Dockerfile: %v", f, err))
				continue
			}
			in.Dockerfiles = append(in.Dockerfiles, scaffold.Dockerfile{Path: f, Stages: g.Stages, Images: g.Images, Sources: g.Sources})
			continue
		}
		key := dir
		if name == ownName {
			key += "/" + ownName
		}
		if sets[key] == nil {
			sets[key] = &scaffold.Set{Dir: dir}
		}
		sets[key].Files = append(sets[key].Files, config.File{Name: f, Data: data, Base: baseOf(f)})
	}
	for _, f := range files { // in their order
		key := path.Dir(f)
		if path.Base(f) == ownName {
			key = f
		}
		if set := sets[key]; set != nil {
			if key == f {
				set.Files = a.included(set.Files)
			} else {
				slices.SortFunc(set.Files, func(x, y config.File) int {
					return slices.Index(bakeNames, path.Base(x.Name)) - slices.Index(bakeNames, path.Base(y.Name))
				})
			}
			in.Sets = append(in.Sets, *set)
			delete(sets, key)
		}
	}
	r := scaffold.New(in)
	r.Notes = append(notes, r.Notes...)
	return r, nil
}

// included returns files with all that they include; what is wrong with that
// is told when they are loaded.
func (a *app) included(files []config.File) []config.File {
	fence, err := a.fence(nil, false)
	if err != nil {
		return files
	}
	r, err := newFileReader(fileOptions{dir: a.dir, getenv: a.lookupEnv, fence: fence})
	if err != nil {
		return files
	}
	all, _ := r.withIncludes(files)
	return all
}

// readKept reads a regular file of the directory; links are not followed.
func (a *app) readKept(name string) ([]byte, error) {
	file := filepath.Join(a.dir, filepath.FromSlash(name))
	st, err := os.Lstat(file)
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	}
	return readFile(file)
}

// keptFiles lists the files in the directory that belong to it: those that git
// does not ignore, or all where there is no git. Paths have slashes and are
// sorted, those of a directory before those below it.
func (a *app) keptFiles(ctx context.Context) ([]string, error) {
	repo := gitfacts.Open(ctx, a.dir)
	files, err := repo.Files()
	if err != nil || len(files) == 0 { // no git here, or a directory that it ignores as a whole
		files, err = walkFiles(a.dir)
	}
	files = slices.DeleteFunc(files, func(f string) bool {
		for dir := path.Dir(f); dir != "."; dir = path.Dir(dir) {
			if scaffold.Skipped(path.Base(dir)) {
				return true
			}
		}
		return !fs.ValidPath(f)
	})
	slices.SortFunc(files, func(x, y string) int {
		if c := strings.Compare(path.Dir(x), path.Dir(y)); c != 0 {
			return c
		}
		return strings.Compare(x, y)
	})
	return files, err
}

// walkFiles lists all files of a directory.
func walkFiles(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if name == dir {
				return err
			}
			return nil // what may not be read is not built
		}
		if d.IsDir() {
			if name != dir && scaffold.Skipped(d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		out = append(out, filepath.ToSlash(rel))
		return err
	})
	return out, err
}

// holds returns a function that reports whether a directory holds more than
// files that say how to build.
func holds(files []string) func(dir string) bool {
	full := map[string]bool{".": true}
	for _, f := range files {
		name := path.Base(f)
		if scaffold.IsDockerfile(name) || slices.Contains(bakeNames, name) || name == ownName || strings.HasSuffix(name, "ignore") {
			continue
		}
		for dir := path.Dir(f); !full[dir]; dir = path.Dir(dir) {
			full[dir] = true
		}
	}
	return func(dir string) bool { return full[dir] }
}

// ownerOf is who the repository belongs to, by the address of its remote: the
// part before the last of its path.
func ownerOf(ctx context.Context, dir string) string {
	info, err := gitfacts.Open(ctx, dir).Info()
	if err != nil {
		return ""
	}
	parts := strings.FieldsFunc(strings.TrimSuffix(info.Source, ".git"), func(c rune) bool { return c == '/' || c == ':' })
	if len(parts) < 3 {
		return ""
	}
	return parts[len(parts)-2]
}

// plainLoad returns a function that evaluates build files as they are, without
// what the environment would say.
func (a *app) plainLoad(ctx context.Context) (func([]config.File) (*config.Config, hcl.Diagnostics), error) {
	in, err := a.inputs(ctx, definitionFlags{}, nil)
	if err != nil {
		return nil, err
	}
	in.Env = nil
	fence, err := a.fence(nil, false)
	if err != nil {
		return nil, err
	}
	return func(files []config.File) (*config.Config, hcl.Diagnostics) {
		in.Compose = fence.compose(files)
		return config.Load(files, in)
	}, nil
}

// checkScaffold loads what is about to be written, with all it includes, as
// kiln build would. What it finds is a mistake of ours.
func (a *app) checkScaffold(ctx context.Context, text string) error {
	fence, err := a.fence(nil, false)
	if err != nil {
		return err
	}
	r, err := newFileReader(fileOptions{dir: a.dir, getenv: a.lookupEnv, fence: fence})
	if err != nil {
		return usagef("%w", err)
	}
	files, err := r.withIncludes([]config.File{{Name: scaffold.FileName, Data: []byte(text)}})
	if err != nil {
		return a.definitionError(err, files)
	}
	load, err := a.plainLoad(ctx)
	if err != nil {
		return err
	}
	cfg, diags := load(files)
	if !diags.HasErrors() {
		g, more := graph.New(cfg)
		if diags = append(diags, more...); g != nil {
			diags = append(diags, g.Check()...)
		}
	}
	if diags.HasErrors() {
		a.tell(diags, files)
		return &exitError{code: codeUsage, err: fmt.Errorf("what was found does not make a build file that loads; please report this. It would have been:\n\n%s", text)}
	}
	return nil
}
