package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/config"
)

// A fence is around the files that a definition may name for kiln to read
// while it is evaluated: by include blocks, and in Compose files by include,
// extends and env_file. Inside are the working directory, the directories of
// the files that the user named or kiln looked for, the git work tree, and
// what --allow grants. A nil fence is none.
type fence struct {
	dir    string // working directory
	grants []grant
}

// fence returns the fence of the command line; nil where the environment says
// that there is none.
func (a *app) fence(allow []string, remote bool) (*fence, error) {
	grants, err := parseAllow(allow)
	if err != nil {
		return nil, err
	}
	probe := []need{{grant: grant{grantFSRead, "/"}}}
	if len(a.enforced(probe, remote)) == 0 {
		return nil, nil
	}
	grants = append(grants, grant{grantFS, "."})
	if root, ok := workTree(a.dir); ok {
		grants = append(grants, grant{grantFSRead, root})
	}
	return &fence{a.dir, grants}, nil
}

// workTree is the directory at or above dir that has a .git, and that not
// anybody may write to.
func workTree(dir string) (string, bool) {
	for ; !anybodyWrites(dir); dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir, true
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return "", false
}

// around returns the fence with the directories of local files inside.
func (f *fence) around(files []config.File) *fence {
	if f == nil {
		return nil
	}
	out := &fence{f.dir, append([]grant{}, f.grants...)}
	for _, file := range files {
		if !file.Remote && !file.Included && file.Name != "-" {
			out.grants = append(out.grants, grant{grantFSRead, filepath.Dir(file.Name)})
		}
	}
	return out
}

// check returns an error that says what would allow it if path, relative to
// the working directory, is outside.
func (f *fence) check(path string) error {
	if f == nil {
		return nil
	}
	want := grant{grantFSRead, path}
	for _, g := range f.grants {
		if g.covers(want, f.dir) {
			return nil
		}
	}
	want.value = realPath(f.dir, path)
	return fmt.Errorf("%s is outside of the working directory and of the repository; pass --allow %s if it may be read", want.value, quoteArg(want.String()))
}

// compose is how Compose files read others.
func (f *fence) compose(files []config.File) config.ComposeInputs {
	f = f.around(files)
	return config.ComposeInputs{
		May: f.check,
		ReadFile: func(name string) ([]byte, error) {
			if err := f.check(name); err != nil {
				return nil, err
			}
			return os.ReadFile(name)
		},
	}
}

// A fencedFS is a directory in which a pattern is looked up: links that lead
// out of the fence are not followed.
type fencedFS struct {
	fs.FS
	dir   string
	fence *fence
}

// ReadDir implements fs.ReadDirFS.
func (f fencedFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.fence.check(filepath.Join(f.dir, name)); err != nil {
		return nil, err
	}
	return fs.ReadDir(f.FS, name)
}
