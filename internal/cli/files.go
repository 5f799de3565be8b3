package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/config"
)

// Reading definitions: which files say what is to be built, and their bytes.
// In this order: the files of -f; those of BUILDX_BAKE_FILE; the nearest
// build.hcl, looked for from the working directory upwards; the files that
// bake looks for, in the working directory. Then what they include.
//
// Paths in a build.hcl that was found so, and in included files, are relative
// to that file; in all others, those of -f among them, to the working
// directory, as with bake.
//
// The search for build.hcl ends at the directory that has a .git, which is
// the repository's root. Without one it goes on to the root of the file
// system, but no further than a directory that anybody may write to, such as
// /tmp: a file there could be anybody's.

const (
	ownName         = "build.hcl"
	ownOverrideName = "build.override.hcl"
)

// bakeNames are the files that bake reads, all of them that there are, in
// this order.
var bakeNames = []string{
	"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml",
	"docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl",
}

// fileOptions say where a definition is.
type fileOptions struct {
	names  []string                    // of -f
	dir    string                      // working directory, absolute
	getenv func(string) (string, bool) // value of an environment variable and whether it is set
	stdin  io.Reader                   // nil is empty
	fence  *fence                      // around what include blocks may name; nil is none
}

// readDefinitions reads the definition that o finds, in the order in which
// later files win, with all that it includes. The error is hcl.Diagnostics,
// with the files that were read, where an include block is at fault. Files without a byte count as absent.
func readDefinitions(o fileOptions) ([]config.File, error) {
	r, err := newFileReader(o)
	if err != nil {
		return nil, err
	}
	files, tried, err := r.find()
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(f config.File) bool { return len(f.Data) == 0 })
	if len(files) == 0 {
		return nil, noDefinition(tried, o.dir)
	}
	return r.withIncludes(files)
}

// A fileReader reads the files of one definition.
type fileReader struct {
	o        fileOptions
	relative bool   // contexts are relative to the file in any case
	stdin    []byte // once it is read
	hasStdin bool
}

func newFileReader(o fileOptions) (*fileReader, error) {
	r := &fileReader{o: o}
	if v, ok := o.getenv("BUILDX_BAKE_FILE_RELATIVE_PATHS"); ok && v != "" {
		on, err := strconv.ParseBool(v)
		if err != nil {
			return nil, fmt.Errorf("BUILDX_BAKE_FILE_RELATIVE_PATHS is %q; it must be true or false", v)
		}
		r.relative = on
	}
	return r, nil
}

// find reads the files that were named or are found, and returns the names
// that were looked for.
func (r *fileReader) find() (files []config.File, tried []string, err error) {
	for _, name := range r.o.names {
		f, err := r.read("-f", name)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, f)
	}
	if len(r.o.names) > 0 {
		return files, r.o.names, nil
	}
	if names := bakeFileNames(r.o.getenv); len(names) > 0 {
		for _, name := range names {
			f, err := r.read("BUILDX_BAKE_FILE", name)
			if err != nil {
				return nil, nil, err
			}
			files = append(files, f)
		}
		return files, names, nil
	}
	if files, err = r.nearest(); len(files) > 0 || err != nil {
		return files, nil, err
	}
	files, err = r.existing(r.o.dir, bakeNames)
	return files, append([]string{ownName + " (there and in the directories above)"}, bakeNames...), err
}

// bakeFileNames returns the names in BUILDX_BAKE_FILE.
func bakeFileNames(getenv func(string) (string, bool)) []string {
	sep, ok := getenv("BUILDX_BAKE_PATH_SEPARATOR")
	if !ok || sep == "" {
		sep = string(os.PathListSeparator)
	}
	value, _ := getenv("BUILDX_BAKE_FILE")
	var names []string
	for name := range strings.SplitSeq(value, sep) {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// nearest reads the nearest build.hcl, and build.override.hcl beside it.
func (r *fileReader) nearest() ([]config.File, error) {
	for dir := r.o.dir; ; dir = filepath.Dir(dir) {
		if dir != r.o.dir && anybodyWrites(dir) {
			return nil, nil
		}
		files, err := r.existing(dir, []string{ownName})
		if err != nil {
			return nil, err
		}
		if len(files) > 0 && len(files[0].Data) > 0 {
			override, err := r.existing(dir, []string{ownOverrideName})
			return append(files, override...), err
		}
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil || dir == filepath.Dir(dir) {
			return nil, nil
		}
	}
}

func anybodyWrites(dir string) bool {
	info, err := os.Stat(dir)
	return err != nil || info.Mode().Perm()&0o002 != 0
}

// existing reads those of the files that there are in a directory.
func (r *fileReader) existing(dir string, names []string) ([]config.File, error) {
	var files []config.File
	for _, name := range names {
		path := filepath.Join(dir, name)
		data, err := r.readFound(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the build file: %w", err)
		}
		files = append(files, r.found(r.shown(path), data))
	}
	return files, nil
}

// readFound reads a file that nobody has named. One that is a link to
// elsewhere is not read, nor is a device.
func (r *fileReader) readFound(path string) ([]byte, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSymlink != 0 {
		inside := r.o.fence.around([]config.File{{Name: path}})
		if err := inside.check(path); err != nil {
			return nil, fmt.Errorf("%s is a link: %w", r.shown(path), err)
		}
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() && !st.IsDir() {
		return nil, fmt.Errorf("%s is not a regular file", r.shown(path))
	}
	return readFile(path)
}

// maxFile bounds the bytes of a build file.
const maxFile = 64 << 20

// readFile reads a build file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f)
}

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(data) > maxFile {
		return nil, fmt.Errorf("it has more than %d MB, which is no build file", maxFile>>20)
	}
	return data, err
}

// shown returns a path relative to the working directory.
func (r *fileReader) shown(path string) string {
	if rel, err := filepath.Rel(r.o.dir, path); err == nil {
		return rel
	}
	return path
}

// read reads a file named by a flag or variable.
func (r *fileReader) read(by, name string) (config.File, error) {
	if name == "-" {
		data, err := r.readStdin()
		return config.File{Name: "-", Data: data}, err
	}
	path := strings.TrimPrefix(name, "cwd://")
	if strings.Contains(path, "://") {
		return config.File{}, fmt.Errorf("%s %s: this names a file; `kiln build` takes the address of a remote definition, as its first argument and without %s", by, name, by)
	}
	data, err := readFile(r.abs(path))
	if err != nil {
		return config.File{}, fmt.Errorf("%s %s: %s", by, name, r.reason(path, err))
	}
	return r.file(path, data), nil
}

func (r *fileReader) abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.o.dir, path)
}

func (r *fileReader) readStdin() ([]byte, error) {
	if r.hasStdin || r.o.stdin == nil {
		return r.stdin, nil
	}
	data, err := readAll(r.o.stdin)
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	r.stdin, r.hasStdin = data, true
	return data, nil
}

// reason says why a file cannot be read, and what might be meant.
func (r *fileReader) reason(path string, err error) string {
	dir := filepath.Dir(r.abs(path))
	info, statErr := os.Stat(r.abs(path))
	switch {
	case statErr == nil && info.IsDir():
		entries, _ := os.ReadDir(r.abs(path))
		for _, e := range entries {
			if e.Name() == ownName || slices.Contains(bakeNames, e.Name()) {
				return fmt.Sprintf("is a directory; name the file in it, as in -f %s", filepath.Join(path, e.Name()))
			}
		}
		return "is a directory, and there is no build file in it"
	case errors.Is(err, fs.ErrNotExist):
		entries, _ := os.ReadDir(dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return fmt.Sprintf("no such file in %s%s", dir, didYouMean(filepath.Base(path), names))
	}
	return cause(err).Error()
}

// found makes a definition file of one that was not named. The paths in a
// build.hcl that kiln finds are relative to it.
func (r *fileReader) found(path string, data []byte) config.File {
	if base := filepath.Base(path); base != ownName && base != ownOverrideName {
		return r.file(path, data)
	}
	return config.File{Name: path, Data: data, Base: baseOf(path)}
}

// file makes a definition file of one that was named, or that bake would find.
// Whatever it is called, its paths are relative to the working directory, as
// with bake, unless BUILDX_BAKE_FILE_RELATIVE_PATHS says otherwise of contexts.
func (r *fileReader) file(path string, data []byte) config.File {
	f := config.File{Name: path, Data: data}
	if r.relative {
		f.Base, f.ContextsOnly = baseOf(path), true
	}
	return f
}

// baseOf returns the directory of a file, "" for the working directory.
func baseOf(path string) string {
	if dir := filepath.Dir(path); dir != "." {
		return dir
	}
	return ""
}

// noDefinition says which names were looked for, and where.
func noDefinition(tried []string, dir string) error {
	return fmt.Errorf("there is no build file: looked in %s for %s; write a %s, or name a file with -f",
		dir, strings.Join(tried, ", "), ownName)
}
