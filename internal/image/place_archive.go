package image

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// An archive is what a tar file holds, by name. Nothing is unpacked: files
// are read where they lie.
type archive struct {
	from    io.ReaderAt
	entries map[string]entry
}

// An entry is a file of an archive, or a link to one.
type entry struct {
	offset, size int64
	link         string // the name that it stands for; "" for a file
}

const tarBlock = 512

// mostEntries is how many files an archive of images may have.
const mostEntries = 100_000

// openArchive reads the table of a tar file, which is packed or not. The
// unpacked copy of a packed one is in dir, and gone when it is closed.
func openArchive(f *os.File, dir string) (*archive, *os.File, error) {
	magic := make([]byte, 6)
	n, err := f.ReadAt(magic, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, f, err
	}
	if unpack := unpacker(magic[:n]); unpack != nil {
		f, err = unpacked(f, dir, unpack)
		if err != nil {
			return nil, f, err
		}
	}
	info, err := f.Stat()
	if err != nil {
		return nil, f, err
	}
	a, err := indexArchive(f, info.Size())
	return a, f, err
}

// unpacker returns what unpacks a file that begins with magic; nil if it is
// not packed.
func unpacker(magic []byte) func(io.Reader) (io.Reader, error) {
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		return func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		return func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) }
	case bytes.HasPrefix(magic, []byte("BZh")):
		return func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		return func(io.Reader) (io.Reader, error) {
			return nil, errors.New("it is packed with xz, which kiln does not read; unpack it with `xz -d`")
		}
	}
	return nil
}

// unpacked returns a file of what f holds, which closes f.
func unpacked(f *os.File, dir string, unpack func(io.Reader) (io.Reader, error)) (*os.File, error) {
	r, err := unpack(f)
	if err != nil {
		return f, err
	}
	tmp, err := spool(r, dir)
	if err != nil {
		return f, fmt.Errorf("unpack it: %w", err)
	}
	f.Close()
	return tmp, nil
}

// spool copies what can be read once to a file in dir that has no name any
// more, so that nothing of it stays wherever kiln ends.
func spool(r io.Reader, dir string) (*os.File, error) {
	tmp, err := os.CreateTemp(dir, "kiln-image-*")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(tmp.Name())
	if _, err = io.Copy(tmp, r); err == nil {
		_, err = tmp.Seek(0, io.SeekStart)
	}
	if err != nil {
		tmp.Close()
		return nil, err
	}
	return tmp, nil
}

// indexArchive reads the headers of a tar file of size bytes.
func indexArchive(from io.ReaderAt, size int64) (*archive, error) {
	a := &archive{from: from, entries: map[string]entry{}}
	section := io.NewSectionReader(from, 0, size)
	r := tar.NewReader(section)
	var end int64 // of what was read so far, with its padding
	for {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF) && size > 0 && size < tarBlock:
			return nil, errors.New("it is not a tar file")
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF) && end > size:
			return nil, errors.New("it is cut off; get it once more")
		case errors.Is(err, io.EOF) && len(a.entries) > 0:
			return a, nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("it is no archive, or an empty one")
		case err != nil && len(a.entries) == 0:
			return nil, errors.New("it is not a tar file")
		case err != nil:
			return nil, err
		}
		offset, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if err := a.add(h, offset, size); err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg { // no other has content
			end = (offset + h.Size + tarBlock - 1) / tarBlock * tarBlock
		}
	}
}

// add notes one header of a file of size bytes.
func (a *archive) add(h *tar.Header, offset, size int64) error {
	name := path.Clean(h.Name)
	if name == ".." || strings.HasPrefix(name, "../") || path.IsAbs(name) {
		return fmt.Errorf("it holds %q, a name that leads out of it", h.Name)
	}
	if len(a.entries) >= mostEntries {
		return fmt.Errorf("it holds more than %d files; that is no archive of images", mostEntries)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		if h.Size > size-offset { // a sum may be too large to write
			return fmt.Errorf("it is cut off in %s; get it once more", name)
		}
		for key := range h.PAXRecords { // any of them says so
			if strings.HasPrefix(key, "GNU.sparse.") {
				return fmt.Errorf("%s is a sparse file", name)
			}
		}
		a.entries[name] = entry{offset: offset, size: h.Size}
	case tar.TypeSymlink:
		a.entries[name] = entry{link: path.Join(path.Dir(name), h.Linkname)}
	case tar.TypeLink:
		a.entries[name] = entry{link: path.Clean(h.Linkname)}
	case tar.TypeDir, tar.TypeXGlobalHeader:
	default:
		return fmt.Errorf("%s is neither a file nor a directory nor a link", name)
	}
	return nil
}

// mostLinks is how many links may lead to a file.
const mostLinks = 8

// find returns the file of a name. Links lead to other files of the archive,
// never out of it.
func (a *archive) find(name string) (entry, error) {
	for range mostLinks {
		e, ok := a.entries[name]
		if !ok {
			return e, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		if e.link == "" {
			return e, nil
		}
		name = e.link
	}
	return entry{}, fmt.Errorf("%s: too many links", name)
}

func (a *archive) file(name string) (io.ReadCloser, error) {
	e, err := a.find(name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(a.from, e.offset, e.size)), nil
}

func (a *archive) size(name string) (int64, error) {
	e, err := a.find(name)
	return e.size, err
}
