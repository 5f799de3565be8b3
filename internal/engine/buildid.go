//go:build linux

package engine

import (
	"debug/elf"
	"os"
)

// buildID is the Go linker's identity of this executable; where that was left
// out, its size and time.
func buildID() string {
	if id := elfBuildID("/proc/self/exe"); id != "" {
		return id
	}
	fi, err := os.Stat("/proc/self/exe")
	if err != nil {
		return ""
	}
	return fi.ModTime().UTC().String() + "/" + fi.Name()
}

func elfBuildID(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	s := f.Section(".note.go.buildid")
	if s == nil {
		return ""
	}
	b, err := s.Data()
	if err != nil {
		return ""
	}
	return string(b)
}
