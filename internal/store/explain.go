package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// explain adds to an error of the file system which store it happened to, and
// what its owner can do.
func (s *Store) explain(doing string, err error) error {
	return fmt.Errorf("%s image store %s: %w%s", doing, s.dir, err, remedy(err))
}

func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "; free some space there, nothing that was stored is lost"
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return "; it must be writable: give it to your user, or choose another place with KILN_STATE_DIR"
	default:
		return ""
	}
}
