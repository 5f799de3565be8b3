package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/image"
	"github.com/kilnbuild/kiln/internal/store"
)

// An inspectOptions is `kiln inspect` after its flags were read.
type inspectOptions struct {
	placeFlags
	format     string
	platform   string
	raw        string
	statements bool
}

func inspectCommand(a *app) *cobra.Command {
	var o inspectOptions
	c := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Print all that is known of an image, as JSON",
		Long: `Print all that is known of an image, as one JSON object: its descriptor, index and
platforms, of each the manifest, the configuration, the layers and attestations,
and what kiln recorded of the build. ` + imageArgument + `

In a template of --format, the fields of the platform that was asked for, else
of this machine's, else of the first, are at hand by Docker's names: .Id,
.Config.Env, .Architecture, .RootFS.Layers.`,
		Example:           "  kiln inspect api\n  kiln inspect api --format '{{json .Config.Labels}}'\n  kiln inspect docker://example.com/app:1 --raw=manifest",
		Args:              oneImage,
		ValidArgsFunction: a.completeImages,
		RunE:              func(c *cobra.Command, args []string) error { return a.inspect(c.Context(), o, args[0]) },
	}
	f := c.Flags()
	o.placeFlags.register(f)
	f.StringVar(&o.format, "format", "", "print by a Go `template` with Docker's functions")
	f.StringVar(&o.platform, "platform", "", "of the `platform` alone, as linux/arm64")
	f.StringVar(&o.raw, "raw", "", "print `index`, manifest or config as it stands, byte for byte")
	f.BoolVar(&o.statements, "attestations", false, "with the statements of attestations themselves: provenance, SBOM")
	return c
}

// imageArgument says what IMAGE may be, where it may be of any place.
const imageArgument = `IMAGE is a name, a digest or an ID in kiln's store, a
target, which stands for the image that it last built, or an image of another
place: docker://NAME (a registry), oci:DIR, oci-archive:FILE, docker-archive:FILE.`

// oneImage is the argument check of commands that take one image.
func oneImage(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("say which image: %s IMAGE", c.CommandPath())
	}
	return nil
}

// An inspection is what `kiln inspect` prints, described in docs/images.md.
type inspection struct {
	Version    int                 `json:"version"`
	Names      []string            `json:"names"`
	Place      image.Place         `json:"place"`
	Where      string              `json:"where,omitempty"`
	Descriptor ocispec.Descriptor  `json:"descriptor"`
	Index      *ocispec.Index      `json:"index,omitempty"`
	Platforms  []inspectedPlatform `json:"platforms"`
	Target     string              `json:"target,omitempty"`
	Definition string              `json:"definition,omitempty"`
	Stored     time.Time           `json:"stored,omitzero"` // when it was put into the store
	Build      *buildRecord        `json:"build,omitempty"`
}

// An inspectedPlatform is the image of one platform.
type inspectedPlatform struct {
	Platform     string                 `json:"platform,omitempty"`
	ID           digest.Digest          `json:"id"`
	Created      time.Time              `json:"created,omitzero"`
	Author       string                 `json:"author,omitempty"`
	Os           string                 `json:"os,omitempty"`
	Architecture string                 `json:"architecture,omitempty"`
	Variant      string                 `json:"variant,omitempty"`
	Descriptor   ocispec.Descriptor     `json:"descriptor"`
	Manifest     ocispec.Manifest       `json:"manifest"`
	Config       v1.Config              `json:"config"`
	Size         int64                  `json:"size"` // of the files; -1 where that is not known without fetching them
	StoredSize   int64                  `json:"storedSize"`
	Layers       []inspectedLayer       `json:"layers"` // lowest first
	History      []v1.History           `json:"history"`
	Attestations []inspectedAttestation `json:"attestations"`
}

// An inspectedLayer is a layer with what made it.
type inspectedLayer struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`     // as it is stored
	Unpacked  int64         `json:"unpacked"` // of its files; -1 as above
	DiffID    digest.Digest `json:"diffId,omitempty"`
	History   *v1.History   `json:"history,omitempty"`
}

// An inspectedAttestation is a statement about the image.
type inspectedAttestation struct {
	Predicate string          `json:"predicateType"`
	Digest    digest.Digest   `json:"digest"`
	Size      int64           `json:"size"`
	Statement json.RawMessage `json:"statement,omitempty"`
}

// inspect is the flow of `kiln inspect`.
func (a *app) inspect(ctx context.Context, o inspectOptions, text string) error {
	raws := []string{"index", "manifest", "config"}
	switch {
	case o.raw != "" && o.format != "":
		return usagef("--raw and --format exclude each other")
	case o.raw != "" && !slices.Contains(raws, o.raw):
		return usagef("--raw=%s: there is index, manifest and config%s", o.raw, didYouMean(o.raw, raws))
	}
	if o.format != "" {
		if _, err := parseFormat(o.format, nil); err != nil {
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
	if o.raw == "index" {
		return a.printIndex(ctx, i)
	}
	all, err := platformsOf(ctx, i, o.platform)
	if err != nil {
		return placeError(err)
	}
	if o.raw != "" {
		return a.printRaw(i, all, o.raw)
	}
	out, err := a.inspection(ctx, r.Store, i, all)
	if err == nil && o.statements {
		err = out.read(ctx, i)
	}
	if err != nil {
		return placeError(err)
	}
	if o.format != "" {
		return a.printInspection(out, o.format)
	}
	return writeJSON(a.Out, out)
}

// placeError is the error of finding or reading an image.
func placeError(err error) error {
	var e *exitError
	if errors.As(err, &e) {
		return err
	}
	return &exitError{code: codeFailed, err: err}
}

// platformsOf returns the manifests of an image; of one platform, if that is
// given.
func platformsOf(ctx context.Context, i *image.Image, platform string) ([]image.Manifest, error) {
	if platform != "" {
		narrow, err := i.ForPlatforms(ctx, []string{platform})
		if err != nil {
			return nil, err
		}
		i = narrow
	}
	all, err := i.Manifests(ctx)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s holds no image of any platform", i)
	}
	return all, err
}

func (a *app) printIndex(ctx context.Context, i *image.Image) error {
	if !image.IsIndex(i.Desc.MediaType) {
		return usagef("%s has no index: it is the image of one platform; --raw=manifest prints its manifest", i)
	}
	text, err := i.Read(ctx, i.Desc)
	if err != nil {
		return placeError(err)
	}
	_, err = a.Out.Write(text)
	return err
}

func (a *app) printRaw(i *image.Image, all []image.Manifest, raw string) error {
	if len(all) > 1 {
		var names []string
		for _, m := range all {
			names = append(names, platformOf(m))
		}
		return usagef("%s has %d platforms (%s); say which one with --platform", i, len(all), strings.Join(names, ", "))
	}
	text := all[0].Raw
	if raw == "config" {
		text = all[0].RawConfig
	}
	_, err := a.Out.Write(text)
	return err
}

// inspection gathers all that is known of an image.
func (a *app) inspection(ctx context.Context, s *store.Store, i *image.Image, all []image.Manifest) (*inspection, error) {
	out := &inspection{Version: 1, Names: append([]string{}, i.Names...), Place: i.Place, Where: i.Where, Descriptor: i.Desc}
	if image.IsIndex(i.Desc.MediaType) {
		text, err := i.Read(ctx, i.Desc)
		if err != nil {
			return nil, err
		}
		out.Index = &ocispec.Index{}
		if err := json.Unmarshal(text, out.Index); err != nil {
			return nil, fmt.Errorf("%s: its index is no JSON of one: %w", i, err)
		}
	}
	sizes := a.layerSizes(ctx, s, i, all)
	for _, m := range all {
		out.Platforms = append(out.Platforms, inspectedPlatformOf(m, sizes))
	}
	if i.Place != image.InStore || s == nil {
		return out, nil
	}
	if e, ok := entryOf(ctx, s, i); ok {
		out.Target, out.Definition, out.Stored = e.BuiltAs, e.Definition, e.Stored
		out.Build = buildOf(s, i.Desc.Digest, e.BuiltAs)
	}
	if out.Build != nil {
		out.Build.All = nil
	}
	return out, nil
}

// entryOf returns the store's entry of an image: of several, one of the name
// that was asked for, and one that tells its target.
func entryOf(ctx context.Context, s *store.Store, i *image.Image) (store.Image, bool) {
	all, err := s.List(ctx)
	if err != nil {
		return store.Image{}, false
	}
	var best store.Image
	rank := 0
	for _, e := range all {
		if e.Target.Digest != i.Desc.Digest {
			continue
		}
		n := 1
		if slices.Contains(i.Names, e.Name) {
			n = 2
		}
		if e.BuiltAs != "" {
			n += 2
		}
		if n > rank {
			best, rank = e, n
		}
	}
	return best, rank > 0
}

func platformOf(m image.Manifest) string {
	if m.Desc.Platform == nil {
		return ""
	}
	return formatPlatform(*m.Desc.Platform)
}

func inspectedPlatformOf(m image.Manifest, sizes layerSizes) inspectedPlatform {
	out := inspectedPlatform{
		Platform: platformOf(m), ID: m.Manifest.Config.Digest, Created: m.Config.Created.UTC(), Author: m.Config.Author,
		Os: m.Config.OS, Architecture: m.Config.Architecture, Variant: m.Config.Variant,
		Descriptor: m.Desc, Manifest: m.Manifest, Config: m.Config.Config,
		StoredSize: m.Desc.Size + m.Manifest.Config.Size, Layers: []inspectedLayer{},
		History: append([]v1.History{}, m.Config.History...), Attestations: []inspectedAttestation{},
	}
	if m.Config.Created.IsZero() {
		out.Created = time.Time{}
	}
	history := historyOfLayers(m.Config.History)
	for n, l := range m.Manifest.Layers {
		layer := inspectedLayer{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, Unpacked: sizes.of(l.Digest)}
		if n < len(m.Config.RootFS.DiffIDs) {
			layer.DiffID = digest.Digest(m.Config.RootFS.DiffIDs[n].String())
		}
		if n < len(history) {
			layer.History = &history[n]
		}
		out.Layers = append(out.Layers, layer)
		out.StoredSize += l.Size
		if layer.Unpacked < 0 || out.Size < 0 {
			out.Size = store.Unknown
		} else {
			out.Size += layer.Unpacked
		}
	}
	for _, att := range m.Attestations {
		for _, s := range att.Statements {
			out.Attestations = append(out.Attestations, inspectedAttestation{Predicate: s.Predicate, Digest: s.Desc.Digest, Size: s.Desc.Size})
		}
	}
	return out
}

// historyOfLayers leaves out what made no layer.
func historyOfLayers(all []v1.History) []v1.History {
	return slices.DeleteFunc(slices.Clone(all), func(h v1.History) bool { return h.EmptyLayer })
}

// read reads the statements of the attestations.
func (in *inspection) read(ctx context.Context, i *image.Image) error {
	for _, p := range in.Platforms {
		for n, att := range p.Attestations {
			text, err := i.ReadStatement(ctx, ocispec.Descriptor{MediaType: "application/vnd.in-toto+json", Digest: att.Digest, Size: att.Size})
			if err != nil {
				return err
			}
			if !json.Valid(text) {
				return fmt.Errorf("%s: the statement %s is no JSON", i, att.Digest)
			}
			p.Attestations[n].Statement = text
		}
	}
	return nil
}

// An inspectView is what a template of `kiln inspect` sees: the document, and
// one platform by the names that Docker has.
type inspectView struct {
	*inspection
	Id, ID, Os, Architecture, Variant, Author, Platform, Digest string

	RepoTags, RepoDigests []string
	Created               string
	Size, StoredSize      int64
	Config                v1.Config
	RootFS                rootFS
	Layers                []inspectedLayer
	History               []v1.History
	Attestations          []inspectedAttestation
	Manifest              ocispec.Manifest
}

type rootFS struct {
	Type   string
	Layers []digest.Digest
}

// view chooses the platform that templates see: this machine's, else the first.
func (in *inspection) view() inspectView {
	v := inspectView{inspection: in, RootFS: rootFS{Type: "layers"}, Digest: in.Descriptor.Digest.String()}
	for _, name := range in.Names {
		v.RepoTags = append(v.RepoTags, familiar(name))
		repository, _ := splitName(name)
		if d := repository + "@" + v.Digest; !slices.Contains(v.RepoDigests, d) {
			v.RepoDigests = append(v.RepoDigests, d)
		}
	}
	if len(in.Platforms) == 0 {
		return v
	}
	p := in.Platforms[chosenPlatform(len(in.Platforms), func(n int) string { return in.Platforms[n].Platform })]
	v.Id, v.ID, v.Os, v.Architecture, v.Variant = p.ID.String(), p.ID.String(), p.Os, p.Architecture, p.Variant
	v.Author, v.Platform, v.Size, v.StoredSize, v.Config = p.Author, p.Platform, p.Size, p.StoredSize, p.Config
	v.Layers, v.History, v.Attestations, v.Manifest = p.Layers, p.History, p.Attestations, p.Manifest
	v.Created = p.Created.Format(time.RFC3339Nano)
	for _, l := range p.Layers {
		v.RootFS.Layers = append(v.RootFS.Layers, l.DiffID)
	}
	return v
}

func (a *app) printInspection(in *inspection, spec string) error {
	if spec == "json" {
		return json.NewEncoder(a.Out).Encode(in)
	}
	v := in.view()
	f, err := parseFormat(spec, v)
	if err != nil {
		return err
	}
	return printFormatted(a.Out, f, v, []inspectView{v})
}

// A layerSizes knows how many bytes the files in layers have.
type layerSizes map[digest.Digest]int64

func (l layerSizes) of(d digest.Digest) int64 {
	if n, ok := l[d]; ok {
		return n
	}
	return store.Unknown
}

// layerSizes finds the unpacked sizes of layers: of those in the store it is
// known, those of files are read, and those of registries are not.
func (a *app) layerSizes(ctx context.Context, s *store.Store, i *image.Image, all []image.Manifest) layerSizes {
	sizes := layerSizes{}
	var known *store.Known
	if i.Place == image.InStore && s != nil {
		known, _ = s.Know(ctx, []store.Image{{Target: i.Desc}}, a.tellMeasuring)
	}
	for _, m := range all {
		for _, l := range m.Manifest.Layers {
			if _, done := sizes[l.Digest]; done {
				continue
			}
			switch {
			case known != nil:
				sizes[l.Digest] = known.Unpacked([]digest.Digest{l.Digest})
			case i.Place != image.InRegistry:
				sizes[l.Digest] = measure(ctx, i, l)
			}
		}
	}
	return sizes
}

func measure(ctx context.Context, i *image.Image, l ocispec.Descriptor) int64 {
	r, err := i.Open(ctx, l)
	if err != nil {
		return store.Unknown
	}
	defer r.Close()
	n, err := store.Measure(ctx, struct{ io.Reader }{r})
	if err != nil {
		return store.Unknown
	}
	return n
}

// chosenPlatform is the number of the platform that is shown where one is:
// this machine's, else the first.
func chosenPlatform(n int, platform func(int) string) int {
	for i := range n {
		if p := platform(i); p == hostPlatform() || strings.HasPrefix(p, hostPlatform()+"/") {
			return i
		}
	}
	return 0
}
