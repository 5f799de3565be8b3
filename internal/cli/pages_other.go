//go:build !linux

package cli

// largePages is for Linux alone.
func largePages([]byte) {}
