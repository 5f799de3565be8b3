// Package fetched has what tests need beside this module: programs of
// Debian's packages, which a script puts into .cache. It is imported by tests
// only, and by what they stand on.
package fetched

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"

	"github.com/gofrs/flock"
)

// Dir returns the directory .cache/NAME of the module that the working
// directory is in. Unless the file there is in it, scripts/NAME.sh makes it,
// which costs little where all is there; "" always asks the script. Tests of
// several packages may ask at once.
func Dir(name, there string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }()
	if there != "" {
		if _, err := os.Stat(filepath.Join(dir, there)); err == nil {
			return dir, nil
		}
	}
	cmd := osexec.Command("sh", "scripts/"+name+".sh", dir)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("sh scripts/%s.sh .cache/%s: %w\n%s", name, name, err, out)
	}
	return dir, nil
}

// moduleRoot returns the directory of go.mod, at or above the working directory.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("there is no go.mod in %s or above", start)
		}
	}
}
