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
	return err == nil && fi.IsDir() && isMine(fi)
}

// makePrivate makes dir, for this user alone. One that is there already stays
// as it is, and is refused if somebody else could put a socket of their own
// into it: in /tmp, anybody could have made it first.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the directory of the engine's socket (KILN_RUNTIME_DIR names another): %w", tellDisk(dir, err))
	}
	link, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !fi.IsDir() || !isMine(link) || !isMine(fi) || fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is no directory that only this user may write to: remove it, or set KILN_RUNTIME_DIR to one of your own", dir)
	}
	return nil
}

func isMine(fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
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
