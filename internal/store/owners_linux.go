package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Owners. Each process that writes blobs, or needs those that are there, locks
// one byte of a file for as long as it lives: the system lets go of the lock
// whatever becomes of the process. The byte's place says when the process
// began and which it is. So another can tell whose half written blobs nobody
// will finish, and since when anybody may need a blob.

// ownersFile is empty, and never removed, as lockFile.
const ownersFile = "kiln.owners"

// own locks the byte of an owner. The file stays open until the process ends.
func own(dir string, o owner) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, ownersFile), os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: o.place(), Len: 1} // for which reading is enough
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isAbandoned reports whether no process is the owner. Where that cannot be
// told it is false.
func isAbandoned(dir string, o owner) bool {
	f, err := os.OpenFile(filepath.Join(dir, ownersFile), os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	_, held, err := firstHeld(f, o.place(), 1)
	return err == nil && !held
}

// oldestOwner returns when the longest living owner began; false if there is
// none.
func oldestOwner(dir string) (since time.Time, any bool, err error) {
	f, err := os.OpenFile(filepath.Join(dir, ownersFile), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return since, false, nil
	}
	if err != nil {
		return since, false, err
	}
	defer func() { _ = f.Close() }()
	limit := int64(0) // of the file's bytes; 0 is all of them
	for {
		at, held, err := firstHeld(f, 0, limit)
		if err != nil || !held {
			return since, any, err
		}
		since, any = beganAt(at), true
		if limit = at; limit == 0 {
			return since, any, nil
		}
	}
}

// firstHeld returns the place of a locked byte among length bytes from start;
// any of them, if there are several. A length of 0 is all that follow.
func firstHeld(f *os.File, start, length int64) (at int64, held bool, err error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: start, Len: length}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock)
	return lock.Start, lock.Type != unix.F_UNLCK, err
}
