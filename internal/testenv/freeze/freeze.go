// Package freeze stops processes, so that tests see them not answer.
package freeze

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Process stops the process pid with SIGSTOP and returns when each of its
// threads has stopped. The signal alone is only a wish: the kernel wakes one
// thread, and the others, on another processor, may go on and answer a
// question that came after it. A process that is gone is not an error.
func Process(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		if err != syscall.ESRCH {
			t.Fatal(err)
		}
		return
	}
	end := time.Now().Add(time.Minute)
	// Twice, for a thread that was begun while the others were looked at.
	for looks := 0; looks < 2; {
		if isFrozen(pid) {
			looks++
			continue
		}
		if time.Now().After(end) {
			t.Fatalf("process %d has not stopped within a minute", pid)
		}
		looks = 0
		time.Sleep(time.Millisecond)
	}
}

// isFrozen reports whether no thread of a process runs or could run.
func isFrozen(pid int) bool {
	stats, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	if err != nil {
		return false
	}
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // the thread ended
		}
		// proc(5): the state follows the name, which may hold a ")" itself.
		_, after, found := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
		if !found || len(after) == 0 || !bytes.ContainsRune([]byte("TtZX"), rune(after[0])) {
			return false
		}
	}
	return true
}
