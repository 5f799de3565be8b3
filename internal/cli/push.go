package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/image"
	"github.com/kilnbuild/kiln/internal/store"
)

type pushOptions struct {
	places    placeFlags
	to        []string // names to push under, in place of the image's own
	allTags   bool
	platforms []string
	retry     scheduleFlags
	json      bool
}

func pushCommand(a *app) *cobra.Command {
	var o pushOptions
	c := &cobra.Command{
		Use:   "push IMAGE...",
		Short: "Push images to registries",
		Long: `Push images to the registries that their names say, whole: all platforms, and the
attestations. Blobs that the registry has are not sent, and those that another
repository of it has are mounted from there.

IMAGE is a name in kiln's store, the beginning of an ID, or a target, which
stands for the image that it last built, under all its names that say a
registry. It may also be elsewhere: docker://REF in a registry, oci:DIR[:REF],
oci-archive:FILE[:REF], docker-archive:FILE, or the path of any of these.

stdout has a line for each name: the name, a tab, the digest.`,
		Example: `  kiln push registry.example.com/team/api:1.4
  kiln push api web
  kiln push api --to registry.example.com/team/api:canary
  kiln push --all-tags registry.example.com/team/api`,
		Args:              someImages("push"),
		ValidArgsFunction: a.completeImages,
		RunE: func(c *cobra.Command, args []string) error {
			o.retry.setRetries = c.Flags().Changed("retries")
			return a.push(c.Context(), o, args)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.to, "to", nil, "push under this `name` in place of the image's own; repeat it for several")
	f.BoolVarP(&o.allTags, "all-tags", "a", false, "push all tags that the store has of the repositories that are named")
	f.StringSliceVar(&o.platforms, "platform", nil, "push these `platforms` only, with their attestations; what is pushed then has another digest")
	f.IntVar(&o.retry.retries, "retries", defaultRetries, "how often to try again, after a growing while, what the network failed; `N` of 0 is never")
	f.BoolVar(&o.json, "json", false, "print JSON objects, one a line")
	o.places.register(f)
	return c
}

// someImages checks that a command has an argument.
func someImages(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("say which images: kiln %s IMAGE...; `kiln images` lists those in the store", name)
		}
		return nil
	}
}

// push is the flow of `kiln push`.
func (a *app) push(ctx context.Context, o pushOptions, args []string) error {
	schedule, err := a.scheduleOf(o.retry)
	if err != nil {
		return err
	}
	if err := checkPlatforms(o.platforms...); err != nil {
		return err
	}
	if len(o.to) > 0 && (len(args) > 1 || o.allTags) {
		return usagef("--to is for one image, and there are %d; push them one by one", len(args))
	}
	r, err := a.resolver(o.places, false)
	if err != nil {
		return err
	}
	defer r.Close()
	var parcels []image.Parcel
	for _, text := range args {
		more, err := a.parcels(ctx, r, o, text)
		if err != nil {
			return moveError(err)
		}
		parcels = append(parcels, more...)
	}
	m := a.moving("pushing")
	pushed, err := image.Push(ctx, parcels, image.PushOptions{Registries: r.Registries, Retries: schedule.again(), Tell: m.event})
	m.finish()
	for _, p := range pushed {
		if p.Err == nil || o.json || ctx.Err() == nil { // else the interrupt is told, once
			a.tellPushed(p, o.json)
		}
	}
	if err != nil {
		return &exitError{code: codeFailed, err: err, told: ctx.Err() == nil}
	}
	fmt.Fprintln(a.Err, m.sum("pushed", "sent"))
	return nil
}

// parcels returns what text stands for, with the names to push it under.
func (a *app) parcels(ctx context.Context, r *image.Resolver, o pushOptions, text string) ([]image.Parcel, error) {
	if o.allTags {
		return a.allTags(ctx, r, o, text)
	}
	images, err := r.FindAll(ctx, text)
	if err != nil {
		return nil, err
	}
	if len(images) > 1 && len(o.to) > 0 {
		return nil, usagef("--to is for one image, and %s holds %d; say which one", text, len(images))
	}
	var out []image.Parcel
	for _, i := range images {
		if i, err = i.ForPlatforms(ctx, o.platforms); err != nil {
			return nil, err
		}
		names, err := a.pushNames(i, o, text)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			out = append(out, image.Parcel{Image: i, Ref: n})
		}
	}
	return out, nil
}

// pushNames returns the names to push an image under: those of --to, else its
// own that say a registry.
func (a *app) pushNames(i *image.Image, o pushOptions, text string) ([]string, error) {
	if len(o.to) > 0 {
		for _, to := range o.to {
			if _, err := reference.ParseNormalizedNamed(to); err != nil {
				return nil, usagef("--to %s: %w", to, err)
			}
		}
		return o.to, nil
	}
	var out []string
	for _, n := range i.Names {
		if saysRegistry(n) || strings.HasPrefix(text, "docker.io/") {
			out = append(out, image.Familiar(n))
		}
	}
	switch {
	case len(out) > 0:
		for _, n := range i.Names {
			if !slices.Contains(out, image.Familiar(n)) {
				fmt.Fprintf(a.Err, "note: %s says no registry, and is not pushed\n", image.Familiar(n))
			}
		}
		return out, nil
	case len(i.Names) == 0:
		return nil, usagef("%s has no name; say where to push it with --to", i)
	}
	return nil, usagef("%s says no registry; say where to push it, as in --to registry.example.com/team/%s", image.Familiar(i.Names[0]), image.Familiar(i.Names[0]))
}

// saysRegistry reports whether a full reference is more than a word: such are
// Docker's own images in Docker's registry.
func saysRegistry(ref string) bool { return !strings.HasPrefix(ref, "docker.io/library/") }

// allTags returns all images of the store in a repository.
func (a *app) allTags(ctx context.Context, r *image.Resolver, o pushOptions, text string) ([]image.Parcel, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return nil, usagef("--all-tags %s: %w", text, err)
	}
	if !reference.IsNameOnly(named) {
		return nil, usagef("--all-tags takes repositories, without a tag: %s", reference.FamiliarName(named))
	}
	if !saysRegistry(named.Name()) && !strings.HasPrefix(text, "docker.io/") {
		return nil, usagef("%s says no registry; give its images names that do, with `kiln tag`", text)
	}
	var all []store.Image
	if r.Store != nil {
		if all, err = r.Store.List(ctx); err != nil {
			return nil, err
		}
	}
	var out []image.Parcel
	for _, e := range all {
		if repository, _, ok := cutTag(e.Name); !ok || repository != named.Name() {
			continue
		}
		i, err := r.Find(ctx, "store://"+e.Name)
		if err != nil {
			return nil, err
		}
		if i, err = i.ForPlatforms(ctx, o.platforms); err != nil {
			return nil, err
		}
		out = append(out, image.Parcel{Image: i, Ref: image.Familiar(e.Name)})
	}
	if len(out) == 0 {
		return nil, &exitError{code: codeFailed, err: fmt.Errorf("the store has no image of the repository %s", reference.FamiliarName(named))}
	}
	return out, nil
}

// cutTag parts a full reference into its repository and its tag.
func cutTag(ref string) (repository, tag string, ok bool) {
	at := strings.LastIndexByte(ref, ':')
	if at < 0 || strings.Contains(ref[at:], "/") {
		return ref, "", false
	}
	return ref[:at], ref[at+1:], true
}

// A pushedLine is what `kiln push --json` says of a name.
type pushedLine struct {
	Ref       string `json:"ref"`
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"` // of the manifest or index, in bytes
	There     bool   `json:"there,omitempty"`
	Error     string `json:"error,omitempty"`
}

// tellPushed says how it went with a name, where scripts and people look.
func (a *app) tellPushed(p image.Pushed, asJSON bool) {
	if p.Err != nil {
		fmt.Fprintf(a.Err, "ERROR: %s\n", a.discreet(p.Err.Error()))
	}
	if asJSON {
		line := pushedLine{Ref: p.Ref, Digest: p.Desc.Digest.String(), MediaType: p.Desc.MediaType, Size: p.Desc.Size, There: p.There}
		if p.Err != nil {
			line.Error = a.discreet(p.Err.Error())
		}
		text, err := json.Marshal(line)
		if err == nil {
			fmt.Fprintf(a.Out, "%s\n", text)
		}
		return
	}
	if p.Err == nil {
		fmt.Fprintf(a.Out, "%s\t%s\n", cmp.Or(p.Ref, "-"), p.Desc.Digest)
	}
}
