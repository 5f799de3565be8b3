//go:build linux

package engine

import "os"

// leastPages are the pages that every bbolt database has; one with fewer
// cannot be opened.
const leastPages = 4

// mendBegun removes the files below root that an engine was killed over while
// it made them, or found no room for. There is nothing in them yet; but an
// engine that finds them so cannot start.
func mendBegun(root string) error {
	database := int64(leastPages * os.Getpagesize())
	for _, f := range []struct {
		pattern string
		least   int64 // bytes
	}{
		{"*.db", database},
		{"runc-*/*.db", database},
		{"runc-*/snapshots/*.db", database},
		{"runc-*/workerid", 1},
	} {
		for _, path := range below(root, f.pattern) {
			fi, err := os.Stat(path)
			if err == nil && fi.Size() < f.least {
				err = os.Remove(path)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
