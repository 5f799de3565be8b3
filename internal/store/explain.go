package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// explain adds to an error of the file system which store it happened to, and
// what its owner can do.
func (s *Store) explain(doing string, err error) error {
	return fmt.Errorf("%s image store %s: %w%s", doing, s.dir, err, remedy(err))
}

// Explain adds the same to an error that a file of the store's blobs has met
// with; any other it returns as it is.
func (s *Store) Explain(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) && strings.HasPrefix(at.Path, s.dir+string(filepath.Separator)) {
		return s.explain("write", err)
	}
	return err
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
