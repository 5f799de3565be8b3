package buildkit

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/registry"
)

// Joining. Each daemon has pushed its platforms by digest, as an index with
// the attestations. The joint index has the bytes that one daemon would have
// written for all: the platforms in the order of the target, then their
// attestations in the same order.

// Join writes the index of the parts' images under the names of t, and
// returns what a single daemon would have answered.
func (i *Images) Join(ctx context.Context, t *config.Target, parts []exec.Output) (exec.Output, error) {
	at := slices.IndexFunc(t.Outputs, isPush)
	if at < 0 {
		return exec.Output{Metadata: records(parts)}, nil
	}
	push, err := i.newPush(ctx, t, t.Outputs[at])
	if err != nil {
		return exec.Output{}, err
	}
	index, err := push.collect(parts, i.Platforms(t))
	if err == nil {
		err = push.write(index)
	}
	if err != nil {
		return exec.Output{}, push.explain(err)
	}
	return push.output(index, parts)
}

// A push is one image on its way to the registries it is pushed to.
type push struct {
	names    []string // full references, as given
	refs     []name.Reference
	byDigest bool // the names are repositories only
	options  []remote.Option
}

func (i *Images) newPush(ctx context.Context, t *config.Target, e config.Export) (*push, error) {
	logins, err := registry.LoadLogins(i.DockerConfig, i.AuthFiles)
	if err != nil {
		return nil, err
	}
	attrs := pairs(e.Attrs)
	p := &push{names: pushNames(t, e), options: []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(logins)}}
	p.byDigest, _ = strconv.ParseBool(attrs["push-by-digest"])
	var how []name.Option
	if insecure, _ := strconv.ParseBool(attrs["registry.insecure"]); insecure {
		how = append(how, name.Insecure)
	}
	for _, n := range p.names {
		ref, err := name.ParseReference(n, how...)
		if err != nil {
			return nil, err
		}
		p.refs = append(p.refs, ref)
	}
	return p, nil
}

// A joint is an index with its digest.
type joint struct {
	ocispec.Index
	desc ocispec.Descriptor
	text []byte
}

// RawManifest and MediaType are for remote.Put.
func (j *joint) RawManifest() ([]byte, error) { return j.text, nil }

// MediaType is that of an OCI index or of Docker's manifest list.
func (j *joint) MediaType() (types.MediaType, error) { return types.MediaType(j.desc.MediaType), nil }

// collect makes the joint index of the parts', which any of the repositories has.
func (p *push) collect(parts []exec.Output, order []string) (*joint, error) {
	j := &joint{}
	j.SchemaVersion = 2
	for _, part := range parts {
		index, err := p.part(part)
		if err != nil {
			return nil, err
		}
		j.Index.MediaType = cmp.Or(j.Index.MediaType, index.MediaType)
		if len(index.Annotations) > 0 {
			if j.Annotations == nil {
				j.Annotations = map[string]string{}
			}
			maps.Copy(j.Annotations, index.Annotations)
		}
		j.Manifests = append(j.Manifests, index.Manifests...)
	}
	j.Index.MediaType = cmp.Or(j.Index.MediaType, ocispec.MediaTypeImageIndex)
	sortManifests(j.Manifests, order)
	var err error
	j.text, err = json.MarshalIndent(j.Index, "", "  ") // as BuildKit's exporter does
	j.desc = ocispec.Descriptor{MediaType: j.Index.MediaType, Digest: digest.FromBytes(j.text), Size: int64(len(j.text))}
	return j, err
}

// part reads the index of a part; one of a frontend that made a bare
// manifest is made here.
func (p *push) part(out exec.Output) (ocispec.Index, error) {
	var index ocispec.Index
	desc, err := remote.Get(p.refs[0].Context().Digest(out.Digest), p.options...)
	if err != nil {
		return index, fmt.Errorf("read the image %s that a builder has pushed: %w", out.Digest, err)
	}
	if desc.MediaType.IsIndex() {
		return index, json.Unmarshal(desc.Manifest, &index)
	}
	said, err := descriptorOf(out.Metadata)
	index.Manifests = []ocispec.Descriptor{said}
	return index, err
}

// What tells an attestation in an index, and what it is about.
const (
	attestationType    = "vnd.docker.reference.type"
	attestationSubject = "vnd.docker.reference.digest"
)

// sortManifests puts platforms in order, and attestations after them in the
// order of what they are about.
func sortManifests(list []ocispec.Descriptor, order []string) {
	rank := map[string]int{} // by digest
	for _, d := range list {
		if d.Annotations[attestationType] == "" && d.Platform != nil {
			rank[d.Digest.String()] = slices.Index(order, platforms.FormatAll(platforms.Normalize(*d.Platform)))
		}
	}
	of := func(d ocispec.Descriptor) int {
		if d.Annotations[attestationType] == "" {
			return rank[d.Digest.String()]
		}
		return len(order) + rank[d.Annotations[attestationSubject]]
	}
	slices.SortStableFunc(list, func(a, b ocispec.Descriptor) int { return cmp.Compare(of(a), of(b)) })
}

// write pushes the index under all names.
func (p *push) write(j *joint) error {
	for i, ref := range p.refs {
		if p.byDigest {
			ref = ref.Context().Digest(j.desc.Digest.String())
		}
		if err := remote.Put(ref, j, p.options...); err != nil {
			return fmt.Errorf("push the index of all platforms to %s: %w", p.names[i], err)
		}
	}
	return nil
}

// output says what there is now, in the words of BuildKit's exporter.
func (p *push) output(j *joint, parts []exec.Output) (exec.Output, error) {
	for _, part := range parts { // annotations of the index's descriptor are here only
		said, err := descriptorOf(part.Metadata)
		if err != nil {
			return exec.Output{}, err
		}
		if said.MediaType == j.desc.MediaType && len(said.Annotations) > 0 {
			j.desc.Annotations = said.Annotations
		}
	}
	desc, err := json.Marshal(j.desc)
	metadata := records(parts)
	metadata[exptypes.ExporterImageDigestKey] = j.desc.Digest.String()
	metadata[exptypes.ExporterImageDescriptorKey] = base64.StdEncoding.EncodeToString(desc)
	metadata[exptypes.ExporterImageNameKey] = strings.Join(p.names, ",")
	return exec.Output{Digest: j.desc.Digest.String(), Refs: p.names, Metadata: metadata}, err
}

// records returns what the daemons' records say of the parts: the provenance
// of each platform, and of the references, of which there can be one only,
// the first part's.
func records(parts []exec.Output) map[string]string {
	out := map[string]string{}
	for _, part := range slices.Backward(parts) {
		for k, v := range part.Metadata {
			if k == refKey || strings.HasPrefix(k, provenanceKey) {
				out[k] = v
			}
		}
	}
	return out
}

// descriptorOf reads what an exporter says of its image.
func descriptorOf(answer map[string]string) (ocispec.Descriptor, error) {
	var desc ocispec.Descriptor
	dt, err := base64.StdEncoding.DecodeString(answer[exptypes.ExporterImageDescriptorKey])
	if err == nil {
		err = json.Unmarshal(dt, &desc)
	}
	if err != nil {
		return desc, fmt.Errorf("read what the daemon says of the image: %w", err)
	}
	return desc, nil
}

// explain tells errors that a retry may help from others.
func (p *push) explain(err error) error {
	var (
		answer *transport.Error
		sent   *url.Error
		cert   *tls.CertificateVerificationError
		host   = p.refs[0].Context().RegistryStr()
	)
	switch {
	case errors.As(err, &answer):
		if answer.Temporary() || answer.StatusCode == http.StatusTooManyRequests {
			return &exec.NetworkError{Cause: fmt.Sprintf("%s answered %d %s", host, answer.StatusCode, http.StatusText(answer.StatusCode)), Err: err}
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &cert):
	case errors.As(err, &sent):
		return &exec.NetworkError{Cause: fmt.Sprintf("%s: %v", host, sent.Err), Err: err}
	}
	return err
}
