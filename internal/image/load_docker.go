package image

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/docker"
)

// Loading into a Docker Engine. One with a store of its own holds one platform
// of an image, knows it by its ID, and takes a tar file without the layers that
// it has. One with containerd's store holds all, and knows it by its digest.

// IntoDocker returns a receiver that is a Docker Engine, or Podman's imitation
// of one. The error wraps ErrNoReceiver where there is none.
func IntoDocker(ctx context.Context, at docker.Endpoint) (Receiver, error) {
	e, err := docker.Connect(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReceiver, err)
	}
	return &dockerEngine{e}, nil
}

type dockerEngine struct{ *docker.Engine }

// String implements Receiver.
func (e *dockerEngine) String() string {
	kind := "Docker Engine"
	if e.Info.Podman {
		kind = "Podman"
	}
	return fmt.Sprintf("%s %s (%s)", kind, e.Info.Version, e.Endpoint.Host)
}

// Platform implements Receiver.
func (e *dockerEngine) Platform() string {
	if e.Info.Containerd {
		return ""
	}
	return cmp.Or(e.Info.OS, "linux") + "/" + e.Info.Arch
}

// Close implements Receiver.
func (e *dockerEngine) Close() error {
	e.Engine.Close()
	return nil
}

// An engineImage is what an engine says of an image.
type engineImage struct {
	ID       string `json:"Id"`
	RepoTags []string
	RootFS   struct{ Layers []digest.Digest }
}

// Load implements Receiver.
func (e *dockerEngine) Load(ctx context.Context, i *Image, t Tell) (Loaded, error) {
	id, format, m := i.Desc.Digest, OCI, Manifest{}
	if !e.Info.Containerd {
		var err error
		if m, err = i.manifest(ctx, i.Desc); err != nil {
			return Loaded{}, err
		}
		id, format = m.Manifest.Config.Digest, Docker
	}
	out := Loaded{ID: id.String()}
	have, err := e.inspect(ctx, id.String())
	if err != nil {
		return out, err
	}
	if have != nil && have.ID == id.String() {
		out.There = true
		return out, e.adopt(ctx, i, m, *have, t)
	}
	a := &parcelTar{image: i, format: format, tell: t}
	if format == Docker && !e.Info.Podman {
		a.layers, err = e.layersOf(ctx, m)
		if err != nil {
			return out, err
		}
	}
	err = e.post(ctx, a)
	if err != nil && len(a.layers) > 0 && ctx.Err() == nil { // one may have gone since
		out.Note = fmt.Sprintf("%s did not take the image without the layers that it has, so all were sent: %v", e, err)
		a.layers = nil
		err = e.post(ctx, a)
	}
	return out, err
}

// adopt gives an image that the engine has the names that it lacks.
func (e *dockerEngine) adopt(ctx context.Context, i *Image, m Manifest, have engineImage, t Tell) error {
	all := append([]ocispec.Descriptor{m.Manifest.Config}, m.Manifest.Layers...)
	if e.Info.Containerd {
		var err error
		if all, err = i.blobs(ctx); err != nil {
			return err
		}
	}
	i.skipped(all, t)
	for _, n := range i.Names {
		if slices.Contains(have.RepoTags, Familiar(n)) || slices.Contains(have.RepoTags, n) {
			continue
		}
		named, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			return err
		}
		tag := ""
		if tagged, ok := named.(reference.Tagged); ok {
			tag = tagged.Tag()
		}
		query := url.Values{"repo": {reference.FamiliarName(named)}, "tag": {tag}}
		if e.Info.Podman {
			query.Set("repo", named.Name()) // it has a registry of its own for short names
		}
		resp, err := e.Do(ctx, http.MethodPost, "/images/"+have.ID+"/tag?"+query.Encode(), nil, nil)
		if err != nil {
			return err
		}
		resp.Body.Close()
	}
	return nil
}

// inspect returns what the engine says of an image; nil if it has none.
func (e *dockerEngine) inspect(ctx context.Context, id string) (*engineImage, error) {
	resp, err := e.Do(ctx, http.MethodGet, "/images/"+id+"/json", nil, nil)
	var status *docker.StatusError
	if errors.As(err, &status) && status.Code == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := &engineImage{}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return nil, err
	}
	if !strings.Contains(out.ID, ":") { // Podman
		out.ID = digest.NewDigestFromEncoded(digest.Canonical, out.ID).String()
	}
	return out, nil
}

// mostLooked is of how many images an engine is asked for layers.
const mostLooked = 200

// layersOf returns the layers of an image that the engine has: the longest
// chain from the lowest on, as layers are known by what is below them.
func (e *dockerEngine) layersOf(ctx context.Context, m Manifest) (map[digest.Digest]bool, error) {
	resp, err := e.Do(ctx, http.MethodGet, "/images/json", nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var list []engineImage
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return nil, err
	}
	longest := 0
	for n, l := range list {
		if n == mostLooked || longest == len(m.Manifest.Layers) {
			break
		}
		have, err := e.inspect(ctx, l.ID)
		if err != nil || have == nil { // removed meanwhile
			continue
		}
		longest = max(longest, shared(have.RootFS.Layers, m))
	}
	out := map[digest.Digest]bool{}
	for _, l := range m.Manifest.Layers[:longest] {
		out[l.Digest] = true
	}
	for _, l := range m.Manifest.Layers[longest:] { // the same layer, higher up
		delete(out, l.Digest)
	}
	return out, nil
}

// shared returns how many layers from the lowest on are those of the image.
func shared(have []digest.Digest, m Manifest) int {
	n := 0
	for n < len(have) && n < len(m.Config.RootFS.DiffIDs) && n < len(m.Manifest.Layers) && have[n].String() == m.Config.RootFS.DiffIDs[n].String() {
		n++
	}
	return n
}

// An parcelTar is a tar file that is sent as it is made.
type parcelTar struct {
	image  *Image
	format Format
	layers map[digest.Digest]bool // to be left out
	full   bool                   // names are written in full
	tell   Tell
}

func (a *parcelTar) write(ctx context.Context, w io.Writer) error {
	return save(ctx, w, []*Image{a.image}, saving{format: a.format, without: a.layers, full: a.full, tell: a.tell})
}

// post sends an archive and reads the engine's answer, a list of messages of
// which any may be an error.
func (e *dockerEngine) post(ctx context.Context, a *parcelTar) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := a.write(ctx, w)
		w.CloseWithError(err)
		written <- err
	}()
	resp, err := e.Do(ctx, http.MethodPost, "/images/load?quiet=1", http.Header{"Content-Type": {"application/x-tar"}}, r)
	r.CloseWithError(io.ErrClosedPipe) // of a writer that nobody reads any more
	if failed := <-written; failed != nil && !errors.Is(failed, io.ErrClosedPipe) {
		err = failed
	}
	if resp != nil {
		defer resp.Body.Close()
	}
	if err != nil {
		return err
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var msg struct {
			Error string `json:"error"`
		}
		switch err := dec.Decode(&msg); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read its answer: %w", err)
		case msg.Error != "":
			return fmt.Errorf("it does not take the image: %s", msg.Error)
		}
	}
}
