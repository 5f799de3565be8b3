package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/image"
)

type importOptions struct {
	places    placeFlags
	names     []string
	platforms []string
	json      bool
}

func importCommand(a *app) *cobra.Command {
	var o importOptions
	c := &cobra.Command{
		Use:   "import SOURCE...",
		Short: "Bring images into kiln's store",
		Long: `Bring images into kiln's store, under the names that they have: from a tar file
(what kiln save, docker save, podman save or skopeo wrote; packed with gzip,
zstd or bzip2, or not), from an OCI layout, from standard input (-), or from a
registry (docker://REF). The digest of every blob is checked, and an image is
there whole or not at all. Blobs that the store has are not copied.

stdout has a line for each name: the name, a tab, the digest.`,
		Example: `  kiln import api.tar
  docker save app:1 | kiln import -
  kiln import oci:layout:v1 --name app:1
  kiln import docker://registry.example.com/base:12`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("say what to import: kiln import SOURCE...; - is standard input")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.importImages(c.Context(), o, args) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.names, "name", nil, "give the image this `name` in place of its own; repeat it for several")
	f.StringSliceVar(&o.platforms, "platform", nil, "bring these `platforms` only, with their attestations")
	f.BoolVar(&o.json, "json", false, "print JSON objects, one a line")
	o.places.register(f)
	return c
}

// importImages is the flow of `kiln import`.
func (a *app) importImages(ctx context.Context, o importOptions, args []string) error {
	if err := checkPlatforms(o.platforms...); err != nil {
		return err
	}
	r, err := a.resolver(o.places, true)
	if err != nil {
		return err
	}
	defer r.Close()
	var images []*image.Image
	for _, text := range args {
		found, err := r.FindOutside(ctx, text)
		if err != nil {
			return moveError(err)
		}
		images = append(images, found...)
	}
	if len(o.names) > 0 && len(images) > 1 {
		return usagef("--name is for one image, and there are %d; say which one", len(images))
	}
	m := a.moving("importing")
	err = a.importAll(ctx, r, m, o, images)
	m.finish()
	if err != nil {
		return moveError(err)
	}
	fmt.Fprintln(a.Err, m.sum("imported", "read"))
	return nil
}

// importAll brings in one image after the other, and tells of each.
func (a *app) importAll(ctx context.Context, r *image.Resolver, m *moving, o importOptions, images []*image.Image) error {
	for _, i := range images {
		i, err := i.ForPlatforms(ctx, o.platforms)
		if err != nil {
			return err
		}
		if len(o.names) > 0 {
			if i, err = i.Named(o.names); err != nil {
				return usagef("--name: %w", err)
			}
		}
		before := map[string]digest.Digest{}
		for _, n := range i.Names {
			if was, err := r.Store.Resolve(ctx, n); err == nil {
				before[n] = was.Digest
			}
		}
		desc, err := image.Import(ctx, i, r.Store, i.Names, m.event)
		if err != nil {
			return err
		}
		for _, n := range i.Names {
			if was := before[n]; was != "" && was != desc.Digest {
				m.note("note: %s was another image before, %s", image.Familiar(n), was)
			}
		}
		names := i.Names
		if len(names) == 0 {
			names = []string{""}
			m.note("note: the image %s says no name; it is kept under its digest, and `kiln tag` names it", desc.Digest)
		}
		for _, n := range names {
			if err := a.tellImported(image.Familiar(n), desc.Digest.String(), o.json); err != nil {
				return err
			}
		}
	}
	return nil
}

// tellImported says what is in the store now, for scripts.
func (a *app) tellImported(name, digest string, asJSON bool) error {
	if !asJSON {
		fmt.Fprintf(a.Out, "%s\t%s\n", cmp.Or(name, "-"), digest)
		return nil
	}
	text, err := json.Marshal(struct {
		Ref    string `json:"ref,omitempty"`
		Digest string `json:"digest"`
	}{name, digest})
	if err == nil {
		fmt.Fprintf(a.Out, "%s\n", text)
	}
	return err
}
