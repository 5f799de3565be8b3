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
	"sync"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"
)

// Temporary outputs. What is under way has a hidden name beside the one that
// it is to have, and is locked as long as its kiln lives: so the next kiln can
// tell what a killed one left, and clear it away.

// tempOf begins the names of temporary outputs for dest.
func tempOf(dest string) string {
	return filepath.Join(filepath.Dir(dest), "."+filepath.Base(dest)+".kiln-")
}

// A temp is a temporary output, or will be one: the daemon begins to write
// when it is ready to, which may be after all was given up.
type temp struct {
	mu      sync.Mutex // guards the fields below
	path    string     // "" while there is none
	release func()     // lets go of the lock on it
	over    bool       // it was discarded; there will be no other
}

// errOver is the error of an output that is begun too late.
var errOver = errors.New("the export has ended")

// at returns where the output is, "" while there is none.
func (t *temp) at() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.path
}

// make makes a temporary file or directory for dest and locks it.
func (t *temp) make(dest string, directory bool) (*os.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil, errOver
	}
	sweepTemps(dest)
	for {
		path := tempOf(dest) + strconv.FormatUint(rand.Uint64(), 36)
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
			t.release = release
		}
		t.path = path
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

// letGo unlocks an output that has its name, or is gone. The caller holds mu.
func (t *temp) letGo() {
	t.path = ""
	if t.release != nil {
		t.release()
		t.release = nil
	}
}

// discard removes the output, and has none made any more.
func (t *temp) discard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.path == "" {
		return
	}
	// What the daemon has sent last may still be on its way into a directory.
	for range 100 {
		if os.RemoveAll(t.path) == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.letGo()
}

// rename gives the output its name. A directory that another kiln has put
// there meanwhile is replaced as a whole.
func (t *temp) rename(dest string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.letGo()
	err := os.Rename(t.path, dest)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		aside := t.path + ".old"
		if err = os.Rename(dest, aside); err == nil || errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(t.path, dest)
		}
		_ = os.RemoveAll(aside)
	}
	if err != nil {
		os.RemoveAll(t.path)
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
