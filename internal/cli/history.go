package cli

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/image"
	"github.com/kilnbuild/kiln/internal/store"
)

// A historyOptions is `kiln history` after its flags were read.
type historyOptions struct {
	placeFlags
	noTrunc, quiet, json bool

	format, platform string
}

func historyCommand(a *app) *cobra.Command {
	var o historyOptions
	c := &cobra.Command{
		Use:   "history IMAGE",
		Short: "List the layers of an image, and what made them",
		Long: `List the layers of an image, newest first, and what made them. ` + imageArgument + `

SHARED counts the other images of the store that have the layer; CACHED says
whether the step was found in the cache when the image was last built.`,
		Example:           "  kiln history api\n  kiln history api --no-trunc\n  kiln history --json docker-archive:image.tar",
		Args:              oneImage,
		ValidArgsFunction: a.completeImages,
		RunE:              func(c *cobra.Command, args []string) error { return a.imageHistory(c.Context(), o, args[0]) },
	}
	f := c.Flags()
	o.placeFlags.register(f)
	f.BoolVar(&o.noTrunc, "no-trunc", false, "print digests and commands in full")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print the layers' digests only")
	f.BoolVar(&o.json, "json", false, "print a JSON object")
	f.StringVar(&o.format, "format", "", "print each row by a Go `template` with Docker's functions, as with kiln images")
	f.StringVar(&o.platform, "platform", "", "of this `platform`, as linux/arm64 (default: this machine's, else the first)")
	return c
}

// A historyRow is a line of `kiln history`. Templates have its fields by these
// names.
type historyRow struct {
	ID, CreatedSince, CreatedAt, CreatedBy, Size, StoredSize, Comment, Shared, SharedWith, Cached string
}

var historyHeader = historyRow{
	ID: "LAYER", CreatedSince: "CREATED", CreatedAt: "CREATED AT", CreatedBy: "CREATED BY", Size: "SIZE",
	StoredSize: "STORED", Comment: "COMMENT", Shared: "SHARED", SharedWith: "SHARED WITH", Cached: "CACHED",
}

// A layerHistory is what `kiln history --json` prints, described in docs/images.md.
type layerHistory struct {
	Version  int             `json:"version"`
	Names    []string        `json:"names"`
	Digest   digest.Digest   `json:"digest"`
	Platform string          `json:"platform,omitempty"`
	Run      string          `json:"run,omitempty"` // the run that "cached" is about
	History  []layerWithPast `json:"history"`       // newest first
}

// A layerWithPast is an entry of an image's history, with its layer.
type layerWithPast struct {
	Layer      digest.Digest `json:"layer,omitempty"` // "" where it made none
	Created    time.Time     `json:"created,omitzero"`
	CreatedBy  string        `json:"createdBy"`
	Comment    string        `json:"comment,omitempty"`
	Author     string        `json:"author,omitempty"`
	Size       int64         `json:"size"` // of the files; -1 where that is not known without fetching them
	StoredSize int64         `json:"storedSize"`
	SharedWith []string      `json:"sharedWith,omitempty"` // names of the other images of the store that have the layer
	Cached     *bool         `json:"cached,omitempty"`     // in the last build; absent where that is not known

	shared int // how many images SharedWith are names of
}

// imageHistory is the flow of `kiln history`.
func (a *app) imageHistory(ctx context.Context, o historyOptions, text string) error {
	var format *rowFormat
	var err error
	switch {
	case o.json && o.format != "":
		return usagef("--json and --format exclude each other")
	case o.format != "":
		if format, err = parseFormat(o.format, historyHeader); err != nil {
			return err
		}
	}
	if err := checkPlatforms(o.platform); err != nil {
		return err
	}
	r, i, err := a.findImage(ctx, o.placeFlags, text)
	if err != nil {
		return err
	}
	defer r.Close()
	h, err := a.historyOf(ctx, r.Store, i, o.platform)
	if err != nil {
		return placeError(err)
	}
	if o.json {
		return writeJSON(a.Out, h)
	}
	rows := h.rows(o.noTrunc, time.Now())
	switch {
	case format != nil:
		return printFormatted(a.Out, format, historyHeader, rows)
	case o.quiet:
		for _, row := range rows {
			if row.ID != "-" {
				fmt.Fprintln(a.Out, row.ID)
			}
		}
		return nil
	}
	cells := func(r historyRow) []string {
		return []string{r.ID, r.CreatedSince, r.CreatedBy, r.Size, r.StoredSize, r.Shared, r.Cached, r.Comment}
	}
	lines := [][]string{cells(historyHeader)}
	for _, row := range rows {
		lines = append(lines, cells(row))
	}
	if !o.noTrunc {
		const createdBy, least = 2, 10
		lines = fitColumns(lines, a.width(a.Out), createdBy, least)
	}
	return printColumns(a.Out, lines[0], lines[1:])
}

// historyOf gathers the history of an image.
func (a *app) historyOf(ctx context.Context, s *store.Store, i *image.Image, platform string) (*layerHistory, error) {
	all, err := platformsOf(ctx, i, platform)
	if err != nil {
		return nil, err
	}
	n := chosenPlatform(len(all), func(n int) string { return platformOf(all[n]) })
	m := all[n]
	h := &layerHistory{Version: 1, Names: append([]string{}, i.Names...), Digest: i.Desc.Digest, Platform: platformOf(m)}
	h.join(m, a.layerSizes(ctx, s, i, all[n:n+1]))
	if s == nil {
		return h, nil
	}
	if err := share(ctx, s, i, h); err != nil {
		return nil, err
	}
	if e, ok := entryOf(ctx, s, i); ok && i.Place == image.InStore {
		a.markCached(s, i.Desc.Digest, e.Origin, h)
	}
	return h, nil
}

// join puts the entries of the configuration and the layers of the manifest
// together. Where the configuration tells less than there are layers, the
// lowest are those that it does not tell of.
func (h *layerHistory) join(m image.Manifest, sizes layerSizes) {
	layers := slices.Clone(m.Manifest.Layers)
	h.History = []layerWithPast{}
	for _, past := range slices.Backward(m.Config.History) {
		entry := layerWithPast{CreatedBy: past.CreatedBy, Comment: past.Comment, Author: past.Author, Created: timeOf(past)}
		if n := len(layers); !past.EmptyLayer && n > 0 {
			entry.has(layers[n-1], sizes)
			layers = layers[:n-1]
		}
		h.History = append(h.History, entry)
	}
	for _, l := range slices.Backward(layers) {
		entry := layerWithPast{Created: m.Config.Created.UTC()}
		entry.has(l, sizes)
		h.History = append(h.History, entry)
	}
}

func timeOf(past v1.History) time.Time {
	if past.Created.IsZero() {
		return time.Time{}
	}
	return past.Created.UTC()
}

func (e *layerWithPast) has(l ocispec.Descriptor, sizes layerSizes) {
	e.Layer, e.StoredSize, e.Size = l.Digest, l.Size, sizes.of(l.Digest)
}

// share notes which other images of the store have the layers.
func share(ctx context.Context, s *store.Store, i *image.Image, h *layerHistory) error {
	images, err := s.List(ctx)
	if err != nil {
		return err
	}
	known, _ := s.Glance(images) // what is damaged has no layers to share
	by, count := map[digest.Digest][]string{}, map[digest.Digest]int{}
	seen := map[string]bool{} // layers and the images that were counted for them
	for _, im := range images {
		f := known.Of(im.Target.Digest)
		if f == nil || im.Target.Digest == i.Desc.Digest {
			continue
		}
		name := newStoredImage(im, nil, nil).label
		for _, v := range f.Platforms {
			for _, l := range v.Layers {
				if !slices.Contains(by[l], name) {
					by[l] = append(by[l], name)
				}
				if key := l.String() + " " + im.Target.Digest.String(); !seen[key] {
					seen[key] = true
					count[l]++
				}
			}
		}
	}
	for n, e := range h.History {
		if e.Layer != "" {
			h.History[n].SharedWith, h.History[n].shared = by[e.Layer], count[e.Layer]
		}
	}
	return nil
}

// rows are the lines of a history.
func (h *layerHistory) rows(noTrunc bool, now time.Time) []historyRow {
	var rows []historyRow
	for _, e := range h.History {
		row := historyRow{
			ID: shortID(e.Layer, noTrunc), CreatedSince: humanAge(e.Created, now), CreatedAt: e.Created.Format(time.RFC3339),
			CreatedBy: oneLine(e.CreatedBy, noTrunc), Size: humanSize(e.Size), StoredSize: humanSize(e.StoredSize),
			Comment: oneLine(e.Comment, true), SharedWith: strings.Join(e.SharedWith, ", "),
		}
		if e.Layer != "" {
			row.Shared = fmt.Sprint(e.shared)
		}
		if e.Cached != nil {
			row.Cached = map[bool]string{true: "yes", false: "no"}[*e.Cached]
		}
		row.Shared, row.Cached = cmp.Or(row.Shared, "-"), cmp.Or(row.Cached, "-")
		rows = append(rows, row)
	}
	return rows
}

// oneLine makes a line of what an image says, which may be anything: blanks
// for white space and nothing for what would move the cursor. Without noTrunc
// it is cut as Docker cuts it.
func oneLine(text string, noTrunc bool) string {
	text = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !unicode.IsSpace(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, text)), " ")
	const most = 45
	if runes := []rune(text); !noTrunc && len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// hostPlatform is this machine's, as images are built for it.
func hostPlatform() string { return "linux/" + runtime.GOARCH }

func formatPlatform(p ocispec.Platform) string { return platforms.Format(platforms.Normalize(p)) }
