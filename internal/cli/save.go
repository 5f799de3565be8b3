package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/image"
)

type saveOptions struct {
	places    placeFlags
	output    string
	format    string
	platforms []string
	names     []string
}

func saveCommand(a *app) *cobra.Command {
	var o saveOptions
	c := &cobra.Command{
		Use:   "save IMAGE...",
		Short: "Write images to one tar file",
		Long: `Write images to one tar file, for machines that no registry reaches: an OCI
layout, with all platforms and attestations and the digests that the images
have, or what ` + "`docker save`" + ` writes, one platform of each. The same images give
the same bytes. A file is written whole or not at all.

IMAGE is as with kiln push: a name in kiln's store, an ID, a target, or an image
elsewhere.`,
		Example: `  kiln save -o api.tar api
  kiln save --format docker api web | ssh host docker load
  kiln save -o tools.tar docker://registry.example.com/tools:2`,
		Args:              someImages("save"),
		ValidArgsFunction: a.completeImages,
		RunE:              func(c *cobra.Command, args []string) error { return a.save(c.Context(), o, args) },
	}
	f := c.Flags()
	f.StringVarP(&o.output, "output", "o", "-", "`file` to write; - is standard output, if that is no terminal")
	f.StringVar(&o.format, "format", string(image.OCI), "what to write: `oci` or docker")
	f.StringSliceVar(&o.platforms, "platform", nil, "these `platforms` only; with --format docker one, by default this machine's")
	f.StringArrayVar(&o.names, "name", nil, "call the image `NAME` in the file; repeat it for several names of one image")
	o.places.register(f)
	return c
}

// save is the flow of `kiln save`.
func (a *app) save(ctx context.Context, o saveOptions, args []string) error {
	format, err := a.checkSave(o)
	if err != nil {
		return err
	}
	r, err := a.resolver(o.places, false)
	if err != nil {
		return err
	}
	defer r.Close()
	images, err := a.toSave(ctx, r, o, format, args)
	if err != nil {
		return moveError(err)
	}
	m := a.moving("saving")
	err = a.writeOutput(o.output, func(w io.Writer) error { return image.Save(ctx, w, images, format, m.event) })
	m.finish()
	if err != nil {
		return moveError(err)
	}
	m.ended = len(images)
	fmt.Fprintln(a.Err, m.sum("saved", "written"))
	return nil
}

// checkSave checks what can be wrong with the flags.
func (a *app) checkSave(o saveOptions) (image.Format, error) {
	format := image.Format(o.format)
	if !slices.Contains(image.Formats(), format) {
		return "", usagef("--format=%s: there are oci and docker%s", o.format, didYouMean(o.format, []string{"oci", "docker"}))
	}
	if format == image.Docker && len(o.platforms) > 1 {
		return "", usagef("--format=docker holds one platform of an image, and --platform names %d; --format=oci holds all", len(o.platforms))
	}
	if o.output == "-" && isTerminal(a.Out) {
		return "", usagef("standard output is a terminal; name a file, as in -o image.tar, or pipe it to another program")
	}
	return format, checkPlatforms(o.platforms...)
}

// toSave finds the images and narrows them to what is wanted of them.
func (a *app) toSave(ctx context.Context, r *image.Resolver, o saveOptions, format image.Format, args []string) ([]*image.Image, error) {
	var out []*image.Image
	for _, text := range args {
		images, err := r.FindAll(ctx, text)
		if err != nil {
			return nil, err
		}
		for _, i := range images {
			if i, err = forFormat(ctx, i, format, o.platforms); err != nil {
				return nil, err
			}
			out = append(out, i)
		}
	}
	if len(o.names) == 0 {
		return out, nil
	}
	if len(out) > 1 {
		return nil, usagef("--name is for one image, and there are %d", len(out))
	}
	named, err := out[0].Named(o.names)
	if err != nil {
		return nil, usagef("--name: %w", err)
	}
	return []*image.Image{named}, nil
}

// forFormat narrows an image to the platforms that are wanted, and for Docker
// to one, this machine's if nothing is said.
func forFormat(ctx context.Context, i *image.Image, format image.Format, platforms []string) (*image.Image, error) {
	if format != image.Docker {
		return i.ForPlatforms(ctx, platforms)
	}
	if len(platforms) > 0 {
		return i.ForPlatform(ctx, platforms[0])
	}
	return i.ForMachine(ctx, "linux/"+runtime.GOARCH)
}

// writeOutput has a file written whole or not at all, or standard output.
func (a *app) writeOutput(path string, write func(io.Writer) error) error {
	if path == "-" {
		return write(a.Out)
	}
	path = a.path(path)
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() { // a pipe or a device
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	} else if err == nil && info.IsDir() {
		return usagef("%s is a directory; name a file in it", path)
	}
	if dir := filepath.Dir(path); !isDir(dir) {
		return usagef("there is no directory %s to write %s in", dir, filepath.Base(path))
	}
	f, err := newOutput(path)
	if err != nil {
		return err
	}
	err = write(f.File)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.name(path)
	}
	return errors.Join(err, f.close())
}

// An output is a file that has no name yet, or a passing one.
type output struct {
	*os.File
	passing string // "" if it has none
}

// newOutput makes the file that is to be at path. Where the system can, it has
// no name until it is whole, and so nothing stays if kiln is killed.
func newOutput(path string) (*output, error) {
	if f, err := openUnnamed(filepath.Dir(path)); err == nil {
		return &output{File: f}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), passingName(path))
	if err != nil {
		return nil, err
	}
	return &output{File: f, passing: f.Name()}, f.Chmod(0o644)
}

// passingName is a pattern for the name of a file that is to be at path.
func passingName(path string) string { return "." + filepath.Base(path) + ".kiln-*" }

// name puts the file at path, in place of what is there.
func (o *output) name(path string) error {
	if o.passing == "" {
		passing := filepath.Join(filepath.Dir(path), strings.Replace(passingName(path), "*", rand.Text(), 1))
		if err := linkUnnamed(o.File, passing); err != nil {
			return err
		}
		o.passing = passing
	}
	return os.Rename(o.passing, path)
}

// close ends the use of the file, and removes it unless it has been named.
func (o *output) close() error {
	err := o.Close()
	if o.passing != "" {
		_ = os.Remove(o.passing) // gone already when all went well
	}
	return err
}
