package store

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// measure returns how many bytes the files in a layer have, as Docker counts
// the size of an image: without the headers of the archive, each file once.
// It is Unknown where the layer is not there, or is no archive.
func (s *Store) measure(ctx context.Context, layer digest.Digest) int64 {
	if layer.Validate() != nil {
		return Unknown
	}
	f, err := os.Open(s.blobs.path(layer))
	if err != nil {
		return Unknown
	}
	defer func() { _ = f.Close() }()
	n, err := Measure(ctx, f)
	if err != nil {
		return Unknown
	}
	return n
}

// The first bytes of compressed files.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// Measure returns how many bytes the files in the archive r have. It is a tar
// archive as it is, or compressed with gzip or zstd.
func Measure(ctx context.Context, r io.Reader) (int64, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	magic, err := buffered.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return 0, err
		}
		return filesOf(ctx, z)
	case bytes.HasPrefix(magic, zstdMagic):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return 0, err
		}
		defer z.Close()
		return filesOf(ctx, z)
	}
	if at, ok := r.(io.ReadSeeker); ok { // then files can be passed over
		if _, err := at.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		return filesOf(ctx, at)
	}
	return filesOf(ctx, buffered)
}

// filesOf adds up the sizes of the files in a tar archive.
func filesOf(ctx context.Context, r io.Reader) (int64, error) {
	var n int64
	for t := tar.NewReader(r); ; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		if h.Typeflag == tar.TypeReg {
			n += h.Size
		}
	}
}
