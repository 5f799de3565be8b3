package store

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// archive is a layer whose files have 1,000,003 bytes.
func archive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "dir/", Typeflag: tar.TypeDir},
		{Name: "dir/large", Typeflag: tar.TypeReg, Size: 1_000_000},
		{Name: "dir/again", Typeflag: tar.TypeLink, Linkname: "dir/large"},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "dir/large"},
		{Name: ".wh.gone", Typeflag: tar.TypeReg},
		{Name: strings.Repeat("long/", 60) + "name", Typeflag: tar.TypeReg, Size: 3},
	} {
		h.Mode = 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t *testing.T, text []byte, pack func(io.Writer) io.WriteCloser) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pack(&b)
	_, err := w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestMeasure(t *testing.T) {
	plain := archive(t)
	gz := packed(t, plain, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
	zst := packed(t, plain, func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w)
		if err != nil {
			t.Fatal(err)
		}
		return z
	})
	whole := int64(1_000_003)
	for _, tt := range []struct {
		name string
		text []byte
		want int64 // Unknown is an error
	}{
		{"tar", plain, whole},
		{"gzip", gz, whole},
		{"two members of gzip", append(packed(t, plain[:4096], func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }), packed(t, plain[4096:], func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })...), whole},
		{"zstd", zst, whole},
		{"nothing", nil, 0},
		{"cut", gz[:len(gz)/2], Unknown},
		{"text", []byte(strings.Repeat("no archive", 100)), Unknown},
	} {
		for kind, r := range map[string]io.Reader{"file": bytes.NewReader(tt.text), "stream": io.MultiReader(bytes.NewReader(tt.text))} {
			got, err := Measure(t.Context(), r)
			if err != nil {
				got = Unknown
			}
			if got != tt.want {
				t.Errorf("%s as a %s: %d, %v, want %d", tt.name, kind, got, err, tt.want)
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Measure(ended, bytes.NewReader(plain)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// A layer that is too large to be measured when it is put is measured when
// somebody asks, and not again.
func TestLayersAreMeasuredOnce(t *testing.T) {
	s := open(t)
	layer, err := addBlob(s.Content(), ocispec.MediaTypeImageLayer, archive(t))
	if err != nil {
		t.Fatal(err)
	}
	if k := s.readFacts(); k.Unpacked([]digest.Digest{layer.Digest}) != Unknown {
		t.Error("it is known before")
	}
	d := mustManifest(t, s, layer)
	mustPut(t, s, d, "app")
	if k := s.readFacts(); k.Of(d.Digest) == nil || k.Unpacked([]digest.Digest{layer.Digest}) != Unknown {
		t.Error("the layer was measured when the image was put")
	}
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if k, wrong := s.Glance(list); len(wrong) > 0 || k.Of(d.Digest) == nil || k.Unpacked([]digest.Digest{layer.Digest}) != Unknown {
		t.Errorf("a glance measured the layer, or finds %v", wrong)
	}
	k, _ := s.Know(t.Context(), list, func(int64) { t.Error("it is too small to be told of") })
	if got := k.Unpacked([]digest.Digest{layer.Digest}); got != 1_000_003 {
		t.Errorf("measured %d", got)
	}
	remove(t, s.blobs.path(layer.Digest)) // the second time nobody looks
	if k, _ := s.Know(t.Context(), list, nil); k.Unpacked([]digest.Digest{layer.Digest}) != 1_000_003 {
		t.Error("it was not remembered")
	}
}
