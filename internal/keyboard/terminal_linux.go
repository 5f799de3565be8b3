package keyboard

import (
	"os"

	"golang.org/x/sys/unix"
)

// A terminal gives keys instead of lines while it is taken.
type terminal struct {
	file  *os.File
	fd    int
	saved *unix.Termios // as it was; nil unless it is taken
	guard *guard        // since it was taken first
}

// foreground reports whether the terminal is this program's to read.
func (t *terminal) foreground() bool {
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// take makes the terminal give keys, and reports whether it does. It is taken
// once more if another program has changed it since.
func (t *terminal) take() bool {
	if !t.foreground() {
		return false
	}
	if t.guard == nil {
		t.guard = newGuard(t.file)
	}
	now, err := unix.IoctlGetTermios(t.fd, unix.TCGETS)
	if err != nil {
		return false
	}
	if t.saved != nil && now.Lflag&(unix.ICANON|unix.ECHO) == 0 {
		return true
	}
	was := *now
	now.Lflag &^= unix.ICANON | unix.ECHO
	now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 0, 0 // reading does not wait: polling does
	if err := unix.IoctlSetTermios(t.fd, unix.TCSETS, now); err != nil {
		return false
	}
	t.saved = &was
	t.guard.taken()
	return true
}

// restore leaves the terminal as it was, unless it is another program's.
func (t *terminal) restore() {
	if t.saved != nil && t.foreground() {
		_ = unix.IoctlSetTermios(t.fd, unix.TCSETS, t.saved)
	}
	t.saved = nil
}

// letGo restores the terminal for good.
func (t *terminal) letGo() {
	t.restore()
	t.guard.dismiss()
}
