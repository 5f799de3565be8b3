package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Owners. Each process that writes blobs locks one byte of a file, at a place
// that its prefix says, for as long as it lives: the system lets go of the
// lock whatever becomes of the process. So another can tell whose half
// written blobs nobody will finish.

// ownersFile is empty, and never removed, as lockFile.
const ownersFile = "kiln.owners"

// own locks the byte of a prefix. The file stays open until the process ends.
func own(dir, prefix string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, ownersFile), os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return nil, err
	}
	lock := byteOf(prefix, unix.F_RDLCK) // for which reading is enough
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isAbandoned reports whether no process owns the prefix. Where that cannot
// be told it is false.
func isAbandoned(dir, prefix string) bool {
	f, err := os.OpenFile(filepath.Join(dir, ownersFile), os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	lock := byteOf(prefix, unix.F_WRLCK)
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock)
	return err == nil && lock.Type == unix.F_UNLCK
}

func byteOf(prefix string, kind int16) unix.Flock_t {
	sum := sha256.Sum256([]byte(prefix))
	return unix.Flock_t{Type: kind, Start: int64(binary.BigEndian.Uint64(sum[:8]) >> 2), Len: 1}
}
