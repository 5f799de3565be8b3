package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/internal/store"
)

// images measures lists of images in stores that are ever larger: as builds
// leave the store, and as it is when all was copied there by another tool.
// Then it measures the rebuild of an image of 200 MB that has not changed.
func (b *bench) images(ctx context.Context) error {
	fmt.Fprintf(b.out, "\nimages in the store: median of %d\n\n", b.runs)
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "images\tkiln images\tmemory\t--json\tfirst of a foreign store\tkiln store gc\t")
	for _, n := range []int{100, 1_000, 10_000} {
		if err := b.listing(ctx, t, n); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return b.unchanged(ctx)
}

// listing prints a line about a store of n images.
func (b *bench) listing(ctx context.Context, t *tabwriter.Writer, n int) error {
	state := filepath.Join(b.work, fmt.Sprintf("store%d", n))
	dir := filepath.Join(state, "images")
	if err := fillStore(ctx, dir, n); err != nil {
		return err
	}
	kiln := func(args ...string) []string {
		return append(b.setting("KILN_STATE_DIR="+state, b.kiln), args...)
	}
	var all []sample
	for _, what := range []struct {
		args   []string
		before func() error
	}{
		{kiln("images"), nil},
		{kiln("images", "--json"), nil},
		{kiln("images"), func() error { return os.Remove(filepath.Join(dir, "kiln.facts")) }},
		{kiln("store", "gc"), nil},
	} {
		s, err := b.measure(ctx, b.work, what.args, what.before)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t\n", n, ms(all[0].wall), mib(all[0].rss), ms(all[1].wall), ms(all[2].wall), ms(all[3].wall))
	return nil
}

// fillStore puts n images of five layers, three of which all share, as builds
// at once do.
func fillStore(ctx context.Context, dir string, n int) error {
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(64)
	for i := range n {
		eg.Go(func() error {
			d, err := addImage(ctx, s.Content(), i)
			if err != nil {
				return err
			}
			d.Annotations = map[string]string{store.AnnotationTarget: fmt.Sprintf("t%d", i), store.AnnotationDefinition: "/src/repository"}
			return s.Put(ctx, []string{fmt.Sprintf("registry.example.com/team/s%d:1.%d", i/10, i%10)}, d)
		})
	}
	return eg.Wait()
}

// addImage writes the blobs of an image.
func addImage(ctx context.Context, cs content.Store, i int) (ocispec.Descriptor, error) {
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	cfg := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	created := time.Unix(int64(i), 0).UTC()
	cfg.Created = &created
	for l := range 5 {
		text := make([]byte, 1024) // an archive without files
		if l > 2 {
			text = append(text, fmt.Sprintf("own of %d", i)...)
		}
		text = append(text, byte(l))
		d, err := addBlob(ctx, cs, ocispec.MediaTypeImageLayer, text)
		if err != nil {
			return d, err
		}
		m.Layers = append(m.Layers, d)
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, d.Digest)
		cfg.History = append(cfg.History, ocispec.History{Created: &created, CreatedBy: fmt.Sprintf("RUN /bin/sh -c step %d # buildkit", l)})
	}
	var err error
	if m.Config, err = addJSON(ctx, cs, ocispec.MediaTypeImageConfig, cfg); err != nil {
		return m.Config, err
	}
	return addJSON(ctx, cs, ocispec.MediaTypeImageManifest, m)
}

func addJSON(ctx context.Context, cs content.Store, mediaType string, v any) (ocispec.Descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return addBlob(ctx, cs, mediaType, text)
}

func addBlob(ctx context.Context, cs content.Store, mediaType string, text []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	return d, content.WriteBlob(ctx, cs, d.Digest.String(), bytes.NewReader(text), d)
}

// unchanged measures building an image of 200 MB again, of which nothing has
// changed.
func (b *bench) unchanged(ctx context.Context) error {
	dir := filepath.Join(b.work, "large")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text := make([]byte, 200_000_000)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(text) // never fails
	for name, text := range map[string][]byte{
		"data":      text,
		"build.hcl": []byte("target \"default\" {\n  dockerfile-inline = \"FROM scratch\\nCOPY data /\\n\"\n  tags = [\"large\"]\n}\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return b.onEngine(ctx, func(d daemon) error {
		t := &table{b: b, d: d, dir: dir}
		first := time.Now()
		if _, err := b.once(ctx, dir, []string{b.kiln, "build"}); err != nil {
			return err
		}
		took := time.Since(first)
		s, err := t.measure(ctx, task{args: []string{b.kiln, "build"}})
		if err != nil {
			return err
		}
		fmt.Fprintf(b.out, "\nan image of 200 MB: built in %s; again, unchanged, in %s (median of %d), CPU of client and daemon %s\n", ms(took), ms(s.wall), s.runs, ms(s.cpu))
		return nil
	})
}
