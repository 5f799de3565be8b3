package buildkit

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/buildkit/client"
)

// Temporary outputs. What is under way has a hidden name beside the one that
// it is to have, and is locked as long as its kiln lives: so the next kiln can
// tell what a killed one left, and clear it away.

// tempOf begins the names of temporary outputs for dest.
func tempOf(dest string) string {
	return filepath.Join(filepath.Dir(dest), "."+filepath.Base(dest)+".kiln-")
}

// makeTemp makes a temporary file or directory for the output and locks it.
func (e *output) makeTemp(directory bool) (*os.File, error) {
	sweepTemps(e.dest)
	for {
		path := tempOf(e.dest) + strconv.FormatUint(rand.Uint64(), 36)
		var file *os.File
		var err error
		if directory {
			err = os.Mkdir(path, 0o755)
		} else {
			file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		}
		if err != nil {
			return nil, err
		}
		release, held, err := tryFlock(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && held && !same(path, file) {
			if held {
				release()
			}
			if file != nil {
				file.Close()
			}
			continue // swept by another between the two
		}
		if err == nil && held {
			e.release = release
		}
		e.tmp = path
		return file, nil
	}
}

// same reports whether path is there, and is still the file.
func same(path string, file *os.File) bool {
	now, err := os.Lstat(path)
	if err != nil || file == nil {
		return err == nil
	}
	fi, err := file.Stat()
	return err == nil && os.SameFile(now, fi)
}

// sweepTemps removes the temporary outputs for dest that no kiln holds.
func sweepTemps(dest string) {
	dir, prefix := filepath.Split(tempOf(dest))
	entries, _ := os.ReadDir(dir) // what cannot be read has nothing to remove
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), prefix) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		if release, held, err := tryFlock(path); err == nil && held {
			_ = os.RemoveAll(path) // left for the next time, if it can't be
			release()
		}
	}
}

// letGo unlocks a temporary output that has its name, or is gone.
func (e *output) letGo() {
	e.tmp = ""
	if e.release != nil {
		e.release()
		e.release = nil
	}
}

// rename gives the temporary output its name. A directory that another kiln
// has put there meanwhile is replaced as a whole.
func (e *output) rename() error {
	defer e.letGo()
	err := os.Rename(e.tmp, e.dest)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		aside := e.tmp + ".old"
		if err = os.Rename(e.dest, aside); err == nil || errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(e.tmp, e.dest)
		}
		_ = os.RemoveAll(aside)
	}
	if err != nil {
		os.RemoveAll(e.tmp)
	}
	return err
}

// directories lists the directories that are written to in place. Layouts
// are made if they are not there: BuildKit's client does not wait for a lock
// on their index, it fails.
func (o *outputs) directories() []string {
	var out []string
	layout := func(dir string) {
		_ = os.MkdirAll(dir, 0o755) // else writing says why not
		out = append(out, dir)
	}
	for _, e := range o.list {
		switch {
		case e.dest == "":
		case e.Type == client.ExporterLocal:
			out = append(out, e.dest)
		case isDirectory(&e.Export):
			layout(e.dest)
		}
	}
	for _, c := range o.j.req.CacheTo {
		if c.Type == "local" {
			layout(o.s.abs(c.Attrs["dest"]))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// lockDirectories keeps other kilns from writing to the same directories.
func (o *outputs) lockDirectories(ctx context.Context) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, release := range held {
			release()
		}
	}
	for _, dir := range o.directories() {
		release, err := flock(ctx, dir)
		switch {
		case err == nil:
			held = append(held, release)
		case ctx.Err() != nil:
			unlock()
			return nil, err
			// Else it is not there, and gets its name when it is whole, or
			// writing to it says what is wrong.
		}
	}
	return unlock, nil
}
