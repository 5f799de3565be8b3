//go:build unix

package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// isOwn reports whether path is a directory of this user.
func isOwn(path string) bool {
	fi, err := os.Stat(path)
	if err != nil || !fi.IsDir() {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// makePrivate makes dir, for this user alone. One that is there already is
// refused if it belongs to somebody else or is a link: in /tmp, anybody could
// have put it there.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return tellDisk(dir, err)
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.IsDir() || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a directory of this user: remove it, or set KILN_RUNTIME_DIR to a directory of your own", dir)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// tellDisk puts what fails for want of room, or of the right to write, into
// words.
func tellDisk(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: no room for the engine's state in %s: free some space there, or set KILN_STATE_DIR to a directory on another disk", ErrDiskFull, dir)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the engine can't write to %s: set KILN_STATE_DIR (and KILN_RUNTIME_DIR) to a directory of your own: %w", dir, err)
	}
	return err
}
