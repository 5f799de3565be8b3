package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/store"
)

func tagCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "tag IMAGE NAME...",
		Short: "Give an image in kiln's store further names",
		Long: `Give an image in kiln's store further names. IMAGE is a name, a digest, an ID, or
a target, which stands for the image that it last built. A name that another
image has is taken from it. Nothing is copied.`,
		Example: "  kiln tag app:1 registry.example.com/team/app:1\n  kiln tag api api:stable",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("say which image, and the names to give it: kiln tag IMAGE NAME...")
			}
			return nil
		},
		ValidArgsFunction: a.completeImages,
		RunE:              func(c *cobra.Command, args []string) error { return a.tag(c.Context(), args[0], args[1:]) },
	}
}

// tag is the flow of `kiln tag`.
func (a *app) tag(ctx context.Context, text string, names []string) error {
	for _, name := range names {
		if _, err := store.Normalize(name); err != nil {
			return usagef("%w", err)
		}
	}
	l, err := a.listImages(ctx, false)
	if err != nil {
		return err
	}
	found, err := a.findBuilt(ctx, l, text)
	if err != nil {
		return err
	}
	im := found[0]
	ref := im.Name
	if ref == "" {
		ref = im.Target.Digest.String()
	}
	d, err := l.store.Tag(ctx, ref, names)
	if err != nil {
		return &exitError{code: codeFailed, err: err}
	}
	for _, name := range names {
		full, err := store.Normalize(name)
		if err != nil {
			return usagef("%w", err)
		}
		fmt.Fprintf(a.Out, "%s\t%s\n", familiar(full), d.Digest)
	}
	return nil
}
