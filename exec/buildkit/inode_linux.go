package buildkit

import (
	"io/fs"
	"syscall"
)

// inodeOf returns what tells a file from another in its place, when its
// content or its attributes were last changed, in nanoseconds since 1970, and
// how many names it has.
func inodeOf(fi fs.FileInfo) (device, inode uint64, changed int64, links uint64, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, 0, 0, false
	}
	return st.Dev, st.Ino, st.Ctim.Nano(), uint64(st.Nlink), true
}
