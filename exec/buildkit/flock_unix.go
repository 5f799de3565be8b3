//go:build unix

package buildkit

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// flockEvery is how often a lock that another process has is tried again.
const flockEvery = 20 * time.Millisecond

// flock takes the lock of a file or directory that is there, against other
// processes, and waits while another has it. Where the file system has no
// locks it does nothing.
func flock(ctx context.Context, path string) (release func(), err error) {
	for {
		release, held, err := tryFlock(path)
		if err != nil || held {
			return release, err
		}
		select {
		case <-time.After(flockEvery):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// tryFlock is flock without waiting; held is false if another has the lock.
func tryFlock(path string) (release func(), held bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return nil, false, nil
	case err != nil:
		f.Close()
		return func() {}, true, nil
	}
	return func() { f.Close() }, true, nil
}
