package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/store"
)

// An rmOptions is `kiln rm` after its flags were read.
type rmOptions struct {
	force, dryRun, dangling bool

	filters []string
}

func rmCommand(a *app) *cobra.Command {
	var o rmOptions
	c := &cobra.Command{
		Use:     "rm IMAGE...",
		Aliases: []string{"rmi"},
		Short:   "Remove images from kiln's store",
		Long: `Remove images from kiln's store, by name, digest or ID, or by target, which
stands for the image that it last built. A name is taken from the list; what
only the images that had no other name led to is removed from the disk, too,
unless something that runs needs it.

An ID or a target whose image has several names takes --force. With --filter or
--dangling, all images go that match (see kiln images).`,
		Example: "  kiln rm app:1 app:2\n  kiln rm --filter until=720h --dry-run",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 && len(o.filters) == 0 && !o.dangling {
				return usagef("say which images to remove: names, digests, IDs, --filter or --dangling")
			}
			if len(args) > 0 && (len(o.filters) > 0 || o.dangling) {
				return usagef("names exclude --filter and --dangling")
			}
			return nil
		},
		ValidArgsFunction: a.completeImages,
		RunE:              func(c *cobra.Command, args []string) error { return a.rm(c.Context(), o, args) },
	}
	f := c.Flags()
	f.BoolVarP(&o.force, "force", "f", false, "remove all names of an image that is given by its ID or target, and pass over what is not there")
	f.BoolVar(&o.dryRun, "dry-run", false, "remove nothing, only tell")
	f.BoolVar(&o.dangling, "dangling", false, "remove all images without a name")
	f.StringArrayVar(&o.filters, "filter", nil, "remove all images with `KEY=VALUE`, as with kiln images; several platforms of an image go together")
	return c
}

// rm is the flow of `kiln rm`. What can be removed is, whatever is wrong with
// the rest.
func (a *app) rm(ctx context.Context, o rmOptions, args []string) error {
	if o.dangling {
		o.filters = append(o.filters, "dangling=true")
	}
	filters, err := parseFilters(o.filters)
	if err != nil {
		return err
	}
	l, err := a.listImages(ctx, false)
	if err != nil {
		return err
	}
	var chosen []storedImage
	var errs []error
	if len(args) == 0 {
		some, err := l.choose(ctx, filters, nil, time.Now())
		if err != nil {
			return err
		}
		chosen = distinct(some)
	}
	for _, arg := range args {
		found, err := a.removable(ctx, l, arg, o.force)
		errs = append(errs, err)
		chosen = append(chosen, found...)
	}
	if len(chosen) > 0 {
		errs = append(errs, a.remove(ctx, l.store, chosen, o))
	}
	if err := errors.Join(errs...); err != nil {
		return &exitError{code: codeOf(errs), err: err}
	}
	return nil
}

// codeOf is the exit code of several errors: that of the first which has one,
// but a failure wins over bad usage, since something may have been done.
func codeOf(errs []error) int {
	code := codeFailed
	var e *exitError
	for _, err := range errs {
		if err == nil {
			continue
		}
		if !errors.As(err, &e) || e.code != codeUsage {
			return codeFailed
		}
		code = e.code
	}
	return code
}

// removable returns the entries to remove for an argument.
func (a *app) removable(ctx context.Context, l *imageList, arg string, force bool) ([]storedImage, error) {
	found, err := a.findBuilt(ctx, l, arg)
	var e *exitError
	if force && errors.As(err, &e) && e.code == codeFailed {
		return nil, nil // it is not there
	}
	if err != nil || len(found) < 2 || force {
		return found, err
	}
	var names []string
	for _, im := range found {
		names = append(names, im.label)
	}
	return nil, &exitError{code: codeFailed, err: fmt.Errorf("%s has %d names (%s); remove them by name, or all with --force", arg, len(names), strings.Join(names, ", "))}
}

// remove takes entries out of the list, frees what they took, and tells.
func (a *app) remove(ctx context.Context, s *store.Store, chosen []storedImage, o rmOptions) error {
	wanted := map[string]bool{}
	key := func(im store.Image) string { return im.Name + " " + im.Target.Digest.String() }
	for _, im := range chosen {
		wanted[key(im.Image)] = true
	}
	var removed []store.Image
	var err error
	if o.dryRun {
		for _, im := range chosen {
			removed = append(removed, im.Image)
		}
	} else if removed, err = s.Remove(ctx, func(im store.Image) bool { return wanted[key(im)] }); err != nil {
		return &exitError{code: codeFailed, err: err}
	}
	left, err := s.List(ctx)
	if err != nil {
		return &exitError{code: codeFailed, err: err}
	}
	if o.dryRun {
		left = slices.DeleteFunc(left, func(im store.Image) bool { return wanted[key(im)] })
	}
	a.printRemoved(removed, left)
	if o.dryRun {
		fmt.Fprintln(a.Err, "nothing was removed: --dry-run")
		return nil
	}
	g, err := s.GC(ctx, store.GCOptions{Of: removed})
	a.tellFreed(g)
	if err != nil {
		fmt.Fprintf(a.Err, "warning: the images are removed, but not all their space is free: %v\n", err)
	}
	return nil
}

// printRemoved writes a line for each name that is gone, and one for each
// image that has no name left.
func (a *app) printRemoved(removed, left []store.Image) {
	still, told := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, im := range left {
		still[im.Target.Digest] = true
	}
	for _, im := range removed {
		if im.Name != "" {
			fmt.Fprintf(a.Out, "untagged\t%s\n", familiar(im.Name))
		}
	}
	for _, im := range removed {
		if d := im.Target.Digest; !still[d] && !told[d] {
			told[d] = true
			fmt.Fprintf(a.Out, "deleted\t%s\n", d)
		}
	}
}

// tellFreed says what a garbage collection came to.
func (a *app) tellFreed(g store.Garbage) {
	if len(g.Removed) > 0 {
		fmt.Fprintf(a.Err, "freed %s, %d blob%s\n", humanSize(g.Size()), len(g.Removed), plural(len(g.Removed)))
	}
	if len(g.Spared) > 0 {
		n := int64(0)
		for _, b := range g.Spared {
			n += b.Size
		}
		fmt.Fprintf(a.Err, "left %s, %d blob%s, which something that runs may need, or which are too young; `kiln store gc` frees them later\n", humanSize(n), len(g.Spared), plural(len(g.Spared)))
	}
}

// completeImages completes the names of images.
func (a *app) completeImages(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := a.openStore()
	if s == nil || err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := s.List(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, im := range all {
		if im.Name != "" {
			names = append(names, familiar(im.Name)+"\t"+humanAge(im.Stored, time.Now()))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
