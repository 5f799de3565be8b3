package buildkit

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/tonistiigi/fsutil"
)

// A steadyFS reads files as they were at one moment, or not at all: a file
// that is written to while it is sent would be half of one version and half
// of another, in the image and in the cache.
type steadyFS struct{ fsutil.FS }

// Open implements fsutil.FS.
func (s steadyFS) Open(path string) (io.ReadCloser, error) {
	f, err := s.FS.Open(path)
	if err != nil {
		return nil, err
	}
	file, ok := f.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return f, nil
	}
	fi, err := file.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &steadyFile{ReadCloser: f, path: path, began: fi, stat: file.Stat}, nil
}

// A steadyFile reports at its end whether it is what it was at the beginning.
type steadyFile struct {
	io.ReadCloser
	path  string
	began fs.FileInfo
	stat  func() (fs.FileInfo, error)
	read  int64
}

func (f *steadyFile) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	f.read += int64(n)
	if err != io.EOF {
		return n, err
	}
	now, statErr := f.stat()
	if statErr != nil {
		return n, statErr
	}
	if f.read != f.began.Size() || now.Size() != f.began.Size() || !now.ModTime().Equal(f.began.ModTime()) {
		return n, fmt.Errorf("%s was written to while it was read: build again when nothing changes it, or leave it out by .dockerignore", f.path)
	}
	return n, io.EOF
}
