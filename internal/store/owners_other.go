//go:build !linux

package store

import (
	"os"
	"time"
)

// own does nothing where locks are not of open files.
func own(string, owner) (*os.File, error) { return nil, nil }

// isAbandoned cannot be told there.
func isAbandoned(string, owner) bool { return false }

// oldestOwner cannot be told there: whatever began within a day may live.
func oldestOwner(string) (since time.Time, any bool, err error) {
	return time.Now().Add(-staleAfter), true, nil
}
