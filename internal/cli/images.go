package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/internal/store"
)

// An imagesOptions is `kiln images` after its flags were read.
type imagesOptions struct {
	quiet, noTrunc, digests, json bool

	filters []string
	format  string
	sort    string
}

func (o *imagesOptions) register(f *pflag.FlagSet) {
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print the IDs only, each once")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "print IDs in full")
	f.BoolVar(&o.digests, "digests", false, "print the digests of indexes and manifests, too")
	f.BoolVar(&o.json, "json", false, "print a JSON object")
	f.StringArrayVar(&o.filters, "filter", nil, "only images with `KEY=VALUE`: reference (a pattern), target (a pattern), label (KEY or KEY=VALUE), platform, before and since (an image), until (24h, or a time), dangling (true or false)")
	f.StringVar(&o.format, "format", "", "print each row by a Go `template` with Docker's functions; with \"table\" before it under a header; json is an object a row")
	f.StringVar(&o.sort, "sort", "created", "sort by `created` (newest first), size or stored (largest first), name, target or id; with - before it the other way round")
}

func imagesCommand(a *app) *cobra.Command {
	var o imagesOptions
	c := &cobra.Command{
		Use:     "images [NAME]",
		Aliases: []string{"ls"},
		Short:   "List the images in kiln's store",
		Long: `List the images in kiln's store: what builds made that name no other output, and
what was imported. NAME is a repository, of which all tags are listed, a
repository with a tag, or a pattern of either.

SIZE is that of the files in the image, STORED what it takes in the store. What
several images share counts for each of them, and once in the total.`,
		Example: "  kiln images\n  kiln images 'team/*' --filter target=api --sort=size\n  kiln images --format '{{.Repository}}:{{.Tag}} {{.Size}}'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.images(c.Context(), o, args)
		},
	}
	o.register(c.Flags())
	return c
}

// An imageRow is a line of `kiln images`: one platform of an image. Templates
// have its fields by these names.
type imageRow struct {
	Repository, Tag, ID, Digest, Platform            string
	CreatedSince, CreatedAt, Size, StoredSize        string
	Target, Definition, Name, MediaType, StoredSince string
}

// imageHeader has the titles of the columns.
var imageHeader = imageRow{
	Repository: "REPOSITORY", Tag: "TAG", ID: "IMAGE ID", Digest: "DIGEST", Platform: "PLATFORM",
	CreatedSince: "CREATED", CreatedAt: "CREATED AT", Size: "SIZE", StoredSize: "STORED",
	Target: "TARGET", Definition: "DEFINITION", Name: "NAME", MediaType: "MEDIA TYPE", StoredSince: "STORED SINCE",
}

// images is the flow of `kiln images`.
func (a *app) images(ctx context.Context, o imagesOptions, args []string) error {
	order, err := parseSort(o.sort)
	if err != nil {
		return err
	}
	filters, err := parseFilters(o.filters)
	if err != nil {
		return err
	}
	var format *rowFormat
	if o.format != "" {
		if format, err = parseFormat(o.format, imageHeader); err != nil {
			return err
		}
	}
	if o.json && o.format != "" {
		return usagef("--json and --format exclude each other")
	}
	onlyIDs := o.quiet && !o.json && format == nil
	l, err := a.listImages(ctx, !onlyIDs || order.key == "size")
	if err != nil {
		return err
	}
	chosen, err := l.choose(ctx, filters, args, time.Now())
	if err != nil {
		return err
	}
	l.sort(chosen, order)
	a.tellDamage(distinct(chosen))
	if o.json {
		return writeJSON(a.Out, l.inventory(chosen))
	}
	rows := l.rows(chosen, o, time.Now())
	switch {
	case format != nil:
		return printFormatted(a.Out, format, imageHeader, rows)
	case onlyIDs:
		return printFormatted(a.Out, mustFormat("{{.ID}}"), imageHeader, distinctIDs(rows))
	}
	if err := a.printImages(rows, o); err != nil {
		return err
	}
	a.tellTotal(l, chosen, args)
	return nil
}

// mustFormat is a template of our own.
func mustFormat(spec string) *rowFormat {
	f, err := parseFormat(spec, imageHeader)
	if err != nil {
		panic(err)
	}
	return f
}

// distinctIDs leaves one row for each ID.
func distinctIDs(rows []imageRow) []imageRow {
	var out []imageRow
	seen := map[string]bool{}
	for _, r := range rows {
		if !seen[r.ID] {
			seen[r.ID] = true
			out = append(out, imageRow{ID: r.ID})
		}
	}
	return out
}

// A chosenImage is one platform of an image.
type chosenImage struct {
	storedImage
	variant int
}

// distinct are the images that platforms were chosen of, in their order.
func distinct(chosen []chosenImage) []storedImage {
	var out []storedImage
	seen := map[string]bool{}
	for _, c := range chosen {
		key := c.Name + " " + c.storedImage.Target.Digest.String()
		if !seen[key] {
			seen[key] = true
			out = append(out, c.storedImage)
		}
	}
	return out
}

// choose returns the images that filters and the argument leave.
func (l *imageList) choose(ctx context.Context, filters []imageFilter, args []string, now time.Time) ([]chosenImage, error) {
	match, err := l.filter(ctx, filters, now)
	if err != nil {
		return nil, err
	}
	if len(args) > 0 {
		m, err := referenceMatcher(args[0], args[0])
		if err != nil {
			return nil, err
		}
		match = append(match, m)
	}
	var out []chosenImage
	for _, im := range l.images {
		for n := range im.variants() {
			if !slices.ContainsFunc(match, func(m matcher) bool { return !m(im, n) }) {
				out = append(out, chosenImage{im, n})
			}
		}
	}
	return out, nil
}

// An imageOrder compares images.
type imageOrder struct {
	key     string
	reverse bool
}

var imageOrders = []string{"created", "id", "name", "size", "stored", "target"}

func parseSort(spec string) (imageOrder, error) {
	o := imageOrder{key: spec}
	o.key, o.reverse = strings.CutPrefix(spec, "-")
	if !slices.Contains(imageOrders, o.key) {
		return o, usagef("--sort=%s: there is no such order%s; there are %s", spec, didYouMean(o.key, imageOrders), strings.Join(imageOrders, ", "))
	}
	return o, nil
}

// sort sorts images; those that are equal are sorted by name and platform.
func (l *imageList) sort(list []chosenImage, o imageOrder) {
	compare := map[string]func(a, b chosenImage) int{
		"created": func(a, b chosenImage) int { return b.created().Compare(a.created()) },
		"id":      func(a, b chosenImage) int { return strings.Compare(string(a.id()), string(b.id())) },
		"name":    func(a, b chosenImage) int { return 0 },
		"size":    func(a, b chosenImage) int { return cmp.Compare(l.sizeOf(b), l.sizeOf(a)) },
		"stored":  func(a, b chosenImage) int { return cmp.Compare(b.storedSize(), a.storedSize()) },
		"target":  func(a, b chosenImage) int { return strings.Compare(a.BuiltAs, b.BuiltAs) },
	}[o.key]
	slices.SortStableFunc(list, func(a, b chosenImage) int {
		order := cmp.Or(compare(a, b), strings.Compare(a.label, b.label), cmp.Compare(a.variant, b.variant))
		if o.reverse {
			return -order
		}
		return order
	})
}

func (c chosenImage) id() digest.Digest { return c.variants()[c.variant].ID }

// sizeOf is the unpacked size of the platform.
func (l *imageList) sizeOf(c chosenImage) int64 {
	if c.facts == nil {
		return store.Unknown
	}
	return l.known.Unpacked(c.variants()[c.variant].Layers)
}

// rows are the lines for images.
func (l *imageList) rows(list []chosenImage, o imagesOptions, now time.Time) []imageRow {
	rows := make([]imageRow, 0, len(list))
	for _, c := range list {
		v := c.variants()[c.variant]
		created := v.Created
		if created.IsZero() {
			created = c.Created
		}
		stored := v.Size
		if c.facts == nil {
			stored = store.Unknown
		} else if len(c.variants()) == 1 {
			stored = c.storedSize() // the index and its attestations are this platform's
		}
		rows = append(rows, imageRow{
			Repository: c.repository, Tag: c.tag, ID: shortID(v.ID, o.noTrunc), Digest: c.storedImage.Target.Digest.String(),
			Platform: cmp.Or(oneLine(v.Platform, true), "-"), CreatedSince: humanAge(created, now), CreatedAt: created.Format("2006-01-02 15:04:05 -0700 MST"),
			Size: humanSize(l.sizeOf(c)), StoredSize: humanSize(stored), Target: cmp.Or(oneLine(c.BuiltAs, true), "-"), Definition: oneLine(c.Definition, true),
			Name: c.label, MediaType: oneLine(c.storedImage.Target.MediaType, true), StoredSince: humanAge(c.Stored, now),
		})
	}
	return rows
}

// printImages prints the table.
func (a *app) printImages(rows []imageRow, o imagesOptions) error {
	cells := func(r imageRow) []string {
		line := []string{r.Repository, r.Tag}
		if o.digests {
			line = append(line, r.Digest)
		}
		return append(line, r.ID, r.Platform, r.CreatedSince, r.Size, r.StoredSize, r.Target)
	}
	var lines [][]string
	for _, r := range rows {
		lines = append(lines, cells(r))
	}
	return printColumns(a.Out, cells(imageHeader), lines)
}

// tellTotal says what the images of a list come to, and what may be meant
// where there is none of the name.
func (a *app) tellTotal(l *imageList, chosen []chosenImage, args []string) {
	if len(chosen) == 0 {
		if len(args) > 0 {
			fmt.Fprintf(a.Err, "no image is called %q%s\n", args[0], l.nearName(args[0]))
		}
		return
	}
	t := totalOf(distinct(chosen))
	text := fmt.Sprintf("%d image%s, %s stored", t.Images, plural(t.Images), humanSize(t.Stored))
	if t.Shared > 0 {
		text += fmt.Sprintf(", %s of it shared", humanSize(t.Shared))
	}
	fmt.Fprintln(a.Err, text)
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// nearName offers the nearest name in the store, or nothing.
func (l *imageList) nearName(name string) string {
	var names []string
	for _, im := range l.images {
		names = append(names, im.repository, im.label)
	}
	if near := config.Nearest(name, names); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

// An imageInventory is what `kiln images --json` prints, described in
// docs/images.md.
type imageInventory struct {
	Version int          `json:"version"`
	Images  []imageEntry `json:"images"`
	Total   storeTotal   `json:"total"`
}

type imageEntry struct {
	Name       string          `json:"name,omitempty"`
	Repository string          `json:"repository,omitempty"`
	Tag        string          `json:"tag,omitempty"`
	Digest     digest.Digest   `json:"digest"`
	MediaType  string          `json:"mediaType"`
	Stored     time.Time       `json:"stored,omitzero"` // when it was put under this name
	Target     string          `json:"target,omitempty"`
	Definition string          `json:"definition,omitempty"`
	StoredSize int64           `json:"storedSize"` // -1 where the image is damaged
	Platforms  []imagePlatform `json:"platforms"`
	Problem    string          `json:"problem,omitempty"`
}

type imagePlatform struct {
	Platform   string        `json:"platform,omitempty"`
	ID         digest.Digest `json:"id,omitempty"`
	Manifest   digest.Digest `json:"manifest"`
	Created    time.Time     `json:"created,omitzero"`
	Size       int64         `json:"size"` // of the files; -1 where that cannot be told
	StoredSize int64         `json:"storedSize"`
}

// inventory describes images; the platforms of one stand together.
func (l *imageList) inventory(chosen []chosenImage) imageInventory {
	out := imageInventory{Version: 1, Images: []imageEntry{}, Total: totalOf(distinct(chosen))}
	at := map[string]int{}
	for _, c := range chosen {
		key := c.Name + " " + c.storedImage.Target.Digest.String()
		n, known := at[key]
		if !known {
			n = len(out.Images)
			at[key] = n
			out.Images = append(out.Images, l.entry(c.storedImage))
		}
		if c.facts != nil {
			v := c.variants()[c.variant]
			out.Images[n].Platforms = append(out.Images[n].Platforms, imagePlatform{v.Platform, v.ID, v.Manifest, v.Created, l.sizeOf(c), v.Size})
		}
	}
	return out
}

func (l *imageList) entry(im storedImage) imageEntry {
	e := imageEntry{
		Name: im.Name, Digest: im.Target.Digest, MediaType: im.Target.MediaType, Stored: im.Stored,
		Target: im.BuiltAs, Definition: im.Definition, StoredSize: im.storedSize(), Platforms: []imagePlatform{},
	}
	if im.Name != "" {
		e.Repository, e.Tag = im.repository, im.tag
	}
	if im.err != nil {
		e.Problem = im.err.Error()
	}
	return e
}
