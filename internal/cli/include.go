package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// Include blocks: each names further files by a pattern relative to its own
// file. What they name is read, in the order of names, until nothing new
// comes; a file that several include is read once.

// An includer closes a list of files over their include blocks.
type includer struct {
	reader *fileReader
	files  []config.File
	read   map[string]bool // by identity
	chain  []link          // the files that are being read, outermost first
	diags  hcl.Diagnostics
	fence  *fence
}

// A link is a file and the place that included it.
type link struct {
	id, name string
	by       *hcl.Range // nil for a file of the command line
}

// withIncludes returns files and all that they include, each after the file
// that included it. With diagnostics, it is the files that were read.
func (r *fileReader) withIncludes(files []config.File) ([]config.File, error) {
	in := &includer{reader: r, read: map[string]bool{}}
	for _, f := range files {
		in.read[in.identity(f.Name)] = true
	}
	in.fence = r.o.fence.around(files)
	for _, f := range files {
		in.add(f, nil)
	}
	if in.diags.HasErrors() {
		return in.files, in.diags
	}
	return in.files, nil
}

// identity names a file the same however it is reached.
func (in *includer) identity(name string) string {
	if name == "-" {
		return name
	}
	abs := in.reader.abs(name)
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	return abs
}

// add takes a file, and then what it includes.
func (in *includer) add(f config.File, by *hcl.Range) {
	in.files = append(in.files, f)
	in.chain = append(in.chain, link{in.identity(f.Name), f.Name, by})
	defer func() { in.chain = in.chain[:len(in.chain)-1] }()
	includes, diags := config.Includes(f)
	in.diags = append(in.diags, diags...)
	for _, inc := range includes {
		for _, name := range in.matches(f, inc) {
			in.include(name, inc)
		}
	}
}

// include reads a file that an include block names.
func (in *includer) include(name string, inc config.Include) {
	id := in.identity(name)
	if i := slices.IndexFunc(in.chain, func(l link) bool { return l.id == id }); i >= 0 {
		in.failf(inc, "Include loop", "This includes %s, which is what led here: %s.", name, in.loop(i, inc))
		return
	}
	if in.read[id] {
		return
	}
	in.read[id] = true
	if !in.inside(name, inc) {
		return
	}
	data, err := readFile(in.reader.abs(name))
	if err != nil {
		in.failf(inc, "Unreadable include", "%q names %s, which cannot be read: %s.", inc.Pattern, name, cause(err))
		return
	}
	in.add(config.File{Name: name, Data: data, Base: baseOf(name), Included: true}, &inc.Range)
}

// loop writes the way from the i-th file of the chain back to it.
func (in *includer) loop(i int, last config.Include) string {
	var b strings.Builder
	b.WriteString(in.chain[i].name)
	for _, l := range in.chain[i+1:] {
		fmt.Fprintf(&b, " includes %s (line %d), which", l.name, l.by.Start.Line)
	}
	fmt.Fprintf(&b, " includes %s (line %d)", in.chain[i].name, last.Range.Start.Line)
	return b.String()
}

// matches returns the files that an include block of f names, relative to the
// working directory, in ascending order.
func (in *includer) matches(f config.File, inc config.Include) []string {
	base, pattern := includeBase(filepath.Dir(f.Name), filepath.ToSlash(inc.Pattern))
	if _, err := path.Match(pattern, ""); inc.Pattern == "" || err != nil || !fs.ValidPath(pattern) {
		in.failf(inc, "Invalid include", "%q is not the name of a file, nor a pattern such as \"services/*/build.hcl\".", inc.Pattern)
		return nil
	}
	if !in.inside(filepath.Join(base, plainPart(pattern)), inc) {
		return nil
	}
	names, err := fs.Glob(fencedFS{os.DirFS(in.reader.abs(base)), in.reader.abs(base), in.fence}, pattern)
	switch {
	case err != nil:
		in.failf(inc, "Unreadable include", "%q cannot be looked up: %s.", inc.Pattern, cause(err))
		return nil
	case len(names) == 0 && !inc.Optional:
		in.failf(inc, "Nothing to include", "There is no file %q in %s; say optional = true if there need not be one.", pattern, in.reader.abs(base))
		return nil
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = in.reader.shown(filepath.Join(in.reader.abs(base), filepath.FromSlash(name)))
	}
	return names
}

// inside reports whether an include may name a path, and tells if not.
func (in *includer) inside(name string, inc config.Include) bool {
	err := in.fence.check(name)
	if err != nil {
		in.failf(inc, "Include from outside", "%q: %s.", inc.Pattern, err)
	}
	return err == nil
}

// plainPart is what leads a pattern before its first wildcard: a directory,
// or all of it.
func plainPart(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\\`); i >= 0 {
		return path.Dir(pattern[:i] + "x")
	}
	return pattern
}

// includeBase moves what leads a pattern out of its directory to the
// directory.
func includeBase(base, pattern string) (string, string) {
	if path.IsAbs(pattern) {
		return "/", strings.TrimPrefix(path.Clean(pattern), "/")
	}
	pattern = path.Clean(pattern)
	for strings.HasPrefix(pattern, "../") {
		base, pattern = filepath.Join(base, ".."), pattern[len("../"):]
	}
	return base, pattern
}

func (in *includer) failf(inc config.Include, summary, format string, args ...any) {
	in.diags = append(in.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &inc.Range,
	})
}

// cause returns an error without the path that it names.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
