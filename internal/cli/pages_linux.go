package cli

import "golang.org/x/sys/unix"

// largePages asks the kernel to back b with large pages where it can
// (madvise(2), MADV_HUGEPAGE). A kernel that cannot leaves all as it is.
func largePages(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
