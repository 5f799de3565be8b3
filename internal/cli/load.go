package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/docker"
	"github.com/kilnbuild/kiln/internal/image"
)

type loadOptions struct {
	places    placeFlags
	to        string // "", docker, podman or containerd
	namespace string
	names     []string
	platforms []string
	json      bool
}

func loadCommand(a *app) *cobra.Command {
	var o loadOptions
	c := &cobra.Command{
		Use:   "load IMAGE...",
		Short: "Load images into Docker, Podman or containerd",
		Long: `Load images into Docker, Podman or containerd, without a registry in between.
Nothing is sent that is there already, where the receiver tells: an image that
it has is only given its name, Docker gets the layers that it lacks, and
containerd the blobs. What holds one platform of an image gets that of its
machine, or the one of --platform.

IMAGE is as with kiln push: a name in kiln's store, an ID, a target, or an image
elsewhere. The layers are unpacked in containerd by who first runs the image.

stdout has a line for each name: the name, a tab, the ID by which the receiver
knows the image.`,
		Example: `  kiln load api web
  kiln load --to podman example.com/team/api:1
  kiln load --to containerd --namespace k8s.io api
  DOCKER_HOST=ssh://me@host kiln load api`,
		Args:              someImages("load"),
		ValidArgsFunction: a.completeImages,
		RunE:              func(c *cobra.Command, args []string) error { return a.loadInto(c.Context(), o, args) },
	}
	f := c.Flags()
	f.StringVar(&o.to, "to", "", "what to load into: `docker`, podman or containerd (default: the first of them that is there)")
	f.StringVar(&o.namespace, "namespace", "", "`namespace` of containerd (default: CONTAINERD_NAMESPACE, else default); Kubernetes has k8s.io")
	f.StringArrayVar(&o.names, "name", nil, "give the image this `name` in place of its own; repeat it for several")
	f.StringSliceVar(&o.platforms, "platform", nil, "these `platforms` of the images only")
	f.BoolVar(&o.json, "json", false, "print JSON objects, one a line")
	o.places.register(f)
	return c
}

// loadInto is the flow of `kiln load`.
func (a *app) loadInto(ctx context.Context, o loadOptions, args []string) error {
	if err := checkPlatforms(o.platforms...); err != nil {
		return err
	}
	r, err := a.resolver(o.places, false)
	if err != nil {
		return err
	}
	defer r.Close()
	var images []*image.Image
	for _, text := range args {
		found, err := r.FindAll(ctx, text)
		if err != nil {
			return moveError(err)
		}
		images = append(images, found...)
	}
	if len(o.names) > 0 && len(images) > 1 {
		return usagef("--name is for one image, and there are %d", len(images))
	}
	to, err := a.receiver(ctx, o)
	if err != nil {
		return moveError(err)
	}
	defer to.Close()
	m := a.moving("loading")
	err = a.loadAll(ctx, to, m, o, images)
	m.finish()
	if err != nil {
		return moveError(err)
	}
	fmt.Fprintf(a.Err, "%s, into %s\n", m.sum("loaded", "sent"), to)
	return nil
}

// loadAll loads one image after the other, and tells of each.
func (a *app) loadAll(ctx context.Context, to image.Receiver, m *moving, o loadOptions, images []*image.Image) error {
	for _, i := range images {
		if len(o.names) > 0 {
			named, err := i.Named(o.names)
			if err != nil {
				return usagef("--name: %w", err)
			}
			i = named
		}
		l, err := image.Load(ctx, to, i, o.platforms, m.event)
		if err != nil {
			return err
		}
		if l.Note != "" {
			m.note("note: %s", l.Note)
		}
		names := i.Names
		if len(names) == 0 {
			names = []string{""}
		}
		for _, n := range names {
			if err := a.tellLoaded(image.Familiar(n), l, o.json); err != nil {
				return err
			}
		}
	}
	return nil
}

// tellLoaded says what the receiver has now, for scripts.
func (a *app) tellLoaded(name string, l image.Loaded, asJSON bool) error {
	if !asJSON {
		fmt.Fprintf(a.Out, "%s\t%s\n", cmp.Or(name, "-"), l.ID)
		return nil
	}
	text, err := json.Marshal(struct {
		Ref   string `json:"ref,omitempty"`
		ID    string `json:"id"`
		There bool   `json:"there,omitempty"`
	}{name, l.ID, l.There})
	if err == nil {
		fmt.Fprintf(a.Out, "%s\n", text)
	}
	return err
}

// A receiverKind is a program that images are loaded into.
type receiverKind struct {
	name  string
	named []string // variables by which users say where it is
	find  func(a *app, ctx context.Context, o loadOptions) (image.Receiver, error)
}

// receivers are all there are, in the order in which they are looked for.
func receivers() []receiverKind {
	return []receiverKind{
		{"docker", []string{"DOCKER_HOST", "DOCKER_CONTEXT"}, (*app).intoDocker},
		{"podman", []string{"CONTAINER_HOST"}, (*app).intoPodman},
		{"containerd", nil, (*app).intoContainerd}, // after which there is none in any case
	}
}

// receiver returns the program to load into.
func (a *app) receiver(ctx context.Context, o loadOptions) (image.Receiver, error) {
	var names []string
	var missed []error
	for _, k := range receivers() {
		names = append(names, k.name)
		if o.to != "" && o.to != k.name {
			continue
		}
		to, err := k.find(a, ctx, o)
		if err == nil {
			return to, nil
		}
		for _, name := range k.named { // then nobody else is meant
			if a.env[name] != "" && o.to == "" {
				return nil, fmt.Errorf("load into %s, which %s names: %w; --to names another", k.name, name, err)
			}
		}
		if o.to != "" || !errors.Is(err, image.ErrNoReceiver) {
			return nil, fmt.Errorf("load into %s: %w", k.name, err)
		}
		missed = append(missed, fmt.Errorf("%s: %w", k.name, err))
	}
	if o.to != "" && !slices.Contains(names, o.to) {
		return nil, usagef("--to %s: there are docker, podman and containerd%s; a registry is for kiln push", o.to, didYouMean(o.to, names))
	}
	return nil, fmt.Errorf("there is nothing here to load images into; `kiln save` writes a file for another machine\n%w", errors.Join(missed...))
}

func (a *app) intoDocker(ctx context.Context, _ loadOptions) (image.Receiver, error) {
	at, err := a.dockerSettings().Default()
	if err != nil {
		return nil, err
	}
	return image.IntoDocker(ctx, at)
}

// intoPodman takes the podman command, else a socket of its service.
func (a *app) intoPodman(ctx context.Context, _ loadOptions) (image.Receiver, error) {
	if path := a.lookPath("podman"); path != "" {
		env := make([]string, 0, len(a.env))
		for k, v := range a.env { // the order does not matter
			env = append(env, k+"="+v)
		}
		return image.IntoPodman(ctx, path, env)
	}
	if host := a.env["CONTAINER_HOST"]; host != "" {
		return image.IntoDocker(ctx, docker.Endpoint{Host: host})
	}
	if paths := a.sockets("podman/podman.sock"); len(paths) > 0 {
		return image.IntoDocker(ctx, docker.Endpoint{Host: "unix://" + paths[0]})
	}
	return nil, fmt.Errorf("%w: no podman in PATH, and no socket of its service", image.ErrNoReceiver)
}

func (a *app) intoContainerd(ctx context.Context, o loadOptions) (image.Receiver, error) {
	socket := strings.TrimPrefix(cmp.Or(a.env["CONTAINERD_ADDRESS"], "/run/containerd/containerd.sock"), "unix://")
	if _, err := os.Stat(socket); err != nil {
		return nil, fmt.Errorf("%w: there is no socket %s; CONTAINERD_ADDRESS names another", image.ErrNoReceiver, socket)
	}
	return image.IntoContainerd(ctx, socket, cmp.Or(o.namespace, a.env["CONTAINERD_NAMESPACE"], "default"))
}

// lookPath finds a program in the PATH of a's environment; "" if there is none.
func (a *app) lookPath(name string) string {
	for _, dir := range filepath.SplitList(a.env["PATH"]) {
		path, err := osexec.LookPath(filepath.Join(cmp.Or(dir, "."), name))
		if err == nil {
			return path
		}
	}
	return ""
}
